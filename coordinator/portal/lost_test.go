package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"easel/coordinator/nodetest"
)

// TestSilentNodeIsWaitedFor: a node that does not answer may be restarting, and its session lives on.
func TestSilentNodeIsWaitedFor(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	open := strings.TrimSuffix(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "ing")
	s.node.Break(1000)
	p := ada.get(open)
	ada.want(p, http.StatusServiceUnavailable, "Waiting for your session", `http-equiv="refresh" content="2"`)
	if p.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	ada.wantRedirect(ada.post(strings.TrimSuffix(open, "open")+"again", nil), open+"ing")
	if s.node.Living() != 1 {
		t.Error("a second session was made while the first may live")
	}
	s.node.Break(0)
	if p := ada.get(open); p.StatusCode != http.StatusSeeOther || !strings.HasPrefix(p.leadsTo(), s.node.URL) {
		t.Errorf("the node is back: %d to %q", p.StatusCode, p.leadsTo())
	}
}

// TestPingIsForPagesOfNodes: the viewer's page, of another origin, asks whether the portal is there.
func TestPingIsForPagesOfNodes(t *testing.T) {
	s := start(t)
	p := s.stranger().get("/ping", "Origin", "https://node1.example")
	if p.StatusCode != http.StatusNoContent || p.Header.Get("Access-Control-Allow-Origin") != "*" || p.text != "" {
		t.Fatalf("%d %v %q", p.StatusCode, p.Header, p.text)
	}
}

// TestLostSessionLeadsToANewOne: the artist is told what became of the session and of the files, and gets another one.
func TestLostSessionLeadsToANewOne(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	open := strings.TrimSuffix(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "ing")
	again := strings.TrimSuffix(open, "open") + "again"
	s.view.lost.Store(true)
	s.node.Break(1000)
	ada.want(ada.get(open), http.StatusServiceUnavailable, "Waiting for your session") // it has just gone
	s.view.ahead.Store(int64(time.Minute))
	ada.want(ada.get(open), http.StatusOK, "machine is lost", "node-a", "home folder is on node-a", `action="`+again+`"`, "data-auto")
	ada.want(ada.get("/"), http.StatusOK, `data-state="lost"`, `href="`+open+`"`)
	s.as("bob").want(s.as("bob").get(open), http.StatusNotFound)
	ada.want(ada.post(again, nil), http.StatusServiceUnavailable, "No node is known") // nobody else can take it

	// The node of a lost session is back before another was made: the old one goes on.
	s.view.lost.Store(false)
	s.node.Break(0)
	ada.wantRedirect(ada.post(again, nil), open+"ing")
	if s.node.Living() != 1 {
		t.Fatal("a session was made beside one that lives")
	}

	other := nodetest.Start(t, "node-b", s.cluster)
	s.view.ahead.Store(int64(2 * time.Minute))
	s.view.Members = nodetest.Members{other}
	ada.get(open)
	s.view.ahead.Store(int64(3 * time.Minute))
	p := ada.post(again, nil)
	if p.StatusCode != http.StatusSeeOther || p.leadsTo() == open+"ing" || other.Living() != 1 {
		t.Fatalf("%d to %q with %d sessions on the other node: %s", p.StatusCode, p.leadsTo(), other.Living(), p.text)
	}
	viewer := ada.get(strings.TrimSuffix(p.leadsTo(), "ing"))
	if !strings.HasPrefix(viewer.leadsTo(), other.URL) {
		t.Errorf("it leads to %q", viewer.leadsTo())
	}
}

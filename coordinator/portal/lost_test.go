package portal

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
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

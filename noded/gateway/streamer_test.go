package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"easel/noded/session"
)

// A page whose stream has ended learns it from the node at once, long before the stream's silence would tell.
func TestPageLearnsOfAnotherStreamer(t *testing.T) {
	n := newNode(t, nil)
	n.become(session.Connected)
	path := "/s/" + living + "/streamer"
	if body := text(t, n.ask("GET", path, "", n.in)); strings.TrimSpace(body) != `{"streamer":0}` {
		t.Fatalf("got %s", body)
	}
	type answer struct {
		code int
		body string
	}
	got := make(chan answer, 1)
	go func() {
		r := n.ask("GET", path+"?is=0", "", n.in)
		got <- answer{r.StatusCode, text(t, r)}
	}()
	n.become(session.Detached) // who watched has left: the streamer is the same
	n.become(session.Connected)
	n.change(func(s *session.Session) { s.StreamerRestarts++; s.State = session.Detached })
	select {
	case a := <-got:
		if a.code != http.StatusOK || strings.TrimSpace(a.body) != `{"streamer":1}` {
			t.Errorf("got %d %s", a.code, a.body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the page was not told in 30 s")
	}
	if body := text(t, n.ask("GET", path+"?is=0", "", n.in)); strings.TrimSpace(body) != `{"streamer":1}` {
		t.Errorf("who knows the one before got %s", body)
	}
}

func TestStreamerIsForWhoIsSignedIn(t *testing.T) {
	n := newNode(t, nil)
	want(t, n.ask("GET", "/s/"+living+"/streamer", ""), 401)
	for _, is := range []string{"", "-1", "one", "99999999999"} {
		want(t, n.ask("GET", "/s/"+living+"/streamer?is="+is, "", n.in), 400)
	}
	n.signed = n.gate.cookies.make(ended)
	want(t, n.ask("GET", "/s/"+ended+"/streamer?is=0", "", n.in), 410)
}

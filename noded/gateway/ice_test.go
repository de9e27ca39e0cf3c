package gateway

import (
	"strings"
	"testing"
	"time"

	"easel/noded/relay"
)

type fakeRelay struct{}

func (fakeRelay) Servers(id string) []relay.ICEServer {
	return []relay.ICEServer{{URLs: []string{"turn:n:3478"}, Username: "1:" + id, Credential: "secret"}}
}

func (fakeRelay) Generation() string { return "one" }

func TestICEIsForWhoIsSignedIn(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Relay = fakeRelay{} })
	resp := n.ask("GET", "/s/"+living+"/ice", "", n.in)
	want(t, resp, 200)
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q: a credential must not be kept", got)
	}
	if body, expect := text(t, resp), `{"iceServers":[{"urls":["turn:n:3478"],"username":"1:`+living+`","credential":"secret"}],"relay":"one"}`; strings.TrimSpace(body) != expect {
		t.Errorf("got %s, want %s", body, expect)
	}
	if body := text(t, n.ask("GET", "/s/"+living+"/ice", "")); strings.Contains(body, "secret") {
		t.Errorf("who is not signed in got %s", body)
	}
	want(t, n.ask("GET", "/s/"+living+"/ice", ""), 401)
}

func TestICEOfAnEndedSession(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Relay = fakeRelay{} })
	n.signed = n.gate.cookies.make(ended)
	want(t, n.ask("GET", "/s/"+ended+"/ice", "", n.in), 410)
}

func TestICEWithoutRelay(t *testing.T) {
	n := newNode(t, nil)
	if body := strings.TrimSpace(text(t, n.ask("GET", "/s/"+living+"/ice", "", n.in))); body != `{"iceServers":[],"relay":""}` {
		t.Errorf("got %s", body)
	}
}

// A viewer that came through the relay of a noded before must learn of the new one at once.
func TestStatusDoesNotWaitForWhoKnowsAnotherRelay(t *testing.T) {
	n := newNode(t, func(o *Options) { o.Relay = fakeRelay{} })
	began := time.Now()
	body := text(t, n.ask("GET", "/s/"+living+"/status?wait=ready&relay=zero", "", n.in))
	if !strings.Contains(body, `"relay":"one"`) || time.Since(began) > statusWait/2 {
		t.Errorf("got %s after %v", body, time.Since(began))
	}
}

package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
	"easel/pkg/problem"

	"easel/noded/session"
)

// streamer serves the living session's streamer socket.
func (n *node) streamer(h http.HandlerFunc) {
	n.t.Helper()
	l, err := net.Listen("unix", filepath.Join(n.all[living].Paths.Worker, session.StreamerSocket))
	if err != nil {
		n.t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	n.t.Cleanup(func() { _ = server.Close() })
}

var sdp = header("Content-Type", "application/sdp")

func TestOfferReachesTheStreamer(t *testing.T) {
	n := newNode(t, nil)
	n.streamer(func(w http.ResponseWriter, r *http.Request) {
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		if r.URL.Path != "/whep" || body.String() != "offer" || r.Header.Get("Content-Type") != "application/sdp" {
			t.Errorf("the streamer got %s %q", r.URL, body)
		}
		if r.Header.Get("Cookie") != "" || r.Header.Get("Authorization") != "" || r.Header.Get("Origin") != "" {
			t.Errorf("the streamer got the browser's secrets: %v", r.Header)
		}
		w.Header().Set("Location", "whep/p1")
		w.Header().Set("Set-Cookie", "easel_x=y")
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(201)
		fmt.Fprint(w, "answer")
	})
	resp := n.ask("POST", "/s/"+living+"/whep", "offer", n.in, sdp, header("Origin", n.server.URL), header("Authorization", "Bearer x"))
	want(t, resp, 201)
	if text(t, resp) != "answer" || resp.Header.Get("Location") != "/s/"+living+"/whep/p1" || resp.Header.Get("Content-Type") != "application/sdp" || resp.Header.Get("Set-Cookie") != "" {
		t.Fatalf("%v", resp.Header)
	}
}

func TestPeerEndsStatsAndScreenReachTheStreamer(t *testing.T) {
	n := newNode(t, nil)
	got := make(chan string, 4)
	n.streamer(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.URL.Path
		switch {
		case r.URL.Path == "/stats":
			fmt.Fprint(w, `{"frames":1}`)
		case r.Method == "POST" && r.URL.Path == "/whep/p1":
			fmt.Fprint(w, "answer")
		default:
			w.WriteHeader(204)
		}
	})
	want(t, n.ask("DELETE", "/s/"+living+"/whep/p1", "", n.in), 204)
	want(t, n.ask("POST", "/s/"+living+"/screen", `{"width":800}`, n.in), 204)
	resp := n.ask("GET", "/s/"+living+"/stats?x=/../y", "", n.in)
	want(t, resp, 200)
	if text(t, resp) != `{"frames":1}` || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%v", resp.Header)
	}
	resp = n.ask("POST", "/s/"+living+"/whep/p1", "offer", n.in, sdp)
	if want(t, resp, 200); text(t, resp) != "answer" || resp.Header.Get("Content-Type") != "application/sdp" {
		t.Fatalf("%v", resp.Header)
	}
	for _, call := range []string{"DELETE /whep/p1", "POST /screen", "GET /stats", "POST /whep/p1"} {
		if g := <-got; g != call {
			t.Errorf("the streamer got %s, want %s", g, call)
		}
	}
	want(t, n.ask("DELETE", "/s/"+living+"/whep/a%2fb", "", n.in), 404)
}

func TestOversizedAndMistypedBodiesStopHere(t *testing.T) {
	n := newNode(t, nil)
	n.streamer(func(http.ResponseWriter, *http.Request) { t.Error("it reached the streamer") })
	want(t, n.ask("POST", "/s/"+living+"/whep", strings.Repeat("x", 65<<10), n.in, sdp), 413)
	want(t, n.ask("POST", "/s/"+living+"/whep", "offer", n.in), 415)
	want(t, n.ask("POST", "/s/"+living+"/screen", strings.Repeat(" ", 2<<10), n.in), 413)
}

// TestHostileStreamer: a streamer that a container has taken over can neither hang nor bloat noded, nor
// place anything on its origin.
func TestHostileStreamer(t *testing.T) {
	for name, tc := range map[string]struct {
		h      http.HandlerFunc
		status int
	}{
		"endless body": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 32<<10); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, 503},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		}, 503},
		"huge headers": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, 503},
		"a crash":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 503},
		"server error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 503},
		"a refusal":    {func(w http.ResponseWriter, _ *http.Request) { problem.Write(w, 400, "Bad\x1b[2J offer", "line\nbreak") }, 400},
		"an HTML page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(404)
			fmt.Fprint(w, "<script>")
		}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, nil)
			n.streamer(tc.h)
			resp := n.ask("GET", "/s/"+living+"/stats", "", n.in)
			want(t, resp, tc.status)
			if body := text(t, resp); strings.Contains(body, "<script>") || strings.Contains(body, `\u001b`) || strings.Contains(body, "evil") || len(body) > 4096 {
				t.Fatalf("%q", body)
			}
		})
	}
}

func TestStreamerThatIsNotThereIsSaid(t *testing.T) {
	n := newNode(t, nil)
	resp := n.ask("GET", "/s/"+living+"/stats", "", n.in)
	want(t, resp, 503)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestStreamerSocketThatIsALinkIsNotFollowed(t *testing.T) {
	n := newNode(t, nil)
	elsewhere := filepath.Join(shortDir(t), "admin.sock")
	l, err := net.Listen("unix", elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Symlink(elsewhere, filepath.Join(n.all[living].Paths.Worker, session.StreamerSocket)); err != nil {
		t.Fatal(err)
	}
	want(t, n.ask("GET", "/s/"+living+"/stats", "", n.in), 503)
}

func TestEndedSessionIsGone(t *testing.T) {
	n := newNode(t, nil)
	n.signed = n.gate.cookies.make(ended)
	resp := n.ask("POST", "/s/"+ended+"/whep", "offer", n.in, sdp)
	want(t, resp, 410)
	if !strings.Contains(text(t, resp), "out of paint") {
		t.Error("it does not say why")
	}
	want(t, n.ask("GET", "/s/"+ended+"/status", "", n.in), 200)
}

func (n *node) dialVNC(t *testing.T) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	return websocket.Dial(t.Context(), n.server.URL+"/s/"+living+"/vnc", &websocket.DialOptions{
		Subprotocols: []string{"binary"},
		HTTPHeader:   http.Header{"Cookie": {n.signed.String()}, "Origin": {n.server.URL}},
	})
}

func TestVNCIsRelayed(t *testing.T) {
	n := newNode(t, nil)
	n.streamer(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/vnc" || r.Header.Get("Cookie") != "" {
			t.Errorf("the streamer got %s %v", r.URL, r.Header)
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		kind, data, err := c.Read(r.Context())
		if err == nil {
			_ = c.Write(r.Context(), kind, append([]byte("echo "), data...))
		}
		_ = c.Close(websocket.StatusNormalClosure, "")
	})
	c, _, err := n.dialVNC(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if c.Subprotocol() != "binary" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("RFB")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := c.Read(t.Context()); err != nil || string(data) != "echo RFB" {
		t.Fatalf("%q, %v", data, err)
	}
}

func TestVNCConnectionsAreBounded(t *testing.T) {
	n := newNode(t, nil)
	n.streamer(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, _, _ = c.Read(r.Context())
	})
	var first *websocket.Conn
	for range maxVNC {
		c, _, err := n.dialVNC(t)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = c
		}
		defer c.CloseNow()
	}
	if _, resp, err := n.dialVNC(t); err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("one more: %v", err)
	}
	_ = first.CloseNow()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, _, err := n.dialVNC(t)
		if err == nil {
			_ = c.CloseNow()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a place was never given back")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestVNCWithoutAStreamerOrUpgrade(t *testing.T) {
	n := newNode(t, nil)
	if _, resp, err := n.dialVNC(t); err == nil || resp == nil || resp.StatusCode != 503 {
		t.Fatalf("%v", err)
	}
	want(t, n.ask("GET", "/s/"+living+"/vnc", "", n.in), 426)
}

func (n *node) service() easelv1connect.NodeServiceClient {
	server := httptest.NewServer(n.gate.NodeService())
	n.t.Cleanup(server.Close)
	return easelv1connect.NewNodeServiceClient(server.Client(), server.URL)
}

// Browsers reach the same address as ever: what commands the node is not to be found there, by whatever token.
func TestNodeServiceIsNotAtTheBrowsersAddress(t *testing.T) {
	n := newNode(t, nil)
	client := easelv1connect.NewNodeServiceClient(n.server.Client(), n.server.URL)
	for name, token := range map[string]string{"none": "", "a viewer's": n.token(identity.SessionAudience(living), identity.ScopeView, 0)} {
		req := connect.NewRequest(&easelv1.ListRequest{})
		req.Header().Set("Authorization", "Bearer "+token)
		if _, err := client.List(t.Context(), req); connect.CodeOf(err) != connect.CodeUnimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNodeServiceSpeaksForTheSessions(t *testing.T) {
	n := newNode(t, nil)
	client := n.service()
	r, err := client.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "ann", Key: "k"}))
	if err != nil || !r.Msg.Created || r.Msg.Session.User != "ann" {
		t.Fatalf("%v, %v", r, err)
	}
	g, err := client.Get(t.Context(), connect.NewRequest(&easelv1.GetRequest{Id: living}))
	if err != nil || g.Msg.Session.State != easelv1.State_STATE_READY {
		t.Fatalf("%v, %v", g, err)
	}
	if _, err := client.Get(t.Context(), connect.NewRequest(&easelv1.GetRequest{Id: unknown})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Fatal(err)
	}
	if l, err := client.List(t.Context(), connect.NewRequest(&easelv1.ListRequest{})); err != nil || len(l.Msg.Sessions) != 1 {
		t.Fatal(err)
	}
	if _, err := client.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: living, Reason: "r"})); err != nil {
		t.Fatal(err)
	}
	if s, err := client.Status(t.Context(), connect.NewRequest(&easelv1.StatusRequest{})); err != nil || s.Msg.FullReason != "no room" || s.Msg.Capacity != 3 {
		t.Fatal(err)
	}
}

func TestRefusalsTellTheCoordinatorWhatToDo(t *testing.T) {
	n := newNode(t, nil)
	client := n.service()
	for code, err := range map[connect.Code]error{
		connect.CodeResourceExhausted:  &session.Refusal{Reason: "full", Detail: "no room"},
		connect.CodeUnavailable:        &session.Refusal{Reason: "ending", Detail: "ending"},
		connect.CodeFailedPrecondition: &session.Refusal{Reason: "image", Detail: "no image"},
		connect.CodeInvalidArgument:    fmt.Errorf("user: %w", session.ErrInvalid),
		connect.CodeInternal:           fmt.Errorf("disk on fire"),
	} {
		n.refuse = fmt.Errorf("reserve: %w", err)
		_, got := client.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "ann", Key: "k"}))
		if connect.CodeOf(got) != code {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestNodeServiceBoundsItsRequests(t *testing.T) {
	n := newNode(t, nil)
	client := n.service()
	_, err := client.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: strings.Repeat("a", 1<<20), Key: "k"}))
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("%v", err)
	}
}

func TestOfferSaysWhichScreen(t *testing.T) {
	n := newNode(t, nil)
	n.streamer(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RequestURI()) })
	for _, c := range []struct {
		query, reaches string
		code           int
	}{
		{"", "/whep", 200},
		{"?screen=2", "/whep?screen=2", 200},
		{"?screen=2&to=/notice", "/whep?screen=2", 200},
		{"?screen=2%26x", "", 400},
		{"?screen=", "", 400},
	} {
		resp := n.ask("POST", "/s/"+living+"/whep"+c.query, "offer", n.in, sdp)
		want(t, resp, c.code)
		if got := text(t, resp); c.code == 200 && got != c.reaches {
			t.Errorf("%q reaches the streamer as %q, want %q", c.query, got, c.reaches)
		}
	}
}

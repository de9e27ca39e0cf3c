package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/session"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
	"easel/pkg/problem"
)

const (
	living  = "saaaaaaaaaaaaaaaa"
	ended   = "sbbbbbbbbbbbbbbbb"
	unknown = "scccccccccccccccc"
)

// node is a gateway on a real listener, with sessions in memory.
type node struct {
	t      *testing.T
	server *httptest.Server
	signer *identity.Signer
	signed *http.Cookie // of the living session
	gate   *Gateway

	mu      sync.Mutex
	all     map[string]session.Session
	changed chan struct{}
	stopped []string
	refuse  error

	order     session.Order
	untilBoot bool
}

func newNode(t *testing.T, change func(*Options)) *node {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := identity.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := identity.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, signer: signer, changed: make(chan struct{}), all: map[string]session.Session{}}
	n.all[living] = session.Session{Record: session.Record{ID: living, User: "ann", State: session.Ready}, Paths: session.Paths{Worker: shortDir(t)}}
	n.all[ended] = session.Session{Record: session.Record{ID: ended, User: "ann", State: session.Failed, Reason: "out of paint"}}
	n.server = httptest.NewUnstartedServer(nil)
	o := Options{
		PublicURL: "http://node.example:8443", PortalURL: "http://portal.example",
		Viewer: fstest.MapFS{
			"index.html": {Data: []byte("<!doctype html><title>viewer</title>")}, "assets/a-1.js": {Data: []byte("1")}, "favicon.svg": {Data: []byte("<svg/>")},
			"assets/secret.key": {Data: []byte("x")},
		},
		ViewerCSP: "default-src 'self'; connect-src 'self'", Sessions: n, Verifier: verifier, Memory: memory(t), Ready: func() error { return nil },
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") }),
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	if n.gate, err = New(o); err != nil {
		t.Fatal(err)
	}
	n.server.Config.Handler = n.gate
	n.server.Start()
	t.Cleanup(n.server.Close)
	n.signed = n.gate.cookies.make(living)
	return n
}

// shortDir is a directory whose sockets' addresses fit.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (n *node) Reserve(_ context.Context, q session.Request) (session.Session, bool, error) {
	if n.refuse != nil {
		return session.Session{}, false, n.refuse
	}
	return session.Session{Record: session.Record{ID: living, User: q.User, Key: q.Key, State: session.Reserved}}, true, nil
}

func (n *node) Get(id string) (session.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.all[id]
	if !ok {
		return s, fmt.Errorf("session %s: %w", id, session.ErrNotFound)
	}
	return s, nil
}

func (n *node) List(string, bool) ([]session.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return []session.Session{n.all[living]}, nil
}

func (n *node) Stop(_ context.Context, id, reason string) (session.Session, error) {
	s, err := n.Get(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = append(n.stopped, id+": "+reason)
	return s, err
}

func (n *node) Warm() ([]session.Warm, error) {
	return []session.Warm{{ID: "swwwwwwwwwwwwwwww", Kind: session.WarmReady, Up: true}}, n.refuse
}

func (n *node) SetDuty(o session.Order, untilBoot bool) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.order, n.untilBoot = o, untilBoot
	return 1, n.refuse
}

func (n *node) Await(ctx context.Context, id string, unlike session.State) (session.Session, error) {
	for {
		n.mu.Lock()
		changed := n.changed
		n.mu.Unlock()
		s, err := n.Get(id)
		if err != nil || s.State != unlike {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s, nil
		}
	}
}

func (n *node) Status(context.Context) (session.Status, error) {
	return session.Status{Name: "n1", Capacity: 3, Used: 1, Full: "no room"}, nil
}

func (n *node) become(state session.State) {
	n.change(func(s *session.Session) { s.State = state })
}

func (n *node) change(change func(*session.Session)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.all[living]
	change(&s)
	n.all[living] = s
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) token(audience, scope string, age time.Duration) string {
	n.t.Helper()
	at := time.Now().Add(-age)
	token, err := n.signer.Sign(identity.Claims{Audience: audience, Subject: "ann", Scope: scope, IssuedAt: at, Expires: at.Add(time.Minute)})
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// ask sends a request as the node's own page would, changed by the options.
func (n *node) ask(method, path, body string, options ...func(*http.Request)) *http.Response {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.server.URL+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, o := range options {
		o(req)
	}
	client := http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func (n *node) in(r *http.Request) { r.AddCookie(n.signed) }

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func want(t *testing.T, resp *http.Response, status int) {
	t.Helper()
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, status, text(t, resp))
	}
	if status >= 400 && resp.Header.Get("Content-Type") != problem.ContentType {
		t.Fatalf("%s %s: the error is a %q", resp.Request.Method, resp.Request.URL.Path, resp.Header.Get("Content-Type"))
	}
}

func TestPageHoldsNoSecretAndIsGuarded(t *testing.T) {
	n := newNode(t, nil)
	resp := n.ask("GET", "/s/"+living, "")
	want(t, resp, 200)
	h := resp.Header
	for name, value := range map[string]string{
		"Content-Security-Policy": "default-src 'self'; connect-src 'self' http://portal.example", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Frame-Options": "DENY",
	} {
		if h.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, h.Get(name), value)
		}
	}
	if body := text(t, resp); body != text(t, n.ask("GET", "/s/"+unknown, "")) {
		t.Error("the page tells which sessions there are")
	}
}

func TestAssets(t *testing.T) {
	n := newNode(t, nil)
	resp := n.ask("GET", "/assets/a-1.js", "")
	want(t, resp, 200)
	if resp.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("%v", resp.Header)
	}
	want(t, n.ask("GET", "/favicon.svg", ""), 200)
	for _, path := range []string{"/assets/none.js", "/assets/..%2findex.html", "/assets/secret.key", "/assets/"} {
		want(t, n.ask("GET", path, ""), 404)
	}
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	n := newNode(t, nil)
	for path, status := range map[string]int{"/nowhere": 404, "/s/": 404, "/s/short": 404, "/s/" + strings.ToUpper(living): 404, "/s/" + living + "/nothing": 404} {
		want(t, n.ask("GET", path, ""), status)
	}
	resp := n.ask("PUT", "/s/"+living, "")
	want(t, resp, 405)
	if resp.Header.Get("Allow") != "DELETE, GET" {
		t.Errorf("Allow is %q", resp.Header.Get("Allow"))
	}
	if resp := n.ask("GET", "/", ""); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "http://portal.example" {
		t.Errorf("/ answers %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}

func (n *node) auth(id, body string, options ...func(*http.Request)) *http.Response {
	return n.ask("POST", "/s/"+id+"/auth", body, options...)
}

func tokenBody(token string) string { return `{"token":"` + token + `"}` }

func TestTokenIsTradedForACookieOnce(t *testing.T) {
	n := newNode(t, nil)
	body := tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 0))
	resp := n.auth(living, body)
	want(t, resp, 204)
	if len(resp.Cookies()) != 1 {
		t.Fatalf("%d cookies", len(resp.Cookies()))
	}
	c := resp.Cookies()[0]
	if c.Name != "easel_"+living || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/s/"+living || c.Secure {
		t.Errorf("cookie %+v", c)
	}
	want(t, n.ask("GET", "/s/"+living+"/status", "", func(r *http.Request) { r.AddCookie(c) }), 200)
	resp = n.auth(living, body)
	want(t, resp, 401)
	if len(resp.Cookies()) != 0 {
		t.Error("a used token gave a cookie")
	}
}

func TestCookieIsSecureBehindTLS(t *testing.T) {
	n := newNode(t, func(o *Options) { o.PublicURL = "https://node.example" })
	resp := n.auth(living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 0)))
	want(t, resp, 204)
	if !resp.Cookies()[0].Secure {
		t.Error("the cookie may travel in the clear")
	}
}

func TestMalformedSignInsAreRefused(t *testing.T) {
	n := newNode(t, nil)
	good := n.token(identity.SessionAudience(living), identity.ScopeView, 0)
	for name, tc := range map[string]struct {
		id, body string
		status   int
	}{
		"another session's": {living, tokenBody(n.token(identity.SessionAudience(ended), identity.ScopeView, 0)), 401},
		"the node's":        {living, tokenBody(n.token("node:n1", identity.ScopeView, 0)), 401},
		"expired":           {living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 2*time.Minute)), 401},
		"not yet":           {living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, -time.Minute)), 401},
		"cut short":         {living, tokenBody(good[:len(good)-2]), 401},
		"altered":           {living, tokenBody("x" + good), 401},
		"empty token":       {living, tokenBody(""), 401},
		"no token":          {living, `{}`, 400},
		"unknown field":     {living, `{"token":"a","admin":true}`, 400},
		"not JSON":          {living, good, 400},
		"two documents":     {living, tokenBody(good) + tokenBody(good), 400},
		"an array":          {living, `["` + good + `"]`, 400},
		"endless":           {living, tokenBody(strings.Repeat("a", 1<<20)), 400},
		"no such session":   {unknown, tokenBody(n.token(identity.SessionAudience(unknown), identity.ScopeView, 0)), 404},
		"an ended session":  {ended, tokenBody(n.token(identity.SessionAudience(ended), identity.ScopeView, 0)), 410},
	} {
		t.Run(name, func(t *testing.T) {
			resp := n.auth(tc.id, tc.body)
			want(t, resp, tc.status)
			if len(resp.Cookies()) != 0 {
				t.Fatal("it gave a cookie")
			}
			if body := text(t, resp); strings.Contains(body, good) {
				t.Fatal("the answer repeats the token")
			}
		})
	}
	want(t, n.auth(living, tokenBody(good), header("Content-Type", "text/plain")), 400)
	want(t, n.auth(living, tokenBody(good)), 204)
}

func TestNodeWithoutCoordinatorLetsNobodyIn(t *testing.T) {
	c := identitytest.New(t)
	n := newNode(t, func(o *Options) { o.Verifier = c.Member(identity.RoleNode, "n1") })
	want(t, n.auth(living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 0))), 401)
	n.signer = c.Signer() // a coordinator registers while the node runs
	want(t, n.auth(living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 0))), 204)
	c.Change(func(trust *easelv1.Trust) { trust.TokenKeys = nil }) // and is removed
	want(t, n.auth(living, tokenBody(n.token(identity.SessionAudience(living), identity.ScopeView, 0))), 401)
}

func TestSignInsAreRateLimited(t *testing.T) {
	n := newNode(t, nil)
	for i := range signBurst + 5 {
		resp := n.auth(living, `{}`)
		if resp.StatusCode == http.StatusTooManyRequests {
			if i < signBurst {
				t.Fatalf("refused at try %d", i)
			}
			if resp.Header.Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
			return
		}
	}
	t.Fatal("every try was let through")
}

func TestCookieOpensItsOwnSessionAlone(t *testing.T) {
	n := newNode(t, nil)
	other := n.gate.cookies.make(ended)
	foreign := cookies{key: make([]byte, cookieKeySize)}.make(living)
	for name, value := range map[string]string{
		"none": "", "garbage": "garbage", "another session's": other.Value, "another node's": foreign.Value,
		"cut short": n.signed.Value[:len(n.signed.Value)-1], "no nonce": "v1.." + strings.Split(n.signed.Value, ".")[2], "another version": "v2" + n.signed.Value[2:],
	} {
		t.Run(name, func(t *testing.T) {
			for _, route := range []string{"GET /status", "POST /whep", "POST /screen", "GET /stats", "GET /vnc", "DELETE /whep/p", "DELETE "} {
				method, path, _ := strings.Cut(route, " ")
				resp := n.ask(method, "/s/"+living+path, "{}", func(r *http.Request) {
					if value != "" {
						r.AddCookie(&http.Cookie{Name: "easel_" + living, Value: value})
					}
				})
				want(t, resp, 401)
				if !strings.Contains(resp.Header.Get("Link"), "<http://portal.example/sessions/"+living+"/open>; rel=\"portal\"") {
					t.Error("the answer does not say where to sign in")
				}
			}
		})
	}
	if len(n.stopped) > 0 {
		t.Fatalf("ended: %v", n.stopped)
	}
}

func TestForeignPagesAndNamesAreRefused(t *testing.T) {
	n := newNode(t, nil)
	for name, tc := range map[string]struct {
		method, path string
		option       func(*http.Request)
		status       int
	}{
		"rebound name":        {"GET", "/s/" + living, func(r *http.Request) { r.Host = "evil.example" }, 421},
		"rebound to service":  {"POST", "/easel.v1.NodeService/List", func(r *http.Request) { r.Host = "evil.example" }, 421},
		"own public name":     {"GET", "/s/" + living, func(r *http.Request) { r.Host = "node.example:8443" }, 200},
		"localhost":           {"GET", "/s/" + living, func(r *http.Request) { r.Host = "localhost:1" }, 200},
		"IPv6":                {"GET", "/s/" + living, func(r *http.Request) { r.Host = "[::1]:1" }, 200},
		"foreign origin":      {"DELETE", "/s/" + living, header("Origin", "https://evil.example"), 403},
		"opaque origin":       {"DELETE", "/s/" + living, header("Origin", "null"), 403},
		"foreign fetch":       {"DELETE", "/s/" + living, header("Sec-Fetch-Site", "cross-site"), 403},
		"sister site's fetch": {"DELETE", "/s/" + living, header("Sec-Fetch-Site", "same-site"), 403},
		"foreign socket": {"GET", "/s/" + living + "/vnc", func(r *http.Request) {
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Origin", "https://evil.example")
		}, 403},
		"socket from no page": {"GET", "/s/" + living + "/vnc", header("Upgrade", "websocket"), 403},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, n.ask(tc.method, tc.path, "", n.in, tc.option), tc.status)
		})
	}
	if len(n.stopped) > 0 {
		t.Fatalf("ended: %v", n.stopped)
	}
}

func TestStatusWaitsForAChange(t *testing.T) {
	n := newNode(t, nil)
	resp := n.ask("GET", "/s/"+living+"/status?wait=starting", "", n.in)
	want(t, resp, 200)
	if body := text(t, resp); !strings.Contains(body, `"state":"ready"`) || !strings.Contains(body, `"portal":"http://portal.example/sessions/`+living+`/open"`) {
		t.Fatalf("%s", body)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		n.become(session.Connected)
	}()
	start := time.Now()
	if body := text(t, n.ask("GET", "/s/"+living+"/status?wait=ready", "", n.in)); !strings.Contains(body, `"state":"connected"`) || time.Since(start) > statusWait/2 {
		t.Fatalf("%s after %s", body, time.Since(start))
	}
	for _, state := range []string{"sleeping", "READY", "unspecified%00"} {
		want(t, n.ask("GET", "/s/"+living+"/status?wait="+state, "", n.in), 400)
	}
}

func TestOneSessionCannotTakeEveryConnection(t *testing.T) {
	n := newNode(t, nil)
	var waiting sync.WaitGroup
	for range maxRequests {
		waiting.Go(func() { // one that the question below kept out tries again
			for n.ask("GET", "/s/"+living+"/status?wait=ready", "", n.in).StatusCode == http.StatusTooManyRequests {
				time.Sleep(time.Millisecond)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if n.ask("GET", "/s/"+living+"/status", "", n.in).StatusCode == http.StatusTooManyRequests {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("every request was let through")
		}
	}
	n.become(session.Connected)
	waiting.Wait()
	want(t, n.ask("GET", "/s/"+living+"/status", "", n.in), 200)
}

func TestArtistEndsTheSession(t *testing.T) {
	n := newNode(t, nil)
	want(t, n.ask("DELETE", "/s/"+living, "", n.in, header("Origin", n.server.URL)), 204)
	if len(n.stopped) != 1 || !strings.HasPrefix(n.stopped[0], living) {
		t.Fatalf("stopped %v", n.stopped)
	}
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	ready := errors.New("still taking up sessions")
	n := newNode(t, func(o *Options) { o.Ready = func() error { return ready } })
	want(t, n.ask("GET", "/healthz", ""), 200)
	want(t, n.ask("GET", "/metrics", ""), 200)
	want(t, n.ask("GET", "/readyz", ""), 503)
	ready = nil
	want(t, n.ask("GET", "/readyz", ""), 200)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		r := httptest.NewRequest("GET", "http://localhost"+path, nil)
		r.RemoteAddr = "192.0.2.7:4000"
		w := httptest.NewRecorder()
		n.gate.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s from the network: %d", path, w.Code)
		}
	}
}

func TestNewRefusesWhatCannotServe(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no public URL": func(o *Options) { o.PublicURL = "" },
		"no scheme":     func(o *Options) { o.PublicURL = "node.example" },
		"no page":       func(o *Options) { o.Viewer = fstest.MapFS{} },
	} {
		o := Options{PublicURL: "http://n", Viewer: fstest.MapFS{"index.html": {}}, Memory: memory(t), Registry: prometheus.NewRegistry()}
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

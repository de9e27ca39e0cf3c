package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/coordinator/placement"
	"easel/coordinator/placement/geoip"
	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
	"easel/pkg/identity/identitytest"
	"easel/pkg/problem"
	"easel/pkg/telemetry"
)

const password = "correct horse battery"

// front is a coordinator's API over real HTTP, with fake nodes behind it.
type front struct {
	t      testing.TB
	url    string
	store  *auth.Store
	nodes  nodetest.Members
	api    *API
	tokens map[string]string // API token by user
}

func start(t testing.TB, nodes ...string) *front {
	t.Helper()
	c := identitytest.New(t)
	f := &front{t: t, tokens: map[string]string{}}
	for _, name := range nodes {
		f.nodes = append(f.nodes, nodetest.Start(t, name, c))
	}
	db, err := state.Open(filepath.Join(t.TempDir(), "coordinator.db"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	f.store, err = auth.New(db, auth.Options{Params: auth.Params{Time: 1, Memory: 64, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"ada": auth.RoleUser, "bob": auth.RoleUser, "root": auth.RoleAdmin} {
		if _, err := f.store.AddAccount(t.Context(), name, role, password); err != nil {
			t.Fatal(err)
		}
		if f.tokens[name], _, err = f.store.NewToken(t.Context(), name, "test"); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	d := directory.New(directory.Options{Members: f.nodes, Peers: f.nodes.Coordinator(), Signer: c.Signer(), Index: directory.NewIndex(db), Log: log, LookEvery: -1})
	t.Cleanup(d.Close)
	router := placement.NewRouter(placement.RouterOptions{Config: placement.Defaults(), Members: f.nodes, Every: -1})
	registry := telemetry.Registry("test")
	var nowhere *geoip.Database

	server := httptest.NewUnstartedServer(nil)
	listen := server.Listener.Addr().String()
	public := &url.URL{Scheme: "http", Host: listen}
	f.api = New(Config{
		Guard: &auth.Guard{Store: f.store, Public: public}, Nodes: d, Clients: placement.NewClients(nowhere, nil), Log: log, Registry: registry,
		Placer: placement.New(placement.Options{Router: router, Fleet: d, Index: d.Index, Log: log, Registry: registry}), Version: "test",
	})
	mux := http.NewServeMux()
	f.api.Register(mux)
	server.Config.Handler = Harden(f.api.Count(mux), public, listen, log)
	server.Start()
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request as user ("" for nobody) and checks the answer against the OpenAPI document.
func (f *front) do(method, path, user, body string, headers ...string) answer {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if user != "" {
		req.Header.Set("Authorization", "Bearer "+f.tokens[user])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	validate(f.t, method, req.URL.Path, resp, raw)
	return answer{resp, raw}
}

func decode[T any](t testing.TB, a answer, status int) T {
	t.Helper()
	var v T
	if a.StatusCode != status {
		t.Fatalf("%s %s: %d %s, want %d", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.body, status)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

func (f *front) wantProblem(a answer, status int, says string) {
	f.t.Helper()
	p := decode[problem.Problem](f.t, a, status)
	if a.Header.Get("Content-Type") != problem.ContentType || p.Status != status || !strings.Contains(p.Detail, says) {
		f.t.Errorf("%s %s: %s, want a problem that says %q", a.Request.Method, a.Request.URL, a.body, says)
	}
}

func TestLifeOfASession(t *testing.T) {
	f := start(t, "node-a")
	made := f.do("POST", "/api/v1/sessions", "ada", "")
	s := decode[Session](t, made, http.StatusCreated)
	if s.User != "ada" || s.Key != "default" || s.State != "starting" || s.Node != "node-a" || made.Header.Get("Location") != "/api/v1/sessions/"+s.ID {
		t.Errorf("made %+v at %q", s, made.Header.Get("Location"))
	}
	if !strings.HasPrefix(s.URL, f.nodes[0].URL+"/s/"+s.ID+"#token=") {
		t.Errorf("its URL is %q", s.URL)
	}
	again := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", "{}"), http.StatusOK)
	if again.ID != s.ID || again.URL == s.URL {
		t.Errorf("asked again: session %s with URL %q, want %s with a fresh token", again.ID, again.URL, s.ID)
	}
	got := decode[Session](t, f.do("GET", "/api/v1/sessions/"+s.ID, "ada", ""), http.StatusOK)
	if got.URL == "" || got.URL == again.URL {
		t.Errorf("GET gave the URL %q, want a fresh one", got.URL)
	}
	if list := decode[SessionList](t, f.do("GET", "/api/v1/sessions", "ada", ""), http.StatusOK); len(list.Sessions) != 1 || list.Partial {
		t.Errorf("listed %+v", list)
	}
	decode[Session](t, f.do("DELETE", "/api/v1/sessions/"+s.ID, "ada", ""), http.StatusAccepted)
	if list := decode[SessionList](t, f.do("GET", "/api/v1/sessions", "ada", ""), http.StatusOK); len(list.Sessions) != 0 {
		t.Errorf("after its end: %+v", list)
	}
	ended := decode[SessionList](t, f.do("GET", "/api/v1/sessions?ended=true", "ada", ""), http.StatusOK)
	if len(ended.Sessions) != 1 || ended.Sessions[0].Reason != "ended by ada" {
		t.Errorf("ended ones: %+v", ended)
	}
	if gone := decode[Session](t, f.do("GET", "/api/v1/sessions/"+s.ID, "ada", ""), http.StatusOK); gone.URL != "" {
		t.Error("an ended session has a URL")
	}
	next := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", ""), http.StatusCreated)
	if next.ID == s.ID {
		t.Error("the key of an ended session gave that session again")
	}
}

func TestAnswersKeepTheNodesSecrets(t *testing.T) {
	f := start(t, "node-a")
	for _, a := range []answer{f.do("POST", "/api/v1/sessions", "ada", ""), f.do("GET", "/api/v1/sessions", "ada", "")} {
		if strings.Contains(string(a.body), "/secret/host/path") || strings.Contains(string(a.body), "pid") {
			t.Errorf("host paths or process IDs in %s", a.body)
		}
	}
}

func TestSimultaneousPostsGetOneSession(t *testing.T) {
	f := start(t, "node-a", "node-b")
	for _, n := range f.nodes {
		n.Slow(30 * time.Millisecond)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, status := map[string]bool{}, map[int]int{}
	for range 6 {
		wg.Go(func() {
			a := f.do("POST", "/api/v1/sessions", "ada", "")
			var s Session
			_ = json.Unmarshal(a.body, &s)
			mu.Lock()
			defer mu.Unlock()
			ids[s.ID] = true
			status[a.StatusCode]++
		})
	}
	wg.Wait()
	if len(ids) != 1 || status[http.StatusCreated] != 1 || status[http.StatusOK] != 5 || f.nodes[0].Living()+f.nodes[1].Living() != 1 {
		t.Errorf("six POSTs: sessions %v, statuses %v", ids, status)
	}
}

func TestKeys(t *testing.T) {
	f := start(t, "node-a")
	one := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", `{"key":"one"}`), http.StatusCreated)
	for _, header := range []string{"one", `"one"`, " one "} {
		got := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", "", "Idempotency-Key", header), http.StatusOK)
		if got.ID != one.ID {
			t.Errorf("Idempotency-Key %q gave another session", header)
		}
	}
	if bobs := decode[Session](t, f.do("POST", "/api/v1/sessions", "bob", `{"key":"one"}`), http.StatusCreated); bobs.ID == one.ID {
		t.Error("bob got ada's session by her key")
	}
	decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", `{"key":"one"}`, "Idempotency-Key", "one"), http.StatusOK)
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", `{"key":"one"}`, "Idempotency-Key", "two"), 400, "differ")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", "", "Idempotency-Key", `""`), 400, "empty")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", "", "Idempotency-Key", "a", "Idempotency-Key", "b"), 400, "more than once")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", `{"key":"`+strings.Repeat("x", 129)+`"}`), 400, "128")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", `{"key":"é"}`), 400, "ASCII")
}

func TestMalformedRequests(t *testing.T) {
	f := start(t, "node-a")
	tests := []struct {
		name, method, path, user, body string
		headers                        []string
		status                         int
		says                           string
	}{
		{"not JSON", "POST", "/api/v1/sessions", "ada", "hello", nil, 400, "JSON"},
		{"unknown field", "POST", "/api/v1/sessions", "ada", `{"sise":"big"}`, nil, 400, "sise"},
		{"wrong type", "POST", "/api/v1/sessions", "ada", `{"key":7}`, nil, 400, "key"},
		{"an array", "POST", "/api/v1/sessions", "ada", `[]`, nil, 400, "JSON object"},
		{"two values", "POST", "/api/v1/sessions", "ada", `{}{}`, nil, 400, "follows"},
		{"cut off", "POST", "/api/v1/sessions", "ada", `{"key":"a`, nil, 400, "JSON"},
		{"too large", "POST", "/api/v1/sessions", "ada", `{"key":"` + strings.Repeat("x", maxBody) + `"}`, nil, 413, "larger"},
		{"long image", "POST", "/api/v1/sessions", "ada", `{"image":"` + strings.Repeat("x", 256) + `"}`, nil, 400, "255"},
		{"odd flag", "GET", "/api/v1/sessions?ended=maybe", "ada", "", nil, 400, "true or false"},
		{"no such session", "GET", "/api/v1/sessions/saaaaaaaaaaaaaaaa", "ada", "", nil, 404, "no such session"},
		{"malformed ID", "GET", "/api/v1/sessions/..%2f..%2fetc", "ada", "", nil, 404, "no such session"},
		{"malformed ID, delete", "DELETE", "/api/v1/sessions/x", "ada", "", nil, 404, "no such session"},
		{"nobody", "GET", "/api/v1/sessions", "", "", nil, 401, "sign in"},
		{"nobody, POST", "POST", "/api/v1/sessions", "", "{}", nil, 401, "sign in"},
		{"bad token", "GET", "/api/v1/sessions", "", "", []string{"Authorization", "Bearer nonsense"}, 401, "not valid"},
		{"huge token", "GET", "/api/v1/sessions", "", "", []string{"Authorization", "Bearer " + strings.Repeat("x", 8000)}, 401, "not valid"},
		{"bad cookie", "GET", "/api/v1/sessions", "", "", []string{"Cookie", "easel=nonsense"}, 401, "not valid"},
		{"nodes as a user", "GET", "/api/v1/nodes", "ada", "", nil, 403, "administrator"},
		{"everybody's as a user", "GET", "/api/v1/sessions?all=true", "ada", "", nil, 403, "administrator"},
		{"wrong method", "PUT", "/api/v1/sessions", "ada", "", nil, 405, "takes"},
		{"no such route", "GET", "/api/v2/sessions", "ada", "", nil, 404, "openapi.json"},
		{"another host", "GET", "/api/v1/me", "ada", "", []string{"Host", "evil.test"}, 421, "address"},
		{"sign in, empty", "POST", "/api/v1/signin", "", "", nil, 415, "application/json"},
		{"sign in, extra field", "POST", "/api/v1/signin", "", `{"user":"ada","password":"x","role":"admin"}`, nil, 400, "role"},
		{"sign in from another page", "POST", "/api/v1/signin", "", `{"user":"ada","password":"` + password + `"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, "own pages"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := *f
			g.t = t
			g.wantProblem(g.do(tt.method, tt.path, tt.user, tt.body, tt.headers...), tt.status, tt.says)
		})
	}
	a := f.do("PUT", "/api/v1/sessions", "ada", "")
	if got := a.Header.Get("Allow"); got != "POST, GET" {
		t.Errorf("Allow %q", got)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", f.url+"/api/v1/sessions", strings.NewReader("{}"))
	req.Header.Set("Authorization", "Bearer "+f.tokens["ada"])
	req.Header.Set("Content-Type", "text/plain")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d, want 415: it is what a form of another site could send", resp.StatusCode)
	}
}

func TestOthersSessionsDoNotExist(t *testing.T) {
	f := start(t, "node-a")
	s := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", ""), http.StatusCreated)
	f.wantProblem(f.do("GET", "/api/v1/sessions/"+s.ID, "bob", ""), 404, "no such session")
	f.wantProblem(f.do("DELETE", "/api/v1/sessions/"+s.ID, "bob", ""), 404, "no such session")
	if f.nodes[0].Living() != 1 {
		t.Fatal("bob ended ada's session")
	}
	seen := decode[Session](t, f.do("GET", "/api/v1/sessions/"+s.ID, "root", ""), http.StatusOK)
	if seen.URL != "" {
		t.Error("an administrator got a URL into somebody else's session")
	}
	if list := decode[SessionList](t, f.do("GET", "/api/v1/sessions?all=true", "root", ""), http.StatusOK); len(list.Sessions) != 1 || list.Sessions[0].URL != "" {
		t.Errorf("everybody's: %+v", list)
	}
	decode[Session](t, f.do("DELETE", "/api/v1/sessions/"+s.ID, "root", ""), http.StatusAccepted)
	got := decode[Session](t, f.do("GET", "/api/v1/sessions/"+s.ID, "ada", ""), http.StatusOK)
	if !strings.Contains(got.Reason, "administrator root") {
		t.Errorf("the artist is told %q", got.Reason)
	}
}

func TestNodes(t *testing.T) {
	f := start(t, "node-a", "node-b")
	f.nodes[1].Tell(func(c *cluster.Capacity) { c.Full = "no memory" })
	f.nodes[1].Break(100)
	got := decode[struct{ Nodes []Node }](t, f.do("GET", "/api/v1/nodes", "root", ""), http.StatusOK).Nodes
	if len(got) != 2 || !got[0].Reachable || !slices.Equal(got[0].Degraded, []string{"no GPU"}) || got[1].Reachable || got[1].Error == "" || got[1].Full != "no memory" {
		t.Errorf("got %+v", got)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	f := start(t, "node-a")
	f.nodes[0].Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("2 of 2 sessions")))
	a := f.do("POST", "/api/v1/sessions", "ada", "")
	f.wantProblem(a, 503, "node-a: 2 of 2 sessions")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.nodes[0].Refuse(connect.NewError(connect.CodeInvalidArgument, errors.New("no image krita")))
	f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", `{"image":""}`), 422, "no image krita")
	f.nodes[0].Refuse(nil)
	s := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", ""), http.StatusCreated)
	f.nodes[0].Break(100)
	f.wantProblem(f.do("GET", "/api/v1/sessions/"+s.ID, "ada", ""), 503, "node-a")
	list := decode[SessionList](t, f.do("GET", "/api/v1/sessions", "ada", ""), http.StatusOK)
	if !list.Partial || !slices.Equal(list.Unreachable, []string{"node-a"}) {
		t.Errorf("with its node away, ada's list is %+v", list)
	}
	alone := start(t)
	alone.wantProblem(alone.do("POST", "/api/v1/sessions", "ada", ""), 503, "no node is known")
	alone.wantProblem(alone.do("GET", "/readyz", "", ""), 503, "no node")
}

func TestBrowserSignsInAndOut(t *testing.T) {
	f := start(t, "node-a")
	in := f.do("POST", "/api/v1/signin", "", `{"user":"ada","password":"`+password+`"}`)
	if me := decode[Me](t, in, http.StatusOK); me.User != "ada" || me.Role != "user" {
		t.Errorf("signed in as %+v", me)
	}
	cookie, _, _ := strings.Cut(in.Header.Get("Set-Cookie"), ";")
	if me := decode[Me](t, f.do("GET", "/api/v1/me", "", "", "Cookie", cookie), http.StatusOK); me.User != "ada" {
		t.Errorf("me is %+v", me)
	}
	f.wantProblem(f.do("POST", "/api/v1/sessions", "", "{}", "Cookie", cookie), 403, "own pages")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "", "{}", "Cookie", cookie, "Origin", "http://127.0.0.1:1"), 403, "own pages")
	decode[Session](t, f.do("POST", "/api/v1/sessions", "", "{}", "Cookie", cookie, "Origin", f.url), http.StatusCreated)
	if out := f.do("POST", "/api/v1/signout", "", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); out.StatusCode != http.StatusNoContent {
		t.Errorf("sign out: %d %s", out.StatusCode, out.body)
	}
	f.wantProblem(f.do("GET", "/api/v1/me", "", "", "Cookie", cookie), 401, "not valid")
}

func TestWrongPasswordsAreRateLimited(t *testing.T) {
	f := start(t)
	var bodies []string
	for range 5 {
		for _, user := range []string{"ada", "nobody"} {
			a := f.do("POST", "/api/v1/signin", "", `{"user":"`+user+`","password":"wrong password"}`)
			f.wantProblem(a, 401, "wrong")
			bodies = append(bodies, string(a.body))
		}
	}
	if len(slices.Compact(bodies)) != 1 {
		t.Errorf("answers tell users from strangers: %q", bodies)
	}
	a := f.do("POST", "/api/v1/signin", "", `{"user":"ada","password":"`+password+`"}`)
	f.wantProblem(a, 429, "try again in")
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestProbesAndMetrics(t *testing.T) {
	f := start(t, "node-a")
	f.do("POST", "/api/v1/sessions", "ada", "")
	f.do("GET", "/api/v1/sessions/saaaaaaaaaaaaaaaa", "ada", "")
	f.do("GET", "/nothing/here", "ada", "")
	for _, path := range []string{"/healthz", "/readyz"} {
		decode[map[string]string](t, f.do("GET", path, "", "", "Host", "10.1.2.3:8080"), http.StatusOK)
	}
	a := f.do("GET", "/metrics", "", "")
	for _, want := range []string{
		`easel_coordinator_requests_total{method="POST",route="/api/v1/sessions",status="201"} 1`,
		`easel_coordinator_requests_total{method="GET",route="/api/v1/sessions/{id}",status="404"} 1`,
		`easel_coordinator_placements_total{outcome="made"} 1`, "easel_coordinator_nodes 1",
	} {
		if !strings.Contains(string(a.body), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(string(a.body), "/nothing/here") {
		t.Error("a client can make metric series")
	}
	f.wantProblem(f.do("GET", "/metrics", "", "", "X-Forwarded-For", "192.0.2.1"), 401, "sign in")
	f.wantProblem(f.do("GET", "/metrics", "ada", "", "X-Forwarded-For", "192.0.2.1"), 403, "administrator")
}

func TestSecurityHeaders(t *testing.T) {
	f := start(t)
	a := f.do("GET", "/api/v1/openapi.json", "", "")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'",
		"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
	} {
		if got := a.Header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestCrashOfAHandlerIsAProblem(t *testing.T) {
	h := Harden(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oh") }), &url.URL{Scheme: "http", Host: "example.com"}, "127.0.0.1:1", slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://example.com/", nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "oh") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestExplain(t *testing.T) {
	for want, err := range map[int]error{
		500: errors.New("secret detail"),
		502: connect.NewError(connect.CodeInternal, errors.New("secret detail")),
		503: fmt.Errorf("x: %w", connect.NewError(connect.CodeUnavailable, errors.New("dial"))),
		504: fmt.Errorf("x: %w", context.DeadlineExceeded),
		409: connect.NewError(connect.CodeFailedPrecondition, errors.New("it is stopping")),
		422: fmt.Errorf("x: %w", auth.ErrInvalid),
	} {
		p, _ := Explain(err)
		if p.Status != want || strings.Contains(p.Detail, "secret") {
			t.Errorf("%v became %+v, want %d", err, p, want)
		}
	}
}

func TestStateNamesAreThoseOfTheDocument(t *testing.T) {
	enum := document(t)["components"].(map[string]any)["schemas"].(map[string]any)["State"].(map[string]any)["enum"].([]any)
	for n := range easelv1.State_name {
		if n == 0 {
			continue
		}
		if name := stateName(easelv1.State(n)); !slices.Contains(enum, any(name)) {
			t.Errorf("state %q is not documented", name)
		}
	}
}

func FuzzCreateSessionBody(f *testing.F) {
	for _, seed := range []string{`{}`, `{"key":"a"}`, `{"key":"a","image":"b","class":"c"}`, `[`, "\x00", `{"key":null}`} {
		f.Add(seed, "")
	}
	f.Add(`{"key":"a"}`, `"a"`)
	f.Fuzz(func(t *testing.T, body, header string) {
		r := httptest.NewRequest("POST", "/api/v1/sessions", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		var req SessionRequest
		if readJSON(r, &req, true) != nil {
			return
		}
		key, err := chooseKey(req.Key, []string{header})
		if err == nil && (key == "" || len(key) > 128 || strings.ContainsAny(key, "\x00\r\n")) {
			t.Errorf("chose the key %q", key)
		}
	})
}

package portal

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/api"
	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/coordinator/placement"
	"easel/coordinator/placement/geoip"
	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
	"easel/pkg/identity/identitytest"
	"easel/pkg/telemetry"
)

const password = "correct horse battery"

// site is a whole coordinator over real HTTP, with fake nodes behind it.
type site struct {
	t     *testing.T
	url   string
	store *auth.Store
	node  *nodetest.Node
	view  view

	cluster *identitytest.Cluster
}

// view is the gossip's, which may lose the node, and the clock beside it.
type view struct {
	nodetest.Members
	lost  atomic.Bool
	ahead atomic.Int64 // the clock's, nanoseconds
}

func (v *view) Nodes() []cluster.Node {
	if v.lost.Load() {
		return nil
	}
	return v.Members.Nodes()
}

func (v *view) now() time.Time { return time.Now().Add(time.Duration(v.ahead.Load())) }

func start(t *testing.T) *site {
	t.Helper()
	c := identitytest.New(t)
	s := &site{t: t, node: nodetest.Start(t, "node-a", c), cluster: c}
	db, err := state.Open(filepath.Join(t.TempDir(), "coordinator.db"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s.store, err = auth.New(db, auth.Options{Params: auth.Params{Time: 1, Memory: 64, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"ada": auth.RoleUser, "bob": auth.RoleUser, "root": auth.RoleAdmin} {
		if _, err := s.store.AddAccount(t.Context(), name, role, password); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	nodes, registry := &s.view, telemetry.Registry("test")
	s.view.Members = nodetest.Members{s.node}
	d := directory.New(directory.Options{
		Members: nodes, Peers: nodes.Coordinator(), Signer: c.Signer(), Index: directory.NewIndex(db), Log: log, LookEvery: -1, Now: s.view.now,
	})
	t.Cleanup(d.Close)
	router := placement.NewRouter(placement.RouterOptions{Config: placement.Defaults(), Members: nodes, Every: -1})
	var nowhere *geoip.Database
	placer := placement.New(placement.Options{Router: router, Fleet: d, Index: d.Index, Log: log, Registry: registry})
	server := httptest.NewUnstartedServer(nil)
	listen := server.Listener.Addr().String()
	public := &url.URL{Scheme: "http", Host: listen}
	guard := &auth.Guard{Store: s.store, Public: public}
	backend := api.New(api.Config{Guard: guard, Nodes: d, Clients: placement.NewClients(nowhere, nil), Placer: placer, Log: log, Registry: registry})
	pages, err := New(Config{Guard: guard, Backend: backend, Nodes: d, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	backend.Register(mux)
	pages.Register(mux)
	server.Config.Handler = api.Harden(mux, public, listen, log)
	server.Start()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// browser is somebody's cookie at a site.
type browser struct {
	*site
	cookie string
}

func (s *site) stranger() *browser { return &browser{site: s} }

func (s *site) as(user string) *browser {
	s.t.Helper()
	b := s.stranger()
	p := b.post("/signin", url.Values{"user": {user}, "password": {password}})
	if p.StatusCode != http.StatusSeeOther || b.cookie == "" {
		s.t.Fatalf("sign in as %s: %d %s", user, p.StatusCode, p.text)
	}
	return b
}

type shown struct {
	*http.Response
	text string
}

func (p shown) leadsTo() string { return p.Header.Get("Location") }

func (b *browser) do(method, path string, form url.Values, headers ...string) shown {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.cookie != "" {
		req.Header.Set("Cookie", b.cookie)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // redirects are for the tests to see
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		if b.cookie = c.Name + "=" + c.Value; c.Value == "" {
			b.cookie = ""
		}
	}
	return shown{resp, string(raw)}
}

func (b *browser) get(path string, headers ...string) shown {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, headers...)
}

func (b *browser) post(path string, form url.Values, headers ...string) shown {
	b.t.Helper()
	return b.do(http.MethodPost, path, form, headers...)
}

func (b *browser) want(p shown, status int, says ...string) {
	b.t.Helper()
	if p.StatusCode != status {
		b.t.Errorf("%s %s: %d, want %d: %.300s", p.Request.Method, p.Request.URL, p.StatusCode, status, p.text)
	}
	for _, s := range says {
		if !strings.Contains(p.text, s) {
			b.t.Errorf("%s %s does not say %q: %s", p.Request.Method, p.Request.URL, s, p.text)
		}
	}
}

func (b *browser) wantRedirect(p shown, to string) {
	b.t.Helper()
	if p.StatusCode != http.StatusSeeOther || p.leadsTo() != to {
		b.t.Errorf("%s %s: %d to %q, want a redirect to %q", p.Request.Method, p.Request.URL, p.StatusCode, p.leadsTo(), to)
	}
}

var keyField = regexp.MustCompile(`name="key" value="([^"]+)"`)

func (b *browser) freshKey() string {
	b.t.Helper()
	m := keyField.FindStringSubmatch(b.get("/").text)
	if m == nil {
		b.t.Fatal("the page has no key for a new session")
	}
	return m[1]
}

func TestStrangersAreSentToSignIn(t *testing.T) {
	s := start(t)
	for path, to := range map[string]string{
		"/": "/signin", "/admin": "/signin?next=%2Fadmin", "/account": "/signin?next=%2Faccount",
		"/sessions/saaaaaaaaaaaaaaaa/open": "/signin?next=%2Fsessions%2Fsaaaaaaaaaaaaaaaa%2Fopen",
	} {
		b := s.stranger()
		b.wantRedirect(b.get(path), to)
	}
	b := s.stranger()
	b.wantRedirect(b.post("/sessions", nil), "/signin")
	b.want(b.get("/fragment/sessions"), http.StatusUnauthorized)
	b.want(b.get("/signin"), http.StatusOK, `autocomplete="current-password"`)
	b.want(b.get("/nothing"), http.StatusNotFound, "There is no such page.")
}

func TestSignInLeadsBackButOnlyWithinThePortal(t *testing.T) {
	s := start(t)
	for want, to := range map[string]string{
		"/account": "/account", "/sessions/saaaaaaaaaaaaaaaa/open": "/sessions/saaaaaaaaaaaaaaaa/open", "": "/",
		"//evil.test": "/", "https://evil.test": "/", `/\evil.test`: "/", "/signout": "/", "/account\r\nX: y": "/", "/sessions/x/end": "/",
	} {
		b := s.stranger()
		b.wantRedirect(b.post("/signin", url.Values{"user": {"ada"}, "password": {password}, "next": {want}}), to)
	}
	ada := s.as("ada")
	ada.wantRedirect(ada.get("/signin?next=/account"), "/account")
}

func TestWrongPasswordShowsTheFormAgain(t *testing.T) {
	s := start(t)
	b := s.stranger()
	for range 5 {
		b.want(b.post("/signin", url.Values{"user": {`<b>ada`}, "password": {"wrong password"}, "next": {"/account"}}), http.StatusUnauthorized,
			"The user name or the password is wrong.", `value="&lt;b&gt;ada"`, `value="/account"`)
	}
	p := b.post("/signin", url.Values{"user": {`<b>ada`}, "password": {"wrong password"}})
	b.want(p, http.StatusTooManyRequests, "Too many failed sign-ins; try again in")
	if p.Header.Get("Retry-After") == "" || b.cookie != "" {
		t.Errorf("Retry-After %q, cookie %q", p.Header.Get("Retry-After"), b.cookie)
	}
}

func TestSignInFromAnotherPageIsRefused(t *testing.T) {
	s := start(t)
	b := s.stranger()
	b.want(b.post("/signin", url.Values{"user": {"ada"}, "password": {password}}, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	ada := s.as("ada")
	for _, path := range []string{"/sessions", "/signout", "/account/password"} {
		ada.want(ada.post(path, nil, "Sec-Fetch-Site", "same-site"), http.StatusForbidden, "does not come from")
	}
	if s.node.Living() != 0 {
		t.Error("another site's page made a session")
	}
}

func TestOneTimeLink(t *testing.T) {
	s := start(t)
	code, err := s.store.NewLink(t.Context(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	path := "/signin?once=" + code
	b := s.stranger()
	for name, value := range map[string]string{"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch", "X-Moz": "prefetch", "X-Purpose": "preview"} {
		if b.get(path, name, value); b.cookie != "" {
			t.Fatalf("%s: %s used the link up", name, value)
		}
	}
	if b.do(http.MethodHead, path, nil); b.cookie != "" {
		t.Fatal("HEAD used the link up")
	}
	b.wantRedirect(b.get(path), "/")
	b.want(b.get("/"), http.StatusOK, "My sessions", ">ada</a>")
	b.wantRedirect(b.get(path), "/") // a reload in the browser that used it
	other := s.stranger()
	other.want(other.get(path), http.StatusUnauthorized, "used already", "coordinator signin-link")
	if other.cookie != "" {
		t.Error("a used link signed somebody in")
	}
	other.want(other.get("/signin?once="+strings.Repeat("x", 5000)), http.StatusUnauthorized)
}

func TestNewSessionOpensTheViewer(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	key := ada.freshKey()
	first := ada.post("/sessions", url.Values{"key": {key}})
	again := ada.post("/sessions", url.Values{"key": {key}}) // pressed twice
	if first.leadsTo() == "" || first.leadsTo() != again.leadsTo() || s.node.Living() != 1 {
		t.Fatalf("two presses led to %q and %q, %d sessions", first.leadsTo(), again.leadsTo(), s.node.Living())
	}
	opening := ada.get(first.leadsTo())
	open := strings.TrimSuffix(first.leadsTo(), "ing")
	ada.want(opening, http.StatusOK, `content="0;url=`+open+`"`)
	viewer := ada.get(open)
	if viewer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(viewer.leadsTo(), s.node.URL+"/s/s") || !strings.Contains(viewer.leadsTo(), "#token=") {
		t.Errorf("open: %d to %q", viewer.StatusCode, viewer.leadsTo())
	}
	if next := ada.get(open); next.leadsTo() == viewer.leadsTo() {
		t.Error("opening twice gave the same token, which works once")
	}
	second := ada.post("/sessions", url.Values{"key": {ada.freshKey()}})
	if second.leadsTo() == first.leadsTo() || s.node.Living() != 2 {
		t.Error("a new session from a fresh page is the old one")
	}
	ada.want(ada.get("/"), http.StatusOK, `data-state="starting"`, `href="`+open+`"`, "node-a")
}

func TestOthersSessionsAreClosed(t *testing.T) {
	s := start(t)
	ada, bob, root := s.as("ada"), s.as("bob"), s.as("root")
	open := strings.TrimSuffix(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "ing")
	end := strings.TrimSuffix(open, "open") + "end"
	bob.want(bob.get(open), http.StatusNotFound)
	bob.want(bob.post(end, nil), http.StatusNotFound)
	root.want(root.get(open), http.StatusNotFound) // administrators may end it, not look into it
	if s.node.Living() != 1 {
		t.Fatal("bob ended ada's session")
	}
	root.wantRedirect(root.post(end, url.Values{"back": {"/admin"}}), "/admin")
	ada.want(ada.get(open), http.StatusGone, "has ended", "administrator root")
	ada.wantRedirect(ada.post(end, url.Values{"back": {"https://evil.test"}}), "/")
}

func TestRefusalIsShownWithItsReason(t *testing.T) {
	s := start(t)
	s.node.Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("2 of 2 <sessions>")))
	ada := s.as("ada")
	p := ada.post("/sessions", url.Values{"key": {"k"}})
	ada.want(p, http.StatusServiceUnavailable, "node-a: 2 of 2 &lt;sessions&gt;")
	s.node.Refuse(nil)
	ada.post("/sessions", url.Values{"key": {"k"}})
	s.node.Break(1000)
	ada.want(ada.get("/"), http.StatusOK, "sessions may be missing", "node-a")
}

func TestFragmentFollowsTheState(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	id := strings.Split(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "/")[2]
	p := ada.get("/fragment/sessions")
	ada.want(p, http.StatusOK, `data-state="starting"`)
	if strings.Contains(p.text, "<html") {
		t.Error("the fragment is a whole page")
	}
	ada.want(ada.get("/fragment/sessions", "If-None-Match", p.Header.Get("ETag")), http.StatusNotModified)
	s.node.SetState(id, easelv1.State_STATE_CONNECTED, "")
	ada.want(ada.get("/fragment/sessions", "If-None-Match", p.Header.Get("ETag")), http.StatusOK, `data-state="connected"`)
	ada.want(ada.get("/fragment/sessions?all=true"), http.StatusForbidden)
	root := s.as("root")
	root.want(root.get("/fragment/sessions?all=true"), http.StatusOK, "ada · ")
}

func TestWhatNodesSayIsEscaped(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	id := strings.Split(ada.post("/sessions", url.Values{"key": {"k"}}).leadsTo(), "/")[2]
	s.node.SetState(id, easelv1.State_STATE_STOPPING, `<script>alert(1)</script>`)
	p := ada.get("/")
	ada.want(p, http.StatusOK, "&lt;script&gt;")
	if strings.Contains(p.text, "<script>alert") {
		t.Error("a container's words run as a script")
	}
}

func TestPassword(t *testing.T) {
	s := start(t)
	ada, elsewhere := s.as("ada"), s.as("ada")
	form := func(current, next, again string) url.Values {
		return url.Values{"current": {current}, "new": {next}, "again": {again}}
	}
	ada.want(ada.post("/account/password", form("wrong password", "another password", "another password")), http.StatusUnauthorized, "wrong")
	ada.want(ada.post("/account/password", form(password, "another password", "yet another password")), http.StatusUnprocessableEntity, "differ")
	ada.want(ada.post("/account/password", form(password, "short", "short")), http.StatusUnprocessableEntity, "too short")
	ada.want(ada.post("/account/password", form(password, "another password", "another password")), http.StatusOK, "The password is set")
	ada.want(ada.get("/"), http.StatusOK)
	elsewhere.wantRedirect(elsewhere.get("/"), "/signin")

	code, _, err := s.store.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := s.stranger()
	root.get("/signin?once=" + code)
	if _, err := s.store.AddAccount(t.Context(), "carol", auth.RoleUser, ""); err != nil {
		t.Fatal(err)
	}
	if code, err = s.store.NewLink(t.Context(), "carol"); err != nil {
		t.Fatal(err)
	}
	carol := s.stranger()
	carol.get("/signin?once=" + code)
	carol.want(carol.get("/"), http.StatusOK, "Your account has no password")
	carol.want(carol.post("/account/password", form("", "carols password", "carols password")), http.StatusOK, "The password is set")
	carol.want(carol.get("/"), http.StatusOK)
}

func TestSignOut(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	old := ada.cookie
	ada.wantRedirect(ada.post("/signout", nil), "/signin")
	if ada.cookie != "" {
		t.Error("the cookie stays")
	}
	ada.cookie = old
	ada.wantRedirect(ada.get("/"), "/signin")
}

func TestAdministration(t *testing.T) {
	s := start(t)
	ada, root := s.as("ada"), s.as("root")
	for _, path := range []string{"/admin/accounts", "/admin/accounts/bob/link", "/admin/accounts/bob/remove"} {
		ada.want(ada.post(path, url.Values{"name": {"eve"}, "role": {"admin"}}), http.StatusNotFound)
	}
	ada.want(ada.get("/admin"), http.StatusNotFound)
	if p := ada.get("/"); strings.Contains(p.text, "/admin") {
		t.Error("a user's page leads to the administration")
	}
	root.want(root.get("/admin"), http.StatusOK, "node-a", "Takes sessions", "Note: no GPU", "ada", "Nobody has a session.")

	p := root.post("/admin/accounts", url.Values{"name": {"eve"}, "role": {"user"}})
	root.want(p, http.StatusOK, "Sign-in link for eve")
	link := regexp.MustCompile(`value="[^"]*(/signin\?once=[^"]+)"`).FindStringSubmatch(p.text)
	if link == nil {
		t.Fatalf("no link in %s", p.text)
	}
	eve := s.stranger()
	eve.wantRedirect(eve.get(link[1]), "/")
	eve.post("/sessions", url.Values{"key": {"k"}})

	root.want(root.post("/admin/accounts", url.Values{"name": {"eve"}, "role": {"user"}}), http.StatusConflict, "exists already")
	root.want(root.post("/admin/accounts", url.Values{"name": {"Eve/.."}, "role": {"user"}}), http.StatusUnprocessableEntity, "a-z")
	root.want(root.post("/admin/accounts/nobody/link", nil), http.StatusNotFound, "no such account")
	root.want(root.post("/admin/accounts/eve/remove", nil), http.StatusOK, "eve is removed")
	if s.node.Living() != 0 {
		t.Error("a removed user's session lives on")
	}
	eve.wantRedirect(eve.get("/"), "/signin")
	root.want(root.post("/admin/accounts/root/remove", nil), http.StatusConflict, "last administrator")
}

func TestPagesAllowNothingTheyDoNotNeed(t *testing.T) {
	s := start(t)
	ada := s.as("ada")
	for _, path := range []string{"/", "/account", "/nothing"} {
		p := ada.get(path)
		want := policy
		if path == "/" {
			want = strings.Replace(policy, "connect-src 'self'", "connect-src 'self' "+s.node.URL, 1)
		}
		if got := p.Header.Get("Content-Security-Policy"); got != want || strings.Contains(got, "unsafe") {
			t.Errorf("%s: policy %q", path, got)
		}
		if got := p.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		if regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\son[a-z]+=|\sstyle=`).MatchString(p.text) {
			t.Errorf("%s has inline script or style, which the policy forbids", path)
		}
	}
}

func TestAssets(t *testing.T) {
	s := start(t)
	b := s.stranger()
	page := b.get("/signin").text
	found := regexp.MustCompile(`"(/static/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 3 {
		t.Fatalf("the page names %v", found)
	}
	for _, m := range found {
		p := b.get(m[1])
		b.want(p, http.StatusOK)
		if !strings.Contains(p.Header.Get("Cache-Control"), "immutable") || p.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %v", m[1], p.Header)
		}
	}
	for _, path := range []string{"/static/portal.css", "/static/..%2ftemplates%2fhome.html", "/static/"} {
		b.want(b.get(path), http.StatusNotFound)
	}
}

func FuzzNext(f *testing.F) {
	for _, seed := range []string{"/", "/admin", "//evil", `/\evil`, "/sessions/saaaaaaaaaaaaaaaa/open", "javascript:x", "/admin\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, want string) {
		got := next(want)
		u, err := url.Parse(got)
		if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\\r\n") {
			t.Errorf("next(%q) leads to %q", want, got)
		}
	})
}

// Package gateway is the node's HTTP face: the viewer page, sign-in by token, the way to a session's
// streamer, the coordinators' NodeService, health and metrics. It is where the network meets root, so
// every route states its limits and nothing a browser or a streamer sends is passed on unexamined.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
	"easel/pkg/problem"

	"easel/noded/relay"
	"easel/noded/session"
)

// Sessions is what the gateway asks of the node's sessions.
type Sessions interface {
	Reserve(ctx context.Context, q session.Request) (session.Session, bool, error)
	Get(id string) (session.Session, error)
	List(user string, ended bool) ([]session.Session, error)
	Stop(ctx context.Context, id, reason string) (session.Session, error)
	Await(ctx context.Context, id string, unlike session.State) (session.Session, error)
	Status(ctx context.Context) (session.Status, error)
	Warm() ([]session.Warm, error)
	SetDuty(o session.Order, untilBoot bool) (sessions int, err error)
}

// Relay is the way to sessions for viewers that cannot go direct.
type Relay interface {
	// Servers is how a browser uses it for one session.
	Servers(session string) []relay.ICEServer
	// Generation differs after every start.
	Generation() string
}

// Verifier checks a coordinator's tokens.
type Verifier interface {
	Verify(token, audience string, now time.Time) (identity.Claims, error)
}

// Options is what a Gateway is made of.
type Options struct {
	PublicURL string // where browsers reach the node
	PortalURL string // where they sign in; "" when there is none
	Viewer    fs.FS  // index.html and assets/
	ViewerCSP string // the page's Content-Security-Policy
	Sessions  Sessions
	Verifier  Verifier
	Memory    *Memory
	Pool      Pool  // nil: the node keeps no warm sessions
	Relay     Relay // nil: viewers go direct, or by VNC
	Files     Files
	Guests    int          // that a session may have; 0: none is shared
	Ready     func() error // nil when the node can serve
	Metrics   http.Handler
	Registry  prometheus.Registerer
	Log       *slog.Logger
}

// Gateway serves the routes of ARCHITECTURE.md, "Browser ⇄ node".
type Gateway struct {
	Options
	public   *url.URL
	cookies  cookies
	sign     *limiter
	pings    *limiter
	vnc      *gate
	asked    *gate
	index    []byte
	requests *prometheus.CounterVec
	handler  http.Handler
	portalAt atomic.Pointer[string]

	guests        atomic.Int64 // that a session may have
	sharesChanged chan struct{}
	shared        *prometheus.CounterVec

	transfers *transfers
	filesRule atomic.Pointer[Files]
}

// New checks the options and lays out the routes.
func New(o Options) (*Gateway, error) {
	public, err := url.Parse(o.PublicURL)
	if err != nil || public.Host == "" || public.Scheme != "http" && public.Scheme != "https" {
		return nil, fmt.Errorf("public_url %q: want an address such as https://node1.example.org", o.PublicURL)
	}
	index, err := fs.ReadFile(o.Viewer, "index.html")
	if err != nil {
		return nil, fmt.Errorf("read the viewer page: %w", err)
	}
	key, err := o.Memory.CookieKey()
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		Options: o, public: public, cookies: cookies{key: key, secure: public.Scheme == "https"},
		sign: newLimiter(signRate, signBurst), pings: newLimiter(pingRate, pingBurst), vnc: newGate(maxVNC), asked: newGate(maxRequests), index: index,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_http_requests_total", Help: "Requests, by route and class of answer."}, []string{"route", "code"}),
	}
	g.sharesChanged = make(chan struct{}, 1)
	g.shared = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_shares_total", Help: "Links to sessions for guests, by what became of them (made, used, revoked, expired) and role."}, []string{"event", "role"})
	o.Registry.MustRegister(g.shared)
	g.transfers = newTransfers(o.Registry)
	g.SetPortal(o.PortalURL)
	g.SetFiles(o.Files)
	g.SetGuests(o.Guests)
	o.Registry.MustRegister(g.requests)
	g.handler = g.routes()
	return g, nil
}

// SetPortal changes where browsers sign in.
func (g *Gateway) SetPortal(url string) { g.portalAt.Store(&url) }

func (g *Gateway) portal() string { return *g.portalAt.Load() }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handler.ServeHTTP(w, r) }

// NodeService is the handler of the addresses that let in none but who may command the node: the daemon's own unix socket, and
// the coordinators' address.
func (g *Gateway) NodeService() http.Handler {
	path, service := easelv1connect.NewNodeServiceHandler(&nodeService{sessions: g.Sessions, pool: g.Pool}, connectLimits()...)
	mux := http.NewServeMux()
	mux.Handle(path, limited(longPoll, service))
	return mux
}

// Time limits of one request, from its first byte to the answer's last.
const (
	quick    = 15 * time.Second
	longPoll = 30 * time.Second
	noLimit  = 0
)

func (g *Gateway) routes() http.Handler {
	t := newTable(g)
	g.lay(t)
	return g.guard(t.handler())
}

func (g *Gateway) lay(t *table) {
	t.add("GET", "/s/{id}", quick, g.page)
	t.add("DELETE", "/s/{id}", quick, g.signedIn(g.end))
	t.add("POST", "/s/{id}/auth", quick, g.auth)
	t.add("GET", "/s/{id}/status", longPoll, g.letIn(g.status))
	t.add("GET", "/s/{id}/streamer", streamerWait+quick, g.letIn(g.streamer))
	t.add("GET", "/s/{id}/ice", quick, g.letIn(g.ice))
	for _, f := range forwards {
		t.add(f.method, "/s/{id}/"+f.path, quick, g.admits(g.forward(f), f.roles...))
	}
	g.addShares(t)
	g.addFiles(t)
	t.add("GET", "/s/{id}/vnc", noLimit, g.signedIn(g.socket))
	t.add("GET", "/assets/{name}", quick, g.asset)
	t.add("GET", "/favicon.svg", quick, g.asset)
	t.add("GET", "/ping", quick, g.ping)
	t.add("GET", "/healthz", quick, onlyLoopback(g.healthz))
	t.add("GET", "/readyz", quick, onlyLoopback(g.readyz))
	t.add("GET", "/metrics", quick, onlyLoopback(g.Metrics.ServeHTTP))
	t.add("GET", "/{$}", quick, g.home)
}

// home sends who opens the node's bare address to where sessions are made.
func (g *Gateway) home(w http.ResponseWriter, r *http.Request) {
	if g.portal() == "" {
		problem.Write(w, http.StatusNotFound, "Nothing here", "this is a node: open a session from the portal")
		return
	}
	http.Redirect(w, r, g.portal(), http.StatusSeeOther)
}

func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) { plain(w, "ok\n") }

func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := g.Ready(); err != nil {
		problem.Write(w, http.StatusServiceUnavailable, "Not ready", err.Error())
		return
	}
	plain(w, "ok\n")
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text)) // the client may be gone
}

// sessionOf answers for itself when there is no such session or it cannot be used any more.
func (g *Gateway) sessionOf(w http.ResponseWriter, id string) (session.Session, bool) {
	s, err := g.Sessions.Get(id)
	if errors.Is(err, session.ErrNotFound) {
		linkPortal(w, g.portal())
		problem.Write(w, http.StatusNotFound, "No such session", "this node knows no session "+id+": it may have ended long ago, or live on another node")
		return s, false
	}
	if err != nil {
		g.Log.Error("cannot read a session", "session", id, "error", err)
		problem.Write(w, http.StatusInternalServerError, "", "the node cannot read the session; its log says why")
		return s, false
	}
	return s, true
}

// stateOf reads a state's name from a query.
func stateOf(text string) (session.State, bool) {
	_, ok := easelv1.State_value["STATE_"+strings.ToUpper(text)]
	return session.State(text), ok && text == strings.ToLower(text)
}

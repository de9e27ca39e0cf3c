// Package api is the coordinator's HTTP API of sessions and nodes, as openapi.json describes it, and what
// every answer of the coordinator has in common: limits, security headers and problem documents.
package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/events"
	"easel/coordinator/placement"
	"easel/coordinator/warmth"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
	"easel/pkg/telemetry"
)

const (
	// maxBody bounds a request's body, in bytes.
	maxBody = 64 << 10
	// requestTimeout bounds the work on one request; placing a session may ask several nodes.
	requestTimeout = 40 * time.Second
	signInTimeout  = 10 * time.Second
)

//go:embed openapi.json
var openapi []byte

// OpenAPI is the OpenAPI 3.1 document of this API, as JSON.
func OpenAPI() []byte { return openapi }

// Nodes is what the API needs of the nodes.
type Nodes interface {
	Nodes() []cluster.Node
	List(ctx context.Context, user string, ended bool) (directory.Listing, error)
	Find(ctx context.Context, id string) (directory.Session, error)
	Stop(ctx context.Context, s directory.Session, reason string) (directory.Session, error)
	Link(s directory.Session) (string, error)
	Statuses(ctx context.Context) []directory.NodeStatus
	Missing() []directory.Missing
	SetDuty(ctx context.Context, node string, req *easelv1.DrainRequest) (sessions int, err error)
}

// Placer finds or makes sessions.
type Placer interface {
	Place(ctx context.Context, req placement.Request) (s directory.Session, created bool, err error)
	Candidates(req placement.Request) ([]placement.Candidate, error)
	Explain(req placement.Request, most int) (first []placement.Explanation, total int, err error)
	Choices(user, role string) []placement.Choice
}

// Arrivals counts the sessions that begin, for who foresees the next.
type Arrivals interface {
	Arrived(a warmth.Arrival, at time.Time)
}

// Config is what New needs.
type Config struct {
	Guard    *auth.Guard
	Nodes    Nodes
	Placer   Placer
	Clients  *placement.Clients
	Events   *events.Log // nil for one of its own
	Arrivals Arrivals    // nil when nobody learns from them
	Log      *slog.Logger
	Registry *prometheus.Registry
	Version  string
}

// API answers the routes of openapi.json.
type API struct {
	Config
	metrics metrics
}

type route struct {
	method, path string
	serve        func(http.ResponseWriter, *http.Request) error
}

// New returns the API; Register adds its routes to a mux.
func New(cfg Config) *API {
	if cfg.Events == nil {
		cfg.Events = events.New(maxEvents)
	}
	return &API{Config: cfg, metrics: newMetrics(cfg.Registry, cfg.Nodes)}
}

func (a *API) routes() []route {
	return []route{
		{"POST", "/api/v1/signin", a.signIn},
		{"POST", "/api/v1/signout", a.signOut},
		{"GET", "/api/v1/me", a.me},
		{"POST", "/api/v1/sessions", a.createSession},
		{"GET", "/api/v1/sessions", a.listSessions},
		{"GET", "/api/v1/sessions/{id}", a.getSession},
		{"DELETE", "/api/v1/sessions/{id}", a.endSession},
		{"GET", "/api/v1/route", a.route},
		{"GET", "/api/v1/classes", a.classes},
		{"GET", "/api/v1/nodes", a.listNodes},
		{"POST", "/api/v1/nodes/{name}/drain", a.duty(easelv1.Duty_DUTY_DRAINING)},
		{"POST", "/api/v1/nodes/{name}/cordon", a.duty(easelv1.Duty_DUTY_CORDONED)},
		{"POST", "/api/v1/nodes/{name}/uncordon", a.duty(easelv1.Duty_DUTY_SERVING)},
		{"GET", "/api/v1/events", a.listEvents},
		{"GET", "/api/v1/openapi.json", a.openAPI},
		{"GET", "/healthz", a.healthz},
		{"GET", "/readyz", a.readyz},
		{"GET", "/metrics", a.serveMetrics},
	}
}

// Register adds the API's routes to mux. Addresses below /api/ that it does not have, and methods that
// they do not take, are answered with a problem document.
func (a *API) Register(mux *http.ServeMux) {
	a.register(mux, func(route) bool { return true })
}

func (a *API) register(mux *http.ServeMux, wanted func(route) bool) {
	methods := map[string][]string{}
	for _, r := range a.routes() {
		if !wanted(r) {
			continue
		}
		mux.HandleFunc(r.method+" "+r.path, a.answer(r))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			WriteError(w, r, a.Log, &statusError{http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(allowed, " and "), r.Method)})
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, r, a.Log, &statusError{http.StatusNotFound, "the API has no " + r.URL.Path + "; GET /api/v1/openapi.json lists what it has"})
	})
}

func (a *API) answer(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		w.Header().Set("Cache-Control", "no-store")
		if err := rt.serve(w, r); err != nil {
			WriteError(w, r, a.Log, err)
		}
	}
}

type signInRequest struct {
	User     string           `json:"user"`
	Password telemetry.Secret `json:"password"`
}

// Me is who is signed in.
type Me struct {
	User string `json:"user"`
	Role string `json:"role"`
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request) error {
	if a.Guard.FromOtherPage(r) {
		return auth.ErrCrossSite
	}
	var req signInRequest
	if err := readJSON(r, &req, false); err != nil {
		return err
	}
	account, err := a.CheckPassword(r, req.User, req.Password.Reveal())
	if err != nil {
		return err
	}
	if err := a.Guard.SignIn(r.Context(), w, account.Name); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Me{User: account.Name, Role: account.Role})
}

// CheckPassword is auth's, counted and logged. It waits a while for its turn, then says that too many
// people sign in.
func (a *API) CheckPassword(r *http.Request, user, password string) (auth.Account, error) {
	ctx, cancel := context.WithTimeout(r.Context(), signInTimeout)
	defer cancel()
	address := a.Guard.ClientAddress(r)
	account, err := a.Guard.Store.CheckPassword(ctx, user, password, address)
	var limited *auth.RateLimited
	switch {
	case err == nil:
		a.metrics.signIns.WithLabelValues("ok").Inc()
		a.Log.Info("signed in", "user", account.Name, "address", address)
	case errors.Is(err, auth.ErrWrong):
		a.metrics.signIns.WithLabelValues("wrong").Inc()
		a.Log.Warn("wrong user name or password", "address", address) // not the name: people type passwords there
	case errors.As(err, &limited):
		a.metrics.signIns.WithLabelValues("limited").Inc()
		a.Log.Warn("sign-in refused: too many failures", "address", address, "wait", limited.After)
	default:
		a.metrics.signIns.WithLabelValues("error").Inc()
	}
	return account, err
}

func (a *API) signOut(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	if err := a.Guard.SignOut(r.Context(), w, who); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) me(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, Me{User: who.Name, Role: who.Role})
}

func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(openapi)
	return err
}

// readJSON reads one JSON object, strictly; optional allows an empty body.
func readJSON(r *http.Request, into any, optional bool) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if optional && errors.Is(err, io.EOF) {
		return nil
	}
	if kind, _, ctErr := mime.ParseMediaType(r.Header.Get("Content-Type")); ctErr != nil || kind != "application/json" {
		return &statusError{http.StatusUnsupportedMediaType, "send the body as application/json"}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, io.EOF):
		return &statusError{http.StatusBadRequest, "the body is empty; send a JSON object"}
	case err != nil:
		return &statusError{http.StatusBadRequest, "the body is not the expected JSON object: " + strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &statusError{http.StatusBadRequest, "something follows the JSON object in the body"}
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone: nothing is left to tell it
	return nil
}

// flag reads a boolean of the query.
func flag(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); v {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	default:
		return false, &statusError{http.StatusBadRequest, fmt.Sprintf("%s=%q: use true or false", name, v)}
	}
}

// Package portal is the coordinator's web page: sign-in, my sessions, a new session, and for
// administrators nodes, everybody's sessions and accounts. The pages are HTML made here and work without
// scripts; the one script keeps the list of sessions fresh.
package portal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"easel/coordinator/api"
	"easel/coordinator/auth"
	"easel/coordinator/directory"
	"easel/coordinator/events"
	"easel/coordinator/placement"
	easelv1 "easel/pkg/api/easel/v1"
)

// policy is what the pages need and no more: their own style, script, pictures, forms and fragments.
var policy = policyWith(nil)

// policyWith also lets a page's script reach the nodes that it may measure.
func policyWith(near []api.Candidate) string {
	connect := "'self'"
	for _, c := range near {
		if u, err := url.Parse(c.Ping); err == nil && !strings.ContainsAny(u.Host, "; ,'") {
			connect += " " + u.Scheme + "://" + u.Host
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src " + connect +
		"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// pageTimeout bounds the work on one page.
const pageTimeout = 40 * time.Second

var (
	//go:embed templates/*.html
	templates embed.FS
	//go:embed static/*
	static embed.FS
	//go:embed all:dist
	dist embed.FS
)

// Backend is the API that the pages stand on.
type Backend interface {
	CheckPassword(r *http.Request, user, password string) (auth.Account, error)
	Prepare(r *http.Request, who auth.Who, req api.SessionRequest) (placement.Request, error)
	Near(req placement.Request) ([]api.Candidate, error)
	Choices(who auth.Who) []placement.Choice
	CreateSession(ctx context.Context, who auth.Who, req placement.Request) (directory.Session, bool, error)
	ListSessions(ctx context.Context, who auth.Who, all, ended bool) (api.SessionList, error)
	FindSession(ctx context.Context, who auth.Who, id string) (directory.Session, error)
	EndSession(ctx context.Context, who auth.Who, id string) (directory.Session, error)
	ListNodes(ctx context.Context) []api.Node
	RecentEvents(n int) []events.Event
	SetDuty(ctx context.Context, who auth.Who, node string, duty easelv1.Duty, req api.DutyRequest) (api.DutyAnswer, error)
}

// Nodes is what the portal needs beside the API.
type Nodes interface {
	Link(s directory.Session) (string, error)
	EndAll(ctx context.Context, user string) (int, error)
}

// Config is what New needs.
type Config struct {
	Guard   *auth.Guard
	Backend Backend
	Nodes   Nodes
	Log     *slog.Logger
}

// Portal serves the pages.
type Portal struct {
	Config
	pages  map[string]*template.Template
	assets map[string]asset // by name with a hash of the content, below /static/
	named  map[string]string
}

type asset struct {
	kind string
	body []byte
}

// New returns the portal.
func New(cfg Config) (*Portal, error) {
	p := &Portal{Config: cfg, pages: map[string]*template.Template{}, assets: map[string]asset{}, named: map[string]string{}}
	if err := p.loadAssets(); err != nil {
		return nil, fmt.Errorf("prepare the portal: %w", err)
	}
	if _, ok := p.named["portal.js"]; !ok {
		cfg.Log.Warn("the portal's script was not built into this binary: pages work, but do not refresh by themselves; run `npm ci && npm run build` in coordinator/portal, then compile again")
	}
	if err := p.loadPages(); err != nil {
		return nil, fmt.Errorf("prepare the portal: %w", err)
	}
	return p, nil
}

func (p *Portal) loadAssets() error {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, from := range []fs.FS{static, dist} {
		err := fs.WalkDir(from, ".", func(file string, entry fs.DirEntry, err error) error {
			kind, served := kinds[path.Ext(file)]
			if err != nil || entry.IsDir() || !served {
				return err
			}
			body, err := fs.ReadFile(from, file)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(body)
			ext := path.Ext(file)
			hashed := strings.TrimSuffix(path.Base(file), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
			p.assets[hashed] = asset{kind: kind, body: body}
			p.named[path.Base(file)] = "/static/" + hashed
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *Portal) loadPages() error {
	functions := template.FuncMap{
		"asset": func(name string) string { return p.named[name] },
		"utc":   func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
		"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"label": stateLabel, "choice": choiceLabel, "slice": sliceLabel,
		"gib": func(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) },
	}
	base, err := template.New("layout.html").Funcs(functions).ParseFS(templates, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return err
	}
	for _, name := range []string{"home", "signin", "opening", "silent", "lost", "account", "admin", "cluster", "link", "error"} {
		page, err := template.Must(base.Clone()).ParseFS(templates, "templates/"+name+".html")
		if err != nil {
			return err
		}
		p.pages[name] = page
	}
	return nil
}

func stateLabel(state string) string {
	switch state {
	case "reserved", "starting":
		return "Starting"
	case "ready":
		return "Ready"
	case "connected":
		return "Open in a browser"
	case "detached":
		return "Waiting for you"
	case "stopping":
		return "Ending"
	case "stopped":
		return "Ended"
	case "failed":
		return "Failed"
	case "lost":
		return "Lost"
	}
	return state
}

// choiceLabel is a kind of session as the artist chooses it.
func choiceLabel(c placement.Choice) string {
	label := sliceLabel(c.Class)
	if c.Encoder == placement.Any {
		label += ", picture by the processor"
	}
	if c.Free == 0 {
		return label + " (none free)"
	}
	return fmt.Sprintf("%s (%d free)", label, c.Free)
}

// sliceLabel is what a class has of a GPU.
func sliceLabel(class string) string {
	switch class {
	case placement.ClassNone, "":
		return "No GPU"
	case "shared":
		return "Shared GPU"
	case "whole":
		return "Whole GPU"
	}
	return "GPU part " + class
}

// Register adds the pages to mux.
func (p *Portal) Register(mux *http.ServeMux) {
	for pattern, serve := range map[string]handler{
		"GET /{$}":                           p.home,
		"GET /fragment/sessions":             p.fragment,
		"GET /signin":                        p.signinPage,
		"POST /signin":                       p.signin,
		"POST /signout":                      p.signout,
		"POST /sessions":                     p.newSession,
		"GET /sessions/{id}/opening":         p.opening,
		"GET /sessions/{id}/open":            p.open,
		"POST /sessions/{id}/again":          p.again,
		"POST /sessions/{id}/end":            p.end,
		"GET /account":                       p.account,
		"POST /account/password":             p.setPassword,
		"GET /admin/cluster":                 p.clusterPage,
		"GET /fragment/cluster":              p.clusterFragment,
		"POST /admin/nodes/{name}/drain":     p.setDuty(easelv1.Duty_DUTY_DRAINING),
		"POST /admin/nodes/{name}/cordon":    p.setDuty(easelv1.Duty_DUTY_CORDONED),
		"POST /admin/nodes/{name}/uncordon":  p.setDuty(easelv1.Duty_DUTY_SERVING),
		"GET /admin":                         p.admin,
		"POST /admin/accounts":               p.addAccount,
		"POST /admin/accounts/{name}/link":   p.accountLink,
		"POST /admin/accounts/{name}/remove": p.removeAccount,
		"/":                                  p.notFound,
	} {
		mux.HandleFunc(pattern, p.answer(serve))
	}
	mux.HandleFunc("GET /static/{name}", p.serveAsset)
	mux.HandleFunc("GET /ping", ping)
}

// ping tells a viewer's page, which comes from a node, that the portal is there: it goes to it when its node is not.
func ping(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // it says nothing to anybody
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

type handler func(http.ResponseWriter, *http.Request) error

// answer bounds a page's work and turns its error into a page, or into the way to the sign-in.
func (p *Portal) answer(serve handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
		defer cancel()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", policy)
		err := serve(w, r.WithContext(ctx))
		switch {
		case err == nil:
		case errors.Is(err, auth.ErrAnonymous), errors.Is(err, auth.ErrBadToken):
			p.toSignin(w, r)
		default:
			p.fail(w, r, err)
		}
	}
}

func (p *Portal) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := p.assets[r.PathValue("name")]
	if !ok {
		w.Header().Set("Cache-Control", "no-store")
		p.fail(w, r, errNoPage)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	_, _ = w.Write(a.body) // the browser may be gone: nothing is left to tell it
}

// page is what every template gets.
type page struct {
	Title  string
	Who    auth.Who // of nobody when nobody is signed in
	At     string   // which entry of the navigation is current
	Notice string   // something that worked
	Fault  string   // something that did not
	Data   any
}

// show renders a page whole before it sends anything, so that a fault does not cut it in half.
func (p *Portal) show(w http.ResponseWriter, status int, name string, data page) error {
	return p.render(w, status, name, "layout.html", data)
}

func (p *Portal) render(w http.ResponseWriter, status int, name, part string, data page) error {
	var out bytes.Buffer
	if err := p.pages[name].ExecuteTemplate(&out, part, data); err != nil {
		return fmt.Errorf("render the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // the browser may be gone: nothing is left to tell it
	return nil
}

var errNoPage = errors.New("there is no such page")

func (p *Portal) notFound(http.ResponseWriter, *http.Request) error { return errNoPage }

// fail shows an error as a page.
func (p *Portal) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text, retryAfter := http.StatusNotFound, errNoPage.Error(), 0
	var gone *goneError
	switch {
	case errors.Is(err, errNoPage):
	case errors.As(err, &gone):
		status, text = http.StatusGone, gone.text
	default:
		problem, wait := api.Explain(err)
		status, text, retryAfter = problem.Status, problem.Detail, wait
	}
	if status >= http.StatusInternalServerError {
		p.Log.Error("page failed", "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	who, _ := p.Guard.Identify(r) // whoever it is, for the navigation; nobody is fine
	w.Header().Set("Content-Security-Policy", policy)
	if err := p.show(w, status, "error", page{Title: http.StatusText(status), Who: who, Fault: sentence(text)}); err != nil {
		p.Log.Error("page failed", "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
	}
}

// goneError is for a session that is no more.
type goneError struct{ text string }

func (e *goneError) Error() string { return e.text }

// sentence makes an error's text one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

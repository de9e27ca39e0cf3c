// Package artist is a person at a stack: signs in with a browser, opens a session and looks at it from both sides, the page
// and the node. The integration tests and the benchmark are built of it.
package artist

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// Artist is somebody signed in at a stack's coordinator.
type Artist struct {
	Stack *devstack.Stack
	// Portal is a tab that shows the portal; its cookies are the artist's.
	Portal *browser.Page
	chrome *browser.Chromium
}

// SignIn opens the portal in a new tab by a one-time link.
func SignIn(ctx context.Context, stack *devstack.Stack, c *browser.Chromium) (*Artist, error) {
	link, err := stack.SigninURL(ctx)
	if err != nil {
		return nil, err
	}
	return signIn(stack, c, link)
}

// SignInNew makes an account, for whom no node has a home yet, and signs in as it. A browser is signed in as one at a time.
func SignInNew(ctx context.Context, stack *devstack.Stack, c *browser.Chromium, user string) (*Artist, error) {
	link, err := stack.SigninURLFor(ctx, user)
	if err != nil {
		return nil, err
	}
	return signIn(stack, c, link)
}

func signIn(stack *devstack.Stack, c *browser.Chromium, link string) (*Artist, error) {
	p, err := c.Open(browser.PageOptions{Width: 1280, Height: 800})
	if err != nil {
		return nil, err
	}
	if err := p.Go(link); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.Until(10*time.Second, "location.pathname === '/' && document.readyState === 'complete'"); err != nil {
		p.Close()
		return nil, fmt.Errorf("sign in: %w", err)
	}
	return &Artist{Stack: stack, Portal: p, chrome: c}, nil
}

// Close closes the portal's tab; sessions live on.
func (a *Artist) Close() { a.Portal.Close() }

// Session is what the coordinator says of a session.
type Session struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Reason string `json:"reason"`
	URL    string `json:"url"`
}

// Create asks the coordinator's API for a session with an idempotency key.
func (a *Artist) Create(key string) (Session, error) {
	return a.CreateAs(map[string]string{"key": key})
}

// CreateAs asks for one with more wishes, such as class and encoder.
func (a *Artist) CreateAs(wishes map[string]string) (Session, error) {
	body, err := json.Marshal(wishes)
	if err != nil {
		return Session{}, err
	}
	return a.api("POST", "/api/v1/sessions", string(body))
}

// Get asks the coordinator for a session, with a fresh URL.
func (a *Artist) Get(id string) (Session, error) { return a.api("GET", "/api/v1/sessions/"+id, "") }

// End asks the coordinator to end a session.
func (a *Artist) End(id string) error {
	_, err := a.api("DELETE", "/api/v1/sessions/"+id, "")
	return err
}

// api calls the coordinator from the portal's page, with its cookie.
func (a *Artist) api(method, path, body string) (Session, error) {
	js := fmt.Sprintf(`fetch(%q, {method: %q, headers: {'Content-Type': 'application/json'}, body: %s}).then(async (r) => ({status: r.status, text: await r.text()}))`,
		path, method, jsBody(body))
	r, err := browser.Eval[struct {
		Status int
		Text   string
	}](a.Portal, 60*time.Second, js)
	if err != nil {
		return Session{}, err
	}
	if r.Status >= 300 {
		return Session{}, fmt.Errorf("%s %s: %d %s", method, path, r.Status, r.Text)
	}
	var s Session
	if strings.TrimSpace(r.Text) == "" {
		return s, nil
	}
	if err := json.Unmarshal([]byte(r.Text), &s); err != nil {
		return Session{}, fmt.Errorf("%s %s: answer: %w", method, path, err)
	}
	return s, nil
}

func jsBody(s string) string {
	if s == "" {
		return "undefined"
	}
	b, _ := json.Marshal(s)
	return string(b)
}

// View opens a session's viewer in a new tab of the artist's browser. query holds the viewer's options, such as
// "scale=1&chrome=0".
func (a *Artist) View(id, query string, o browser.PageOptions) (*browser.Page, error) {
	return a.ViewIn(a.chrome, id, query, o)
}

// ViewIn opens it in a new tab of another browser, that nobody is signed in with.
func (a *Artist) ViewIn(c *browser.Chromium, id, query string, o browser.PageOptions) (*browser.Page, error) {
	s, err := a.Get(id)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("session %s: its URL: %w", id, err)
	}
	u.RawQuery = query
	p, err := c.Open(o)
	if err != nil {
		return nil, err
	}
	if err := p.Go(u.String()); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// AwaitPicture waits until the viewer in a tab says it is connected and shows a picture.
func AwaitPicture(p *browser.Page, limit time.Duration) error {
	return p.Until(limit, "window.easel?.state === 'connected' && __probe.size().width > 0")
}

// Stats is what the viewer's stats overlay shows.
func Stats(p *browser.Page) (map[string]any, error) {
	return browser.Eval[map[string]any](p, 10*time.Second, "window.easel.stats()")
}

// Inspect asks the node for a session as an operator does. The command and the node itself must agree; what changes between the two questions is
// asked again.
func Inspect(ctx context.Context, stack *devstack.Stack, id string) (*easelv1.Session, error) {
	var wrong error
	for range 20 {
		s, told, err := inspectOnce(ctx, stack, id)
		if err != nil {
			return nil, err
		}
		if told.ID == s.GetId() && told.XSocket == s.GetXSocket() && told.Pids.Streamer == s.GetPids().GetStreamer() {
			return s, nil
		}
		wrong = fmt.Errorf("noded session inspect %s --json says %+v, the node itself %v", id, told, s)
		select {
		case <-ctx.Done():
			return nil, wrong
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil, wrong
}

// inspected is what the command says of a session.
type inspected struct {
	ID      string `json:"id"`
	XSocket string `json:"x_socket"`
	Pids    struct{ Streamer, Init, X, Gimp int32 }
}

func inspectOnce(ctx context.Context, stack *devstack.Stack, id string) (s *easelv1.Session, told inspected, err error) {
	out, err := stack.NodedCLI(ctx, "session", "inspect", id, "--json")
	if err != nil {
		return nil, told, err
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		return nil, told, fmt.Errorf("noded session inspect %s --json: %w", id, err)
	}
	r, err := Node(stack).Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
	if err != nil {
		return nil, told, fmt.Errorf("asking the node for session %s: %w", id, err)
	}
	return r.Msg.GetSession(), told, nil
}

// Await waits until a session is in one of the states.
func Await(ctx context.Context, n easelv1connect.NodeServiceClient, id string, limit time.Duration, states ...easelv1.State) (*easelv1.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last *easelv1.Session
	for {
		r, err := n.Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
		if err == nil {
			last = r.Msg.GetSession()
			for _, s := range states {
				if last.GetState() == s {
					return last, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("session %s is %v (%s) after %s, want %v; last error %v", id, last.GetState(), last.GetReason(), limit, states, err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Node talks to noded over its admin socket.
func Node(stack *devstack.Stack) easelv1connect.NodeServiceClient {
	socket := filepath.Join(stack.RunDir, "noded", "noded.sock")
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true, // noded is restarted under us
	}
	return easelv1connect.NewNodeServiceClient(&http.Client{Transport: t, Timeout: 60 * time.Second}, "http://noded")
}

// X opens the session's X screen from the host.
func X(ctx context.Context, s *easelv1.Session) (*xclient.Screen, error) {
	return xclient.Open(ctx, s.GetXSocket(), s.GetXCookie())
}

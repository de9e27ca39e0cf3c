// Package integration proves Easel against the real thing: containerd, GIMP, the streamer and browsers, as root on one
// machine. Every test cleans up after itself, and the end checks that the machine holds nothing of Easel's any more.
package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"image/png"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/identity"
)

// Of the shared node.
const (
	maxSessions  = 3
	startTimeout = 30 * time.Second
)

// world is what the tests share: one stack and one browser, started by the first test that asks.
type world struct {
	once    sync.Once
	err     error
	dir     string
	stack   *devstack.Stack
	chrome  *browser.Chromium
	artist  *artist.Artist
	node    easelv1connect.NodeServiceClient
	endless context.CancelFunc
}

var shared world

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: at the end:", err)
		code = 1
	}
	os.Exit(code)
}

// get returns the shared world, all its sessions ended at the test's end.
func get(t testing.TB) *world {
	t.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	if shared.err != nil {
		t.Fatalf("start the stack: %v", shared.err)
	}
	w := &shared
	// The test before may have killed something last: its end must not be this one's failure.
	if err := w.stack.AwaitNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("noded's log ends:\n%s", w.stack.Noded.LogTail(40))
		}
		if err := w.endAll(); err != nil {
			t.Errorf("end the sessions: %v", err)
		}
	})
	return w
}

func (w *world) start() (err error) {
	if os.Getuid() != 0 {
		return fmt.Errorf("these tests start containers: run them as root, with sudo make test")
	}
	// Longer than any test: the browser and the stack live until the last one has ended.
	ctx, cancel := context.WithCancel(context.Background())
	w.endless = cancel
	if w.dir, err = os.MkdirTemp("", "easel-it-"); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.stack, err = devstack.Start(ctx, devstack.Options{
		Dir: w.dir, Log: log,
		NodeConfig: func(c map[string]any) {
			c["sessions"] = map[string]any{"max": maxSessions, "grace": "10m", "start_timeout": startTimeout.String()}
			// Firefox sends no media to a loopback address.
			c["media"].(map[string]any)["addresses"] = append([]string{"127.0.0.1"}, outward()...)
		},
	})
	if err != nil {
		return err
	}
	w.node = artist.Node(w.stack)
	if w.chrome, err = browser.StartChromium(ctx, log); err != nil {
		return err
	}
	w.artist, err = artist.SignIn(ctx, w.stack, w.chrome)
	return err
}

// outward is an address of this machine that is not its loopback, if it has one.
func outward() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return []string{ip.IP.String()}
		}
	}
	return nil
}

// stop ends everything; the stack itself proves that nothing is left.
func (w *world) stop() error {
	if w.endless == nil {
		return nil
	}
	if w.chrome != nil {
		w.chrome.Close()
	}
	defer w.endless()
	if w.stack != nil {
		if err := w.stack.Stop(context.Background()); err != nil {
			return err
		}
	}
	return os.RemoveAll(w.dir)
}

// endAll ends every session and waits until the last is gone.
func (w *world) endAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	list, err := w.node.List(ctx, connect.NewRequest(&easelv1.ListRequest{}))
	if err != nil {
		return err
	}
	for _, s := range list.Msg.GetSessions() {
		if _, err := w.node.Stop(ctx, connect.NewRequest(&easelv1.StopRequest{Id: s.GetId(), Reason: "end of a test"})); err != nil {
			return err
		}
	}
	for _, s := range list.Msg.GetSessions() {
		if _, err := artist.Await(ctx, w.node, s.GetId(), 30*time.Second, easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED); err != nil {
			return err
		}
	}
	return nil
}

// key is an idempotency key that no other test uses.
func key(t testing.TB) string { return strings.ReplaceAll(t.Name(), "/", "-") }

// session makes a session through the coordinator, as the artist's portal does.
func (w *world) session(t testing.TB) artist.Session {
	t.Helper()
	s, err := w.artist.Create(key(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// metrics are what the node tells Prometheus.
func (w *world) metrics(t testing.TB) string {
	t.Helper()
	resp, err := http.Get(w.stack.NodeURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// view opens a session's viewer and waits for the picture.
func (w *world) view(t testing.TB, id, query string, o browser.PageOptions) *browser.Page {
	t.Helper()
	p, err := w.artist.View(id, query, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := artist.AwaitPicture(p, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	return p
}

// x is a client of a session's X server.
func (w *world) x(t *testing.T, id string) *xclient.Screen {
	t.Helper()
	x, err := artist.X(t.Context(), w.inspect(t, id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			keepScreen(t, x)
		}
		x.Close()
	})
	return x
}

// keepScreen keeps what a failed test's session shows beside the other reports, in out/test.
func keepScreen(t *testing.T, x *xclient.Screen) {
	t.Helper()
	shot, err := artist.Screenshot(x)
	if err != nil {
		t.Logf("the session's screen: %v", err)
		return
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, shot); err != nil {
		t.Logf("the session's screen: %v", err)
		return
	}
	name := filepath.Join("..", "out", "test", strings.ReplaceAll(t.Name(), "/", "-")+".png")
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, picture.Bytes(), 0o600)); err != nil {
		t.Logf("the session's screen: %v", err)
		return
	}
	t.Logf("the session's screen is in %s", name)
}

// unscaled opens a session's viewer with nothing but the picture, in a screen of this size, and waits until it has that. options are more of the
// viewer's, such as "&screen=2".
func (w *world) unscaled(t *testing.T, id string, width, height int, options string) *browser.Page {
	t.Helper()
	return w.unscaledIn(t, id, browser.PageOptions{Width: width, Height: height}, options)
}

// unscaledIn opens it in a page of one's own choice.
func (w *world) unscaledIn(t *testing.T, id string, o browser.PageOptions, options string) *browser.Page {
	t.Helper()
	width, height := o.Width, o.Height
	p := w.view(t, id, fmt.Sprintf("scale=1&chrome=0&size=%dx%d%s", width, height, options), o)
	eventually(t, 30*time.Second, fmt.Sprintf("the page shows %d×%d", width, height), func() error { return hasSize(p, width, height) })
	return p
}

// openAs opens a session's viewer for a user that has no account: with a token that the coordinator's own key signs.
func (w *world) openAs(t *testing.T, id, query string, o browser.PageOptions) (*browser.Page, error) {
	t.Helper()
	key, err := identity.LoadOrCreateKey(filepath.Join(w.dir, "coordinator", "signing.key"))
	if err != nil {
		return nil, err
	}
	signer, err := identity.NewSigner(key)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	token, err := signer.Sign(identity.Claims{
		Audience: "session:" + id, Subject: "walker", Scope: identity.ScopeView, IssuedAt: now, Expires: now.Add(time.Minute), ID: rand.Text(),
	})
	if err != nil {
		return nil, err
	}
	p, err := w.chrome.Open(o)
	if err != nil {
		return nil, err
	}
	if err := p.Go(w.stack.NodeURL() + "/s/" + id + "?" + query + "#token=" + token); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// inspect asks the node for the session, as an operator does.
func (w *world) inspect(t testing.TB, id string) *easelv1.Session {
	t.Helper()
	s, err := artist.Inspect(t.Context(), w.stack, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until the session is in one of the states.
func (w *world) await(t *testing.T, id string, limit time.Duration, states ...easelv1.State) *easelv1.Session {
	t.Helper()
	s, err := artist.Await(t.Context(), w.node, id, limit, states...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits until f has no error to tell.
func eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not after %s: %v", what, limit, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

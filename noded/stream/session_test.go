package stream

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
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

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"
	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// session is a worker with everything around it: a real X server, and the container's sockets played by the test.
type session struct {
	x      *xorgtest.Server
	cfg    contract.Config
	client *http.Client
	init   *initSocket
	pen    *inputtest.Driver
	ended  chan error
	via    func(answer string) string // changes the answer that the viewer gets, if not nil
	// noTiles has browsers get no shared memory, so that they take no tiles.
	noTiles bool
}

const allRunning = `{"seq":1,"ready":true,"services":{"xorg":{"state":"running","pid":5,"restarts":0}},"gimp":{"state":"running","pid":9,"restarts":0,"window_ms":2100}}`

func startSession(t testing.TB, codecs ...Codec) *session {
	t.Helper()
	return startSessionOn(t, "127.0.0.1", codecs...)
}

// startSessionOn starts a session whose media come from an address of this machine's.
func startSessionOn(t testing.TB, address string, codecs ...Codec) *session {
	t.Helper()
	if len(codecs) == 0 {
		codecs = []Codec{testCodec{}}
	}
	return startSessionWith(t, address, Encoding{Codecs: codecs, Room: UsualRoom()})
}

// startSessionWith starts one that encodes in a certain way.
func startSessionWith(t testing.TB, address string, e Encoding) *session {
	t.Helper()
	s := newSession(t, address)
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("STREAM_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	go func() { s.ended <- Run(ctx, s.cfg, e, testSound, log) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-s.ended:
			if err != nil {
				t.Errorf("the worker ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the worker did not end within 10 s")
		}
		s.client.CloseIdleConnections()
	})
	s.listens(t)
	return s
}

// newSession makes all of a session but its worker.
func newSession(t testing.TB, address string) *session {
	t.Helper()
	// A unix socket's path is short.
	dir, err := os.MkdirTemp("", "stream-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	edge := filepath.Join(dir, "edge")
	if err := os.Mkdir(edge, 0o711); err != nil {
		t.Fatal(err)
	}
	x := xorgtest.Start(t)
	s := &session{
		x: x, ended: make(chan error, 1), init: listenInit(t, edge), pen: inputtest.Listen(t, edge),
		cfg: contract.Config{
			Session: "stest", Socket: filepath.Join(dir, "streamer.sock"), XSocket: x.Socket, XCookie: hex.EncodeToString(x.Cookie),
			EdgeDir: edge, UDPAddrs: []string{address}, Initial: contract.Size{Width: 1280, Height: 720}, Policy: contract.Policy{Guests: 10},
		},
	}
	s.client = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.cfg.Socket)
	}}}
	return s
}

// listens waits until the worker does.
func (s *session) listens(t testing.TB) {
	t.Helper()
	s.await(t, "the worker's socket", func() bool { // it is there before anybody listens on it
		conn, err := net.Dial("unix", s.cfg.Socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (s *session) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *session) get(t testing.TB, path string, into any) {
	t.Helper()
	r, err := s.client.Get("http://streamer" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, r.Status)
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func (s *session) health(t testing.TB, after uint64) contract.Health {
	t.Helper()
	r, err := s.client.Get(fmt.Sprintf("http://streamer/watch?after=%d", after))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	h, err := contract.ReadHealth(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ready waits until the worker has opened the display.
func (s *session) ready(t testing.TB) {
	t.Helper()
	s.init.say(allRunning)
	s.await(t, "the display", func() bool {
		var st Stats
		s.get(t, "/stats", &st)
		return st.Width > 0
	})
}

func (s *session) post(t testing.TB, path, kind, body string) (int, http.Header, string) {
	t.Helper()
	return s.send(t, http.MethodPost, path, http.Header{"Content-Type": {kind}}, body)
}

func (s *session) send(t testing.TB, method, path string, h http.Header, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://streamer"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	r, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(b)
}

// initSocket plays easel-init.
type initSocket struct {
	mu   sync.Mutex
	last string
	conn []net.Conn
}

func listenInit(t testing.TB, edge string) *initSocket {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(edge, "init.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &initSocket{}
	t.Cleanup(func() { _ = l.Close(); s.drop() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conn = append(s.conn, c)
			if s.last != "" {
				fmt.Fprintln(c, s.last)
			}
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *initSocket) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = line
	for _, c := range s.conn {
		fmt.Fprintln(c, line)
	}
}

func (s *initSocket) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conn {
		_ = c.Close()
	}
	s.conn = nil
}

// artist draws on the screen over an X connection of its own.
type artist struct {
	xc   *xgb.Conn
	root xproto.Window
	gc   xproto.Gcontext
}

func newArtist(t testing.TB, x *xorgtest.Server) *artist {
	t.Helper()
	t.Setenv("XAUTHORITY", x.XAuthority)
	c, err := xgb.NewConnDisplay(fmt.Sprintf(":%d", x.Display))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	a := &artist{xc: c, root: xproto.Setup(c).Roots[0].Root}
	if a.gc, err = xproto.NewGcontextId(c); err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreateGCChecked(c, a.gc, xproto.Drawable(a.root), 0, nil).Check(); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *artist) fill(t testing.TB, r image.Rectangle, colour uint32) {
	t.Helper()
	xproto.ChangeGC(a.xc, a.gc, xproto.GcForeground, []uint32{colour})
	err := xproto.PolyFillRectangleChecked(a.xc, xproto.Drawable(a.root), a.gc,
		[]xproto.Rectangle{{X: int16(r.Min.X), Y: int16(r.Min.Y), Width: uint16(r.Dx()), Height: uint16(r.Dy())}}).Check()
	if err != nil {
		t.Fatal(err)
	}
}

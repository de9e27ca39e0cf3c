package stream

import (
	"bytes"
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
	"easel/noded/stream/tile"
	"easel/pkg/codec"
	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// testCodec is what cmd/streamer gives the worker.
type testCodec struct{ card *codec.NVENC } // nil for x264

type testEncoder struct {
	picture *codec.Picture
	codec.Encoder
}

func (c testCodec) Makes(f Format) bool { return c.card == nil || f == H264 || f == H264444 }

func (c testCodec) Open(size image.Point, what Coding, q Quality, from Encoder) (Encoder, error) {
	coding := codec.Coding{Format: codec.Format(what.Format), Short: what.Short}
	rate := codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS}
	video := what.Scale.Of(size)
	var e codec.Encoder
	var err error
	if c.card != nil {
		e, err = c.card.NewEncoder(video.X, video.Y, coding.Colours(), rate)
	} else {
		e, err = codec.NewSoftware(coding, video.X, video.Y, 2, rate)
	}
	if err != nil {
		return nil, err
	}
	if before, ok := from.(*testEncoder); ok {
		before.Encoder.Close()
		if err := before.picture.SetColours(coding.Colours()); err != nil {
			return nil, err
		}
		e, err = codec.OfSize(e, before.picture, video)
		return &testEncoder{before.picture, e}, err
	}
	p, err := codec.NewPictureOf(coding.Colours(), size.X, size.Y)
	if err != nil {
		e.Close()
		return nil, err
	}
	e, err = codec.OfSize(e, p, video)
	return &testEncoder{p, e}, err
}

func (e *testEncoder) Update(pix []byte, stride int, r []image.Rectangle) (int, error) {
	return e.picture.Update(pix, stride, r)
}

func (e *testEncoder) Encode(key bool, qp int) (Packet, error) {
	p, err := e.Encoder.Encode(e.picture, codec.FrameOptions{Key: key, QP: qp})
	return Packet{Units: p.Units, Key: p.Key, Bytes: p.Bytes, QP: p.QP}, err
}

func (e *testEncoder) SetQuality(q Quality) error {
	return e.SetRate(codec.Rate{Quality: q.Factor, Kbps: q.Kbps, BufferMS: q.BufferMS})
}

func (e *testEncoder) Info() CodecInfo { return CodecInfo(e.Encoder.Info()) }

func (e *testEncoder) Tiles() tile.Coder { return e.picture.Tiles() }

func (e *testEncoder) ColourLoss() float64 { return e.picture.ColourLoss() }

func (e *testEncoder) Close() { e.Encoder.Close(); e.picture.Close() }

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

func TestHealthFollowsInitAndX(t *testing.T) {
	s := startSession(t)
	h := s.health(t, 0)
	if h.Ready || h.GIMP.State != contract.Starting || h.Viewers != 0 {
		t.Fatalf("at the start: %+v", h)
	}
	s.ready(t)
	s.await(t, "readiness", func() bool { return s.health(t, 0).Ready })
	h = s.health(t, 0)
	if h.XPID != 5 || h.GIMP.WindowMS != 2100 || h.Services["xorg"].State != contract.Running || h.Error != "" {
		t.Fatalf("when ready: %+v", h)
	}
	changed := make(chan contract.Health, 1)
	go func() { changed <- s.health(t, h.Seq) }()
	time.Sleep(50 * time.Millisecond)
	s.init.say(strings.Replace(strings.Replace(allRunning, `"ready":true`, `"ready":false`, 1), `"gimp":{"state":"running"`, `"gimp":{"state":"restarting"`, 1))
	select {
	case got := <-changed:
		if got.Seq <= h.Seq || got.GIMP.State != contract.Restarting {
			t.Fatalf("the watch returned %+v", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the watch did not return on a change")
	}
}

func TestOpenCLIsTold(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	s.init.say(strings.Replace(allRunning, `"gimp":`, `"opencl":{"state":"failed","device":"card","why":"no kernel ran"},"gimp":`, 1))
	s.await(t, "the report", func() bool { return s.health(t, 0).OpenCL.State == contract.OpenCLFailed })
	var stats Stats
	s.get(t, "/stats", &stats)
	if stats.OpenCL != "off: no kernel ran" {
		t.Errorf("the viewer is told %q", stats.OpenCL)
	}
}

func TestWorkerOutlivesABadReport(t *testing.T) {
	s := startSession(t)
	s.init.say(`{"seq":1,"unknown":true}`)
	s.init.say(strings.Repeat("x", maxReport*2))
	time.Sleep(100 * time.Millisecond)
	s.init.drop()
	s.ready(t)
}

func TestBadRequestsAreRefused(t *testing.T) {
	s := startSession(t)
	for name, c := range map[string]struct {
		path, kind, body string
		want             int
	}{
		"an offer of another type": {"/whep", "text/plain", "v=0", http.StatusUnsupportedMediaType},
		"an empty offer":           {"/whep", "application/sdp", "", http.StatusNotAcceptable},
		"garbage that says H264":   {"/whep", "application/sdp", "a=rtpmap:1 H264/90000\r\n\x00\xff", http.StatusBadRequest},
		"an offer without H.264":   {"/whep", "application/sdp", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n", http.StatusNotAcceptable},
		"a huge offer":             {"/whep", "application/sdp", strings.Repeat("a", maxOffer+1), http.StatusRequestEntityTooLarge},
		"a screen that is no JSON": {"/screen", "application/json", "{", http.StatusBadRequest},
		"a notice that is no text": {"/notice", "application/json", `{"text":"\u0007"}`, http.StatusBadRequest},
		"an unknown screen field":  {"/screen", "application/json", `{"wdth":1}`, http.StatusBadRequest},
		"a wrong number to watch":  {"/watch?after=-1", "", "", http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			code, header, body := s.post(t, c.path, c.kind, c.body)
			if code != c.want {
				t.Fatalf("%d %s, want %d", code, body, c.want)
			}
			if code != http.StatusMethodNotAllowed && header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("answered as %s", header.Get("Content-Type"))
			}
		})
	}
	r, err := s.client.Do(&http.Request{Method: http.MethodDelete, URL: mustURL("http://streamer/whep/none")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Fatalf("deleting nobody: %s", r.Status)
	}
}

func TestScreenIsResizedWithoutAViewer(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	if code, _, body := s.post(t, "/screen", "application/json", `{"width":1111.5,"height":777,"scale":1}`); code != http.StatusOK || strings.TrimSpace(body) != `{"width":1110,"height":776}` {
		t.Fatalf("%d %s", code, body)
	}
	s.await(t, "the new size", func() bool {
		var st Stats
		s.get(t, "/stats", &st)
		return st.Width == 1110 && st.Height == 776
	})
}

func TestXServerComesBack(t *testing.T) {
	s := startSession(t)
	s.ready(t)
	v := connect(t, s)
	s.await(t, "a picture", func() bool { frames, _ := v.count(); return frames > 0 })
	v.say(t, `{"t":"seen","rtp":1}`)
	s.x.Stop()
	s.await(t, "the loss to be told", func() bool { return s.health(t, 0).Error != "" })
	select {
	case err := <-s.ended:
		t.Fatalf("the worker ended with its X server: %v", err)
	default:
	}
	before, keys := v.count()
	s.x.Restart(t)
	s.await(t, "the new X server", func() bool { return s.health(t, 0).Error == "" })
	s.await(t, "the picture, from a keyframe on", func() bool { f, k := v.count(); return f > before && k > keys })
	var st Stats
	s.get(t, "/stats", &st)
	if st.Width != 1280 || st.Height != 720 {
		t.Fatalf("the new screen is %dx%d, want the size that was asked for", st.Width, st.Height)
	}
}

func TestSocketOfAnotherUserIsNotTrusted(t *testing.T) {
	s := startSession(t)
	w := &Worker{cfg: s.cfg}
	w.cfg.EdgeUID = uint32(os.Getuid()) + 12345
	if c, err := w.dialX(context.Background()); err == nil {
		_ = c.Close()
		t.Fatal("an X server of another user was taken for the session's")
	}
	w.cfg.EdgeUID = uint32(os.Getuid())
	if w.cfg.EdgeUID == 0 {
		return // root's own number means any
	}
	c, err := w.dialX(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestVNCIsCarriedBothWays(t *testing.T) {
	s := startSession(t)
	l, err := net.Listen("unix", filepath.Join(s.cfg.EdgeDir, "vnc.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("RFB 003.008\n"))
		b := make([]byte, 12)
		_, _ = io.ReadFull(c, b)
		served <- b
		_, _ = io.Copy(io.Discard, c)
	}()
	ws := dialVNC(t, s)
	kind, b, err := ws.Read(context.Background())
	if err != nil || kind != 2 || !bytes.Equal(b, []byte("RFB 003.008\n")) {
		t.Fatalf("read %v %q, %v", kind, b, err)
	}
	if err := ws.Write(context.Background(), 2, []byte("RFB 003.008\n")); err != nil {
		t.Fatal(err)
	}
	if got := <-served; string(got) != "RFB 003.008\n" {
		t.Fatalf("the server got %q", got)
	}
	if h := s.health(t, 0); h.Viewers != 1 || h.Path != contract.PathVNC || len(h.Degraded) == 0 {
		t.Fatalf("with a VNC viewer: %+v", h)
	}
	_ = ws.CloseNow()
	s.await(t, "the VNC viewer to be gone", func() bool { return s.health(t, 0).Viewers == 0 })
}

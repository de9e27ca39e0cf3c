package stream

import (
	"encoding/binary"
	"image"
	"log/slog"
	"math"
	"net/http"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/input/inputtest"
	"easel/pkg/display"

	"github.com/jezek/xgb/xproto"
	"github.com/pion/webrtc/v4"
)

// connectSecond is a viewer of the second screen.
func connectSecond(t testing.TB, s *session) *viewer {
	t.Helper()
	return connectAt(t, s, "/whep?screen=2", func(*webrtc.PeerConnection) {})
}

// has tells whether the viewer was last told that its screen has this size.
func (v *viewer) has(w, h int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	last := image.Point{}
	for _, m := range v.told {
		if m["t"] == "screen" {
			mw, _ := m["w"].(float64)
			mh, _ := m["h"].(float64)
			last = image.Pt(int(mw), int(mh))
		}
	}
	return last == image.Pt(w, h)
}

func (v *viewer) open() bool {
	return v.input.ReadyState() == webrtc.DataChannelStateOpen && v.motion.ReadyState() == webrtc.DataChannelStateOpen
}

// rootSize is the whole of the X server's screen.
func (a *artist) rootSize(t testing.TB) image.Point {
	t.Helper()
	g, err := xproto.GetGeometry(a.xc, xproto.Drawable(a.root)).Reply()
	if err != nil {
		t.Fatal(err)
	}
	return image.Pt(int(g.Width), int(g.Height))
}

// keysDown counts the keys that the X server takes to be down.
func (a *artist) keysDown(t testing.TB) (n int) {
	t.Helper()
	r, err := xproto.QueryKeymap(a.xc).Reply()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Keys {
		for ; b != 0; b &= b - 1 {
			n++
		}
	}
	return n
}

func encodeKey(sym uint32, code uint16, down bool, rseq uint32) []byte {
	b := []byte{4, 0, 0, 0}
	if down {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, rseq)
	b = binary.LittleEndian.AppendUint32(b, sym)
	return binary.LittleEndian.AppendUint16(b, code)
}

func TestSecondScreenComesWithItsViewerAndGoes(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	one := connect(t, s)
	one.say(t, `{"t":"resize","w":800,"h":600,"scale":100}`)
	s.await(t, "the first screen's size", func() bool { return one.has(800, 600) })
	two := connectSecond(t, s)
	two.say(t, `{"t":"resize","w":640,"h":480,"scale":100}`)
	s.await(t, "the second screen's size", func() bool { return two.has(640, 480) })
	if got := a.rootSize(t); got != image.Pt(1440, 600) {
		t.Fatalf("the X server's screen is %v with two of 800x600 and 640x480", got)
	}
	if h := s.health(t, 0); h.Viewers != 2 {
		t.Errorf("%d viewers with one at each screen", h.Viewers)
	}
	s.await(t, "both pictures", func() bool { n, _ := one.count(); m, _ := two.count(); return n > 0 && m > 0 })
	one.say(t, `{"t":"seen","rtp":1}`)
	two.say(t, `{"t":"seen","rtp":1}`)

	// Each shows its own part.
	settle(t, one)
	settle(t, two)
	n, _ := one.count()
	m, _ := two.count()
	a.fill(t, image.Rect(900, 100, 1100, 300), 0xff8800)
	s.await(t, "the change on the second screen", func() bool { frames, _ := two.count(); return frames > m })
	if frames, _ := one.count(); frames != n {
		t.Errorf("the first screen's viewer got %d frames of the second's change", frames-n)
	}

	// Input is in the coordinates of its own screen, wherever that lies by now.
	s.await(t, "the input channels", func() bool { return one.open() && two.open() })
	point := func(v *viewer, first uint32, x int32) inputtest.Record {
		t.Helper()
		if err := v.motion.Send(inputtest.Pointer(inputtest.Mouse, 0, first, inputtest.Sample{X: x << 8, Y: 20 << 8, Time: first})); err != nil {
			t.Fatal(err)
		}
		return s.pen.Next(t)
	}
	if r := point(two, 1, 10); r.X != 810<<8 || r.Y != 20<<8 {
		t.Errorf("at 10,20 of the second screen the pointer goes to %d,%d", r.X>>8, r.Y>>8)
	}
	one.say(t, `{"t":"resize","w":1000,"h":600,"scale":100}`)
	s.await(t, "the first screen to grow", func() bool { return a.rootSize(t) == image.Pt(1640, 600) && one.has(1000, 600) })
	if r := point(two, 2, 10); r.X != 1010<<8 {
		t.Errorf("after the first screen grew, 10 of the second is at %d", r.X>>8)
	}
	if r := point(two, 3, -30); r.X != 970<<8 {
		t.Errorf("a drag beyond the second screen's edge goes to %d, want 970 on the first", r.X>>8)
	}
	if r := point(one, 1, 1010); r.X != 1010<<8 {
		t.Errorf("a drag beyond the first screen's edge goes to %d, want 1010 on the second", r.X>>8)
	}

	if one.heard("replaced") != nil || two.heard("replaced") != nil {
		t.Error("one window replaced the other")
	}
	second := connectSecond(t, s)
	s.await(t, "the second screen's old viewer to be told", func() bool { return two.heard("replaced") != nil })
	s.await(t, "the new one to see the screen as it was", func() bool { return second.has(640, 480) })
	if got := a.rootSize(t); got != image.Pt(1640, 600) {
		t.Errorf("a new viewer of the second screen made the whole %v", got)
	}
	_ = second.pc.Close()
	s.await(t, "the second screen to go", func() bool { return a.rootSize(t) == image.Pt(1000, 600) })
	if one.heard("bye") != nil || !one.has(1000, 600) {
		t.Error("the first screen's viewer was disturbed by the second's going")
	}
}

func TestHandsOfTwoScreensLetEachOtherBe(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	one, two := connect(t, s), connectSecond(t, s)
	s.await(t, "the input channels", func() bool { return one.open() && two.open() })
	send := func(v *viewer, b []byte) {
		t.Helper()
		if err := v.input.Send(b); err != nil {
			t.Fatal(err)
		}
	}
	send(one, encodeKey(0xffe1, 42, true, 1)) // Shift
	send(two, encodeKey('a', 30, true, 1))
	send(one, inputtest.Button(inputtest.Mouse, 1, true, 2, 1, inputtest.Sample{X: 5 << 8, Time: 1}))
	s.await(t, "both keys", func() bool { return a.keysDown(t) == 2 })
	send(two, []byte{6, 0, 0, 0, 2, 0, 0, 0}) // its window lost the focus
	s.await(t, "the second window's key to come up", func() bool { return a.keysDown(t) == 1 })
	for _, kind := range []uint8{inputtest.Motion, inputtest.Press} {
		if r := s.pen.Next(t); r.Kind != kind {
			t.Fatalf("the pen driver got %+v, want a record of kind %d", r, kind)
		}
	}
	_ = two.pc.Close()
	s.await(t, "the second viewer to be gone", func() bool { return s.health(t, 0).Viewers == 1 })
	if n := a.keysDown(t); n != 1 {
		t.Errorf("%d keys are down after the second window closed, want the first one's", n)
	}
	_ = one.pc.Close()
	s.await(t, "no key down", func() bool { return a.keysDown(t) == 0 })
	if r := s.pen.Next(t); r.Kind != inputtest.Release || r.Button != 1 {
		t.Errorf("after the first window closed: %+v, want its button's release", r)
	}
}

func TestScreenOfAnotherNumberIsRefused(t *testing.T) {
	s := startSession(t)
	for _, path := range []string{"/whep?screen=3", "/whep?screen=", "/whep?screen=0", "/whep?screen=1%00"} {
		if code, _, body := s.post(t, path, "application/sdp", "v=0"); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestSecondScreenOutlivesAReload(t *testing.T) {
	all := newAudience(newBoard(), func() {})
	s := newScreen(2, nil, all, 0, slog.New(slog.DiscardHandler))
	has := image.Pt(640, 480)
	now := time.Now()
	if size, again := s.size(has, now); size != has || again.IsZero() {
		t.Fatalf("a streamer that begins anew makes it %v until %v", size, again)
	}
	all.set(2, heads{all: 1, path: contract.PathDirect})
	s.want.Store(&contract.Size{Width: 800, Height: 600})
	if size, again := s.size(has, now); size != image.Pt(800, 600) || !again.IsZero() {
		t.Fatalf("watched, it is %v and looked at again at %v", size, again)
	}
	all.set(2, heads{})
	_, left := all.of(2)
	if size, again := s.size(has, left.Add(screenGrace-1)); size != has || again != left.Add(screenGrace) {
		t.Fatalf("just left, it is %v until %v", size, again.Sub(left))
	}
	if size, again := s.size(has, left.Add(screenGrace)); size != (image.Point{}) || !again.IsZero() || s.want.Load() != nil {
		t.Fatalf("after the grace it is %v until %v, and wants %v", size, again, s.want.Load())
	}
}

func TestSecondScreenFitsBesideTheFirst(t *testing.T) {
	for _, c := range []struct{ first, size, want image.Point }{
		{image.Pt(1920, 1080), image.Pt(2560, 1440), image.Pt(2560, 1440)},
		{image.Pt(8192, 4320), image.Pt(3840, 2160), image.Pt(3840, 2160)},
		{image.Pt(8192, 4320), image.Pt(8192, 4320), image.Pt(6622, 4320)},
		{image.Pt(8192, 4320), image.Pt(4320, 8192), image.Pt(4320, 5114)},
		{image.Pt(1920, 1080), image.Point{}, image.Point{}},
	} {
		got := beside(c.first, c.size)
		if got != c.want || max(c.first.Y, got.Y)*(c.first.X+got.X) > display.MaxRoot {
			t.Errorf("beside %v, %v becomes %v, want %v", c.first, c.size, got, c.want)
		}
	}
}

func TestInterfaceScaleIsBounded(t *testing.T) {
	for asked, want := range map[float64]int32{100: 100, 124.6: 125, 200: 200, 0: 100, -1: 100, 1e300: 400, math.NaN(): 100, math.Inf(1): 400} {
		if got := interfaceScale(asked); got != want {
			t.Errorf("%v per cent becomes %d, want %d", asked, got, want)
		}
	}
}

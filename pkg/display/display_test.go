package display

import (
	"bufio"
	"bytes"
	"context"
	"image"
	"image/png"
	"log/slog"
	"math/bits"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

func open(t testing.TB, s *xorgtest.Server) *Display {
	t.Helper()
	d, err := Open(context.Background(), Config{Dial: s.Dial, Cookie: s.Cookie, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// client is an application on the display, over a connection of its own.
type client struct {
	xc    *xgb.Conn
	root  xproto.Window
	gc    xproto.Gcontext
	guard *guard // lets no events through before it is opened
}

func newClient(t testing.TB, s *xorgtest.Server) *client {
	t.Helper()
	conn, err := s.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(conn, s.Cookie)
	xc, err := xgb.NewConnNet(g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(xc.Close)
	c := &client{xc: xc, root: xproto.Setup(xc).Roots[0].Root, guard: g}
	if c.gc, err = xproto.NewGcontextId(xc); err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreateGCChecked(xc, c.gc, xproto.Drawable(c.root), xproto.GcSubwindowMode, []uint32{xproto.SubwindowModeIncludeInferiors}).Check(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) fill(t testing.TB, r image.Rectangle, colour uint32) {
	t.Helper()
	xproto.ChangeGC(c.xc, c.gc, xproto.GcForeground, []uint32{colour})
	err := xproto.PolyFillRectangleChecked(c.xc, xproto.Drawable(c.root), c.gc,
		[]xproto.Rectangle{{X: int16(r.Min.X), Y: int16(r.Min.Y), Width: uint16(r.Dx()), Height: uint16(r.Dy())}}).Check()
	if err != nil {
		t.Fatal(err)
	}
}

func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30 s for %s", what)
	}
}

func TestOpenNeedsTheCookie(t *testing.T) {
	s := xorgtest.Start(t)
	_, err := Open(context.Background(), Config{Dial: s.Dial, Cookie: make([]byte, 16), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "connect to the X server") {
		t.Fatalf("with a wrong cookie: %v", err)
	}
}

func TestDamageAndFrameShowWhatWasDrawn(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	f, err := d.Output(1).NewFrame()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	drawn := image.Rect(100, 200, 300, 400)
	c.fill(t, drawn, 0x123456)
	wait(t, "damage", d.Output(1).Damage.Wake())
	rects, since := d.Output(1).Damage.Take(nil)
	if len(rects) == 0 || rects[0].Intersect(drawn).Empty() || time.Since(since) > 5*time.Second {
		t.Fatalf("damage %v at %v does not show %v", rects, since, drawn)
	}
	if err := f.Read(rects, nil); err != nil {
		t.Fatal(err)
	}
	at := (250*f.Size.X + 150) * 4
	if got := f.Pix[at : at+3]; !bytes.Equal(got, []byte{0x56, 0x34, 0x12}) {
		t.Fatalf("pixel %x, want 563412", got)
	}
}

func TestResizeTakesAnySizeAndFramesFollow(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	old, err := d.Output(1).NewFrame()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for _, size := range []image.Point{{1280, 720}, {1366, 768}, {802, 602}, {3840, 2160}, {320, 320}, {1920, 1080}, {8192, 4096}} {
		if err := d.Arrange([Outputs]image.Point{size}); err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		g, err := xproto.GetGeometry(c.xc, xproto.Drawable(c.root)).Reply()
		if err != nil {
			t.Fatal(err)
		}
		if int(g.Width) != size.X || int(g.Height) != size.Y || d.Output(1).Size() != size {
			t.Fatalf("asked for %v: the root window is %dx%d, Size %v", size, g.Width, g.Height, d.Output(1).Size())
		}
		f, err := d.Output(1).NewFrame()
		if err != nil {
			t.Fatal(err)
		}
		c.fill(t, image.Rect(size.X-10, size.Y-10, size.X, size.Y), 0xabcdef)
		if err := f.Read([]image.Rectangle{{Max: size}}, nil); err != nil {
			t.Fatal(err)
		}
		if got := f.Pix[len(f.Pix)-4]; got != 0xef {
			t.Fatalf("%v: the last pixel's blue is %#x", size, got)
		}
		f.Close()
	}
	if err := old.Read([]image.Rectangle{image.Rect(0, 0, 9, 9)}, nil); err != ErrSize {
		t.Fatalf("a frame of the old size was read: %v", err)
	}
	if err := d.Arrange([Outputs]image.Point{{X: 10, Y: 10}}); err == nil {
		t.Fatal("10x10 was taken")
	}
}

func TestCursorIsReadAndNotInThePicture(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	font, _ := xproto.NewFontId(c.xc)
	cur, _ := xproto.NewCursorId(c.xc)
	xproto.OpenFont(c.xc, font, uint16(len("cursor")), "cursor")
	if err := xproto.CreateGlyphCursorChecked(c.xc, cur, font, font, 60, 61, 0xffff, 0, 0, 0, 0, 0).Check(); err != nil {
		t.Fatal(err)
	}
	if err := xproto.ChangeWindowAttributesChecked(c.xc, c.root, xproto.CwCursor, []uint32{uint32(cur)}).Check(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the cursor to change", d.CursorChanged())
	got, err := d.Cursor()
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(got.PNG))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds().Dx() != got.Width || got.HotX >= got.Width || got.HotY >= got.Height || got.ID == 0 {
		t.Fatalf("cursor %+v in %v", got, img.Bounds())
	}
	if err := xproto.WarpPointerChecked(c.xc, 0, c.root, 0, 0, 0, 0, 500, 500).Check(); err != nil {
		t.Fatal(err)
	}
	c.fill(t, image.Rect(400, 400, 600, 600), 0x00ff00)
	f, err := d.Output(1).NewFrame()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Read([]image.Rectangle{image.Rect(400, 400, 600, 600)}, nil); err != nil {
		t.Fatal(err)
	}
	for y := 480; y < 540; y++ {
		for x := 480; x < 540; x++ {
			if at := (y*f.Size.X + x) * 4; f.Pix[at] != 0 || f.Pix[at+1] != 0xff {
				t.Fatalf("pixel %d,%d is %x: the cursor is in the picture", x, y, f.Pix[at:at+4])
			}
		}
	}
}

func TestDoneWhenTheServerEnds(t *testing.T) {
	s := xorgtest.Start(t)
	d := open(t, s)
	s.Stop()
	wait(t, "the end", d.Done())
	if _, err := d.Cursor(); err == nil {
		t.Fatal("a dead server's cursor was read")
	}
}

// xev shows what an X application that uses Xlib makes of keys.
type xev struct {
	cmd    *exec.Cmd
	lines  chan string
	client *client
}

func startXev(t *testing.T, s *xorgtest.Server, c *client) *xev {
	t.Helper()
	x := &xev{cmd: s.Command("xev", "-event", "keyboard", "-geometry", "300x300+0+0"), lines: make(chan string, 4096), client: c}
	out, err := x.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.cmd.Start(); err != nil {
		t.Fatalf("start xev (Debian package x11-utils): %v", err)
	}
	t.Cleanup(func() { _ = x.cmd.Process.Kill(); _ = x.cmd.Wait() })
	go func() {
		defer close(x.lines)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			x.lines <- sc.Text()
		}
	}()
	deadline := time.Now().Add(30 * time.Second)
	for !x.focus(t, 0) {
		if time.Now().After(deadline) {
			t.Fatal("xev has no window after 30 s")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return x
}

// focus gives the keys to a window, the topmost for the first attempt. It is false when there is none that can be given them.
func (x *xev) focus(t *testing.T, attempt int) bool {
	t.Helper()
	tree, err := xproto.QueryTree(x.client.xc, x.client.root).Reply()
	if err != nil {
		t.Fatal(err)
	}
	n := len(tree.Children)
	if n == 0 {
		return false
	}
	w := tree.Children[n-1-attempt%n]
	return xproto.SetInputFocusChecked(x.client.xc, xproto.InputFocusPointerRoot, w, 0).Check() == nil
}

var xevText = regexp.MustCompile(`XmbLookupString gives \d+ bytes: \(.*\) "(.*)"`)

// typed gathers the text of n presses.
func (x *xev) typed(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	var raw []string
	timeout := time.After(40 * time.Second)
	for got := 0; got < n; {
		select {
		case l := <-x.lines:
			raw = append(raw, l)
			if m := xevText.FindStringSubmatch(l); m != nil {
				b.WriteString(m[1])
				got++
			}
		case <-timeout:
			t.Fatalf("xev got %q and no more in 40 s; all it said:\n%s", b.String(), strings.Join(raw, "\n"))
		}
	}
	return b.String()
}

// warm has xev read the keyboard's table, which Xlib does with its first press and its first release, and not quite atomically: what is lent a
// keycode meanwhile comes without a meaning, until the next change of the table. So xev gets key after key, each when it is done with the one
// before, until it has understood two; before it is ready for any it may miss some. Each character here is lent a keycode, and no test types
// them again.
func (x *xev) warm(t *testing.T, k *Keyboard) {
	t.Helper()
	heard := false
	for attempt := range 30 { // the window that was topmost at first may be another
		x.focus(t, attempt)
		if err := k.Text("w"); err != nil {
			t.Fatal(err)
		}
		if _, heard = x.tap(2 * time.Second); heard {
			break
		}
	}
	if !heard {
		t.Fatal("xev hears no key")
	}
	understood := 0
	var got []string
	for r := 'Ա'; r <= 'Ֆ'; r++ { // the Armenian capitals
		if err := k.Text(string(r)); err != nil {
			t.Fatal(err)
		}
		text, _ := x.tap(40 * time.Second)
		if got = append(got, text); text != string(r) {
			understood = 0
		} else if understood++; understood == 2 {
			return
		}
	}
	t.Fatalf("xev does not learn what keys mean: it got %q", got)
}

// tap waits until xev is done with the next press and release, and returns the text of the press.
func (x *xev) tap(limit time.Duration) (text string, ok bool) {
	timeout := time.After(limit)
	for done := 0; done < 2; {
		select {
		case l := <-x.lines:
			if m := xevText.FindStringSubmatch(l); m != nil {
				text = m[1]
			}
			if strings.Contains(l, "XFilterEvent returns") { // the last line of each
				done++
			}
		case <-timeout:
			return "", false
		}
	}
	return text, true
}

func TestKeysMeanWhatTheBrowserSays(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	k, err := d.NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	x := startXev(t, s, c)
	x.warm(t, k)
	tap := func(key Key) {
		t.Helper()
		if err := k.Press(key); err != nil {
			t.Fatal(err)
		}
		k.Release(Key{Sym: 'x', Code: key.Code}) // by then the browser may call the key something else
	}
	shift := Key{Sym: keyShiftL, Code: 42}
	// A German layout's Shift+7 is '/', Shift+ß is '?'; Caps Lock makes 'A' without Shift and 'a' with it.
	for _, step := range []struct {
		shift bool
		key   Key
	}{
		{false, Key{'a', 30}},
		{true, Key{'A', 30}},
		{true, Key{'/', 8}},
		{true, Key{'?', 12}},
		{false, Key{'z', 21}},
		{false, Key{'A', 30}},
		{true, Key{'a', 30}},
		{false, Key{0xe9, 3}},
		{false, Key{0xdf, 12}},
		{false, Key{0x20ac + 0x01000000, 18}},
		{false, Key{0x01000416, 39}},
		{true, Key{0x01000416, 39}},
		{false, Key{0x01003042, 4}},
		{false, Key{0xffb1, 79}},
	} {
		if step.shift {
			if err := k.Press(shift); err != nil {
				t.Fatal(err)
			}
		}
		tap(step.key)
		if step.shift {
			k.Release(shift)
		}
	}
	const want = "aA/?zAaéß€ЖЖあ1"
	if got := x.typed(t, 14); got != want {
		t.Fatalf("typed %q, want %q", got, want)
	}
}

func TestTextTypesEveryCharacter(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	k, err := d.NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	x := startXev(t, s, c)
	x.warm(t, k)
	// More different characters than there are keycodes to lend, so that some are lent twice.
	var want strings.Builder
	n := 0
	for r := rune(0x4e00); n < 300; r++ {
		want.WriteRune(r)
		n++
	}
	if err := k.Text(want.String()); err != nil {
		t.Fatal(err)
	}
	if got := x.typed(t, n); got != want.String() {
		t.Fatalf("typed %q, want %q", got, want.String())
	}
}

func TestReleaseAllLeavesNothingDown(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	k, err := d.NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	keys := []Key{{keyShiftL, 42}, {keyControlL, 29}, {'a', 30}, {0xe9, 3}}
	for _, key := range keys {
		if err := k.Press(key); err != nil {
			t.Fatal(err)
		}
	}
	down := func() int {
		r, err := xproto.QueryKeymap(c.xc).Reply()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, b := range r.Keys {
			for ; b != 0; b &= b - 1 {
				n++
			}
		}
		return n
	}
	sync := func() { _ = d.call("wait", func() error { _, err := xproto.GetInputFocus(d.xc).Reply(); return err }) }
	if sync(); down() != 4 {
		t.Fatalf("%d keys are down, want 4", down())
	}
	for _, key := range keys {
		k.Release(key)
	}
	if sync(); down() != 0 {
		t.Fatalf("%d keys are still down", down())
	}
}

func BenchmarkRead(b *testing.B) {
	s := xorgtest.Start(b)
	d := open(b, s)
	f, err := d.Output(1).NewFrame()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for name, r := range map[string]image.Rectangle{"full": {Max: f.Size}, "200x200": image.Rect(100, 100, 300, 300)} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if err := f.Read([]image.Rectangle{r}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The X server keeps down what a client pressed that was killed.
func TestKeysOfWhoWasKilledComeUp(t *testing.T) {
	s := xorgtest.Start(t)
	killed, c := open(t, s), newClient(t, s)
	k, err := killed.NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	down := func() (n int) {
		t.Helper()
		m, err := xproto.QueryKeymap(c.xc).Reply()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range m.Keys {
			n += bits.OnesCount8(b)
		}
		return n
	}
	for _, sym := range []Keysym{keyControlL, keyShiftL, 'a'} {
		if err := k.Press(Key{Sym: sym}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Settle(); err != nil {
		t.Fatal(err)
	}
	killed.Close()
	if n := down(); n != 3 {
		t.Fatalf("%d keys are down, want 3", n)
	}
	again, err := open(t, s).NewKeyboard()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Settle(); err != nil {
		t.Fatal(err)
	}
	if n := down(); n != 0 {
		t.Errorf("%d keys are still down", n)
	}
}

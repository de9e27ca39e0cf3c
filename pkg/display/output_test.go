package display

import (
	"bytes"
	"image"
	"strings"
	"testing"

	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/xproto"
)

func arrange(t testing.TB, d *Display, sizes ...image.Point) {
	t.Helper()
	var all [Outputs]image.Point
	copy(all[:], sizes)
	if err := d.Arrange(all); err != nil {
		t.Fatal(err)
	}
}

// monitors are what applications take for monitors.
func monitors(t testing.TB, c *client) (found []image.Rectangle) {
	t.Helper()
	if err := xorgtest.Use(c.xc, "RANDR"); err != nil {
		t.Fatal(err)
	}
	if _, err := randr.QueryVersion(c.xc, 1, 5).Reply(); err != nil {
		t.Fatal(err)
	}
	res, err := randr.GetScreenResourcesCurrent(c.xc, c.root).Reply()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range res.Outputs {
		info, err := randr.GetOutputInfo(c.xc, o, res.ConfigTimestamp).Reply()
		if err != nil {
			t.Fatal(err)
		}
		if info.Crtc == 0 || info.Connection != randr.ConnectionConnected {
			continue
		}
		crtc, err := randr.GetCrtcInfo(c.xc, info.Crtc, res.ConfigTimestamp).Reply()
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, image.Rect(0, 0, int(crtc.Width), int(crtc.Height)).Add(image.Pt(int(crtc.X), int(crtc.Y))))
	}
	return found
}

func TestSecondOutputComesMovesAndGoes(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	for _, step := range []struct {
		sizes []image.Point
		want  []image.Rectangle
		root  image.Point
	}{
		{[]image.Point{{1280, 720}, {801, 601}}, []image.Rectangle{image.Rect(0, 0, 1280, 720), image.Rect(1280, 0, 2080, 600)}, image.Pt(2080, 720)},
		{[]image.Point{{1600, 900}, {800, 600}}, []image.Rectangle{image.Rect(0, 0, 1600, 900), image.Rect(1600, 0, 2400, 600)}, image.Pt(2400, 900)},
		{[]image.Point{{640, 480}, {640, 480}}, []image.Rectangle{image.Rect(0, 0, 640, 480), image.Rect(640, 0, 1280, 480)}, image.Pt(1280, 480)},
		{[]image.Point{{640, 480}, {1920, 1080}}, []image.Rectangle{image.Rect(0, 0, 640, 480), image.Rect(640, 0, 2560, 1080)}, image.Pt(2560, 1080)},
		{[]image.Point{{3840, 2160}}, []image.Rectangle{image.Rect(0, 0, 3840, 2160)}, image.Pt(3840, 2160)},
		{[]image.Point{{8192, 4096}, {3840, 2160}}, []image.Rectangle{image.Rect(0, 0, 8192, 4096), image.Rect(8192, 0, 12032, 2160)}, image.Pt(12032, 4096)},
		{[]image.Point{{320, 320}}, []image.Rectangle{image.Rect(0, 0, 320, 320)}, image.Pt(320, 320)},
	} {
		arrange(t, d, step.sizes...)
		for i, o := range d.outputs {
			want := image.Rectangle{}
			if i < len(step.want) {
				want = step.want[i]
			}
			if o.Rect() != want {
				t.Fatalf("%v: output %d is at %v, want %v", step.sizes, i+1, o.Rect(), want)
			}
		}
		if got := monitors(t, c); len(got) != len(step.want) || got[0] != step.want[0] || got[len(got)-1] != step.want[len(got)-1] {
			t.Fatalf("%v: applications see the monitors %v", step.sizes, got)
		}
		g, err := xproto.GetGeometry(c.xc, xproto.Drawable(c.root)).Reply()
		if err != nil {
			t.Fatal(err)
		}
		if got := image.Pt(int(g.Width), int(g.Height)); got != step.root {
			t.Fatalf("%v: the root window is %v, want %v", step.sizes, got, step.root)
		}
	}
}

func TestOutputsHaveTheirOwnDamageAndPicture(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	arrange(t, d, image.Pt(800, 600), image.Pt(640, 480))
	one, two := d.Output(1), d.Output(2)
	f, err := two.NewFrame()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one.Damage.Take(nil)
	two.Damage.Take(nil)

	c.fill(t, image.Rect(1000, 100, 1040, 140), 0x102030)
	wait(t, "damage", two.Damage.Wake())
	for !two.Damage.Pending() { // the wake may be that of the arrangement
		wait(t, "damage", two.Damage.Wake())
	}
	rects, _ := two.Damage.Take(nil)
	if want := image.Rect(200, 100, 240, 140); len(rects) != 1 || rects[0] != want {
		t.Fatalf("the second output's damage is %v, want %v", rects, want)
	}
	if one.Damage.Pending() {
		t.Fatal("the first output counts the second's damage as its own")
	}
	if err := f.Read(rects, nil); err != nil {
		t.Fatal(err)
	}
	pixel := func() []byte { at := (120*f.Size.X + 220) * 4; return f.Pix[at : at+3] }
	if !bytes.Equal(pixel(), []byte{0x30, 0x20, 0x10}) {
		t.Fatalf("pixel %x, want 302010", pixel())
	}

	// The first one grows: the second moves, keeps its frame, and shows another part of the screen.
	arrange(t, d, image.Pt(900, 600), image.Pt(640, 480))
	c.fill(t, image.Rect(900+220, 120, 900+221, 121), 0x0a0b0c)
	rects, _ = two.Damage.Take(nil)
	if len(rects) == 0 || rects[0] != (image.Rectangle{Max: f.Size}) {
		t.Fatalf("the second output moved and its damage is %v", rects)
	}
	if err := f.Read(rects, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pixel(), []byte{0x0c, 0x0b, 0x0a}) {
		t.Fatalf("after the move: pixel %x, want 0c0b0a", pixel())
	}

	arrange(t, d, image.Pt(900, 600))
	if err := f.Read([]image.Rectangle{image.Rect(0, 0, 9, 9)}, nil); err != ErrSize {
		t.Fatalf("a frame of an output that is off was read: %v", err)
	}
}

func TestOutputsAreFoundByWhoOpensLater(t *testing.T) {
	s := xorgtest.Start(t)
	first := open(t, s)
	arrange(t, first, image.Pt(1000, 700), image.Pt(640, 480))
	first.Close()
	d := open(t, s)
	if one, two := d.Output(1).Rect(), d.Output(2).Rect(); one != image.Rect(0, 0, 1000, 700) || two != image.Rect(1000, 0, 1640, 480) {
		t.Fatalf("found %v and %v", one, two)
	}
	arrange(t, d, image.Pt(1000, 700))
	other := open(t, s)
	arrange(t, other, image.Pt(640, 360))
	wait(t, "the change that another made", d.ScreenChanged())
	if err := d.Refresh(); err != nil {
		t.Fatal(err)
	}
	if got := d.Output(1).Rect(); got != image.Rect(0, 0, 640, 360) {
		t.Fatalf("another resized the screen: found %v", got)
	}
}

func TestLayoutSaysWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		sizes [Outputs]image.Point
		want  string
	}{
		{[Outputs]image.Point{{X: 10, Y: 10}}, "sides must be"},
		{[Outputs]image.Point{{}, {X: 640, Y: 480}}, "sides must be"},
		{[Outputs]image.Point{{X: 640, Y: 480}, {X: 9000, Y: 480}}, "sides must be"},
		{[Outputs]image.Point{{X: 8192, Y: 4320}, {X: 4320, Y: 8192}}, "together they take 12512x8192"},
	} {
		if _, err := layout(c.sizes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.sizes, err, c.want)
		}
	}
}

package integration

import (
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// What an artist may have in a GIMP profile: a flat brush, and dynamics by which a pen's lean makes it smaller and its twist turns it.
var leaningProfile = map[string]string{
	"brushes/flat.vbr":   "GIMP-VBR\n1.5\nFlat\ncircle\n10.000000\n30.000000\n2\n1.000000\n10.000000\n0.000000\n",
	"dynamics/lean.gdyn": "# GIMP dynamics file\n(name \"Lean\")\n(size-output (use-pressure no) (use-tilt yes))\n(angle-output (use-wheel yes))\n(opacity-output (use-pressure no))\n",
	"contextrc":          "# GIMP contextrc\n(tool \"gimp-paintbrush-tool\")\n(paint-info \"gimp-paintbrush\")\n(brush \"Flat\")\n(dynamics \"Lean\")\n",
}

// inked is the box around the dark pixels of an area of the remote screen.
func inked(x *xclient.Screen, area image.Rectangle) (box image.Rectangle, err error) {
	img, err := x.Grab(area)
	if err != nil {
		return box, err
	}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for col := area.Min.X; col < area.Max.X; col++ {
			if c := img.RGBAAt(col, y); int(c.R)+int(c.G)+int(c.B) < 3*128 {
				box = box.Union(image.Rect(col, y, col+1, y+1))
			}
		}
	}
	return box, nil
}

// GIMP's brush follows how the pen leans and how it is turned, where its dynamics say so.
func TestBrushFollowsTiltAndTwist(t *testing.T) {
	w := get(t)
	s := w.claim(t, fmt.Sprintf("leaner-%d", time.Now().UnixNano()), "lean")
	w.await(t, s.GetId(), startTimeout, easelv1.State_STATE_READY)
	s = w.inspect(t, s.GetId())
	for name, text := range leaningProfile {
		put(t, s, filepath.Join(".config/GIMP/3.0", name), text)
	}
	if err := killPID(s.GetPids().GetGimp()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "a GIMP runs that has read it", func() error {
		now := w.inspect(t, s.GetId())
		if now.GetGimpRestarts() == 0 || now.GetPids().GetGimp() == s.GetPids().GetGimp() || now.GetPids().GetGimp() == 0 {
			return fmt.Errorf("restarts %d, pid %d", now.GetGimpRestarts(), now.GetPids().GetGimp())
		}
		return nil
	})
	p, err := w.openAs(t, s.GetId(), "scale=1&chrome=0&size=1600x900", browser.PageOptions{Width: 1600, Height: 900})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if err := artist.AwaitPicture(p, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the page shows 1600×900", func() error { return hasSize(p, 1600, 900) })
	x := w.x(t, s.GetId())
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}

	at := image.Pt(canvas.Min.X+60, canvas.Min.Y+60)
	dab := func(tiltX, tiltY float64, twist int64) image.Point {
		t.Helper()
		sample := browser.PenSample{X: float64(at.X), Y: float64(at.Y), Pressure: 0.5, TiltX: tiltX, TiltY: tiltY, Twist: twist}
		what := fmt.Sprintf("a dab that leans by %g, %g and is turned by %d°", tiltX, tiltY, twist)
		area := image.Rectangle{at, at}.Inset(-50)
		// GIMP does not take a press whose end X has already: it is painted again then, and once more makes it no larger.
		eventually(t, 60*time.Second, what, func() error {
			if err := p.Stroke([]browser.PenSample{sample, sample, sample, sample}, func() { time.Sleep(20 * time.Millisecond) }); err != nil {
				return err
			}
			return begins(x, area)
		})
		if err := p.Hover(browser.PenSample{X: float64(canvas.Max.X - 5), Y: float64(canvas.Max.Y - 5)}); err != nil {
			t.Fatal(err)
		}
		size := rests(t, x, area, what).Size()
		at.X += 110
		return size
	}
	upright, leaning, across, turned := dab(0, 0, 0), dab(32, 0, 0), dab(0, -32, 0), dab(0, 0, 90)
	t.Logf("upright %v, leaning to the right %v and away %v, turned by 90° %v", upright, leaning, across, turned)
	if upright.X < 4*upright.Y || turned.Y < 4*turned.X {
		t.Error("the brush does not turn with the pen")
	}
	if leaning.X > upright.X*3/4 || across.X > upright.X*3/4 {
		t.Error("the brush is no smaller when the pen leans")
	}
}

// begins waits a while for dark pixels in an area.
func begins(x *xclient.Screen, area image.Rectangle) error {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		box, err := inked(x, area)
		switch {
		case err != nil:
			return err
		case !box.Empty():
			return nil
		case time.Now().After(deadline):
			return errors.New("nothing is dark there")
		}
	}
}

// rests waits until the dark pixels of an area are the same at two looks, and says where they are.
func rests(t *testing.T, x *xclient.Screen, area image.Rectangle, what string) (box image.Rectangle) {
	t.Helper()
	var last image.Rectangle
	eventually(t, 30*time.Second, what, func() (err error) {
		last = box
		if box, err = inked(x, area); err == nil && (box.Empty() || box != last) {
			err = fmt.Errorf("it covers %v", box)
			time.Sleep(250 * time.Millisecond) // between two looks
		}
		return err
	})
	return box
}

// put writes a file of a session's home, as its artist.
func put(t *testing.T, s *easelv1.Session, name, text string) {
	t.Helper()
	path := filepath.Join(s.GetVolume(), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

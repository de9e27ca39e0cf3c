package integration

import (
	"context"
	"fmt"
	"image"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// The remote screen follows the window and its device pixel ratio, and a click lands on the remote pixel under the mouse at
// every ratio: at 125 % and 150 % other viewers are off.
func TestScreenFollowsWindowAndClicksLand(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "chrome=0", browser.PageOptions{Width: 1200, Height: 700})
	x := w.x(t, s.ID)
	for _, c := range []struct {
		width, height int
		dpr           float64
	}{{1200, 700, 1}, {1000, 640, 1.25}, {960, 600, 1.5}, {800, 600, 2}, {1280, 720, 1}} {
		t.Run(fmt.Sprintf("%dx%d at %g", c.width, c.height, c.dpr), func(t *testing.T) {
			if err := p.Resize(c.width, c.height, c.dpr); err != nil {
				t.Fatal(err)
			}
			want := image.Pt(int(float64(c.width)*c.dpr), int(float64(c.height)*c.dpr))
			eventually(t, 30*time.Second, "the page shows the new size", func() error { return hasSize(p, want.X, want.Y) })
			size, err := x.Size()
			if err != nil || size != want {
				t.Fatalf("the X screen is %v, want %v (%v)", size, want, err)
			}
			clicksLand(t, p, x, c.width, c.height, c.dpr)
		})
	}
}

// clicksLand clicks here and there and compares with where the X server delivers.
func clicksLand(t *testing.T, p *browser.Page, x *xclient.Screen, width, height int, dpr float64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	presses := make(chan xclient.Press, 16)
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- x.Click(ctx, xclient.Target{Area: image.Rect(0, 0, 64, 64)}, func() { close(ready) }, func(_ int, q xclient.Press) { presses <- q })
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("X client: %v", err)
		}
	}()
	select {
	case <-ready:
	case <-time.After(10 * time.Second):
		t.Fatal("the click target did not come up")
	}
	for i, at := range []struct {
		x, y   float64
		button browser.Button
		want   int
	}{{100, 80, browser.Left, 1}, {float64(width) - 2, float64(height) - 2, browser.Right, 3}, {1, 1, browser.Left, 1}, {float64(width) / 2, float64(height) / 3, browser.Middle, 2}} {
		if err := p.Click(at.x, at.y, at.button); err != nil {
			t.Fatal(err)
		}
		select {
		case q := <-presses:
			dx, dy := float64(q.At.X)-at.x*dpr, float64(q.At.Y)-at.y*dpr
			if dx < -1.01 || dx > 1.01 || dy < -1.01 || dy > 1.01 {
				t.Errorf("click %d at %g,%g CSS pixels landed on %v, want about %g,%g", i, at.x, at.y, q.At, at.x*dpr, at.y*dpr)
			}
			if q.Button != at.want {
				t.Errorf("click %d with the %s button came as button %d", i, at.button, q.Button)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("click %d at %g,%g never came", i, at.x, at.y)
		}
	}
}

// With ?scale=1 one remote pixel is one CSS pixel, at the top left, whatever the window.
func TestFixedSizeShowsPixelForPixel(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1920, 1080, "")
	box, err := browser.Eval[[4]float64](p, 5*time.Second,
		"(() => { const r = document.querySelector('#screen video, #screen canvas').getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; })()")
	if err != nil || box != [4]float64{0, 0, 1920, 1080} {
		t.Errorf("the picture lies at %v, want 0 0 1920 1080 (%v)", box, err)
	}
}

// Colours come through: what the X server shows and what the page shows differ by a codec's error, not by a wrong matrix or
// range.
func TestColoursArriveAsDrawn(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1280, 720, "")
	x := w.x(t, s.ID)
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	changed := make(chan int, 16)
	ended := make(chan error, 1)
	target := xclient.Target{Area: image.Rect(200, 100, 1000, 600)}
	go func() {
		ended <- x.Click(ctx, target, func() { close(ready) }, func(n int, _ xclient.Press) { changed <- n })
	}()
	defer func() { cancel(); <-ended }()
	<-ready
	for n := range xclient.Palette {
		if n > 0 {
			if err := p.Click(600, 300, browser.Left); err != nil {
				t.Fatal(err)
			}
			select {
			case <-changed:
			case <-time.After(30 * time.Second):
				t.Fatalf("click %d never came", n)
			}
		}
		want := xclient.Palette[n]
		if err := p.Shows(30*time.Second, want, target.Points()...); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, fmt.Sprintf("colour %v is exact to 6 levels", want), func() error {
			img, err := p.Pixels(image.Rect(300, 200, 310, 210))
			if err != nil {
				return err
			}
			got := img.RGBAAt(305, 205)
			for _, d := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
				if d < -6 || d > 6 {
					return fmt.Errorf("it shows as %v", got)
				}
			}
			return nil
		})
	}
}

package integration

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"sync"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// Axes of the X devices of a pen, in the order in which they have them.
const (
	axisPressure = 2
	axisTiltX    = 3
	axisTiltY    = 4
	axisTwist    = 5
)

// heardInputs puts a window over the remote screen and keeps what the X server tells it of pointing devices.
func heardInputs(t *testing.T, x *xclient.Screen) func() []xclient.Input {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var heard []xclient.Input
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- x.Inputs(ctx, func() { close(ready) }, func(in xclient.Input) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, in)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("X client: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("the window did not come up: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the window did not come up")
	}
	return func() []xclient.Input {
		mu.Lock()
		defer mu.Unlock()
		return append([]xclient.Input(nil), heard...)
	}
}

// Every sample of a stroke comes to a client of X with the pressure that the browser told, to 1/65535, and with tilt and twist; the eraser and the
// barrel's buttons come as what they are.
func TestPenReachesXWhole(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1000, 700, "")
	x := w.x(t, s.ID)
	heard := heardInputs(t, x)

	const n = 1200
	var samples []browser.PenSample
	for i := range n {
		samples = append(samples, browser.PenSample{
			X: 50 + float64(i)*0.7, Y: 300, Pressure: float64(i+1) / (n + 1), TiltX: float64(i%120 - 60), TiltY: float64(60 - i%120), Twist: int64(i % 360),
		})
	}
	if err := p.Scribble(samples); err != nil {
		t.Fatal(err)
	}
	var stroke []xclient.Input
	eventually(t, 30*time.Second, "X has told of the whole stroke", func() error {
		stroke = nil
		for _, in := range heard() {
			if in.Device == "Easel pen" {
				stroke = append(stroke, in)
			}
		}
		if len(stroke) == 0 || stroke[len(stroke)-1].Kind != xclient.InputRelease {
			return fmt.Errorf("%d events, no release at the end", len(stroke))
		}
		return nil
	})
	at := map[int]xclient.Input{} // by pressure
	for _, in := range stroke {
		at[int(math.Round(in.Axes[axisPressure]))] = in
	}
	missing := 0
	for _, s := range samples {
		in, ok := at[int(math.Round(float64(float32(s.Pressure))*65535))]
		if !ok {
			missing++
			continue
		}
		if math.Abs(in.Axes[axisTiltX]-s.TiltX*100) > 1 || math.Abs(in.Axes[axisTiltY]-s.TiltY*100) > 1 || in.Axes[axisTwist] != float64(s.Twist*100) {
			t.Fatalf("the sample %+v came as %+v", s, in)
		}
	}
	if missing > 0 || len(at) < 1024 {
		t.Errorf("%d of %d samples did not come; %d pressures did", missing, n, len(at))
	}
	if last := stroke[len(stroke)-1]; last.Button != 1 {
		t.Errorf("the tip is button %d", last.Button)
	}

	before := len(heard())
	for _, b := range []browser.Button{browser.Right, browser.Middle} {
		if err := p.Barrel(b, browser.PenSample{X: 200, Y: 200}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Erase(samples[:20]); err != nil {
		t.Fatal(err)
	}
	want := []string{"press 3 of Easel pen", "release 3 of Easel pen", "press 2 of Easel pen", "release 2 of Easel pen", "press 1 of Easel eraser", "release 1 of Easel eraser"}
	eventually(t, 30*time.Second, "X tells of buttons and eraser", func() error {
		var got []string
		for _, in := range heard()[before:] {
			switch in.Kind {
			case xclient.InputPress:
				got = append(got, fmt.Sprintf("press %d of %s", in.Button, in.Device))
			case xclient.InputRelease:
				got = append(got, fmt.Sprintf("release %d of %s", in.Button, in.Device))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("it tells of %q, want %q", got, want)
		}
		return nil
	})
}

// dark counts the dark pixels of an area of the remote screen.
func dark(x *xclient.Screen, area image.Rectangle) (int, error) {
	img, err := x.Grab(area)
	if err != nil {
		return 0, err
	}
	n := 0
	for col := area.Min.X; col < area.Max.X; col++ {
		n += thickness(img, col)
	}
	return n, nil
}

// What an artist does with a pen, in what GIMP draws: it hovers without a trace, paints, leans, erases with its other end, and its barrel opens
// GIMP's menu and moves the picture.
func TestPenInGIMP(t *testing.T) {
	p, x, canvas := get(t).newImage(t)
	middle := canvas.Min.Add(canvas.Max).Div(2)
	line := func(y int) (samples []browser.PenSample) {
		for i := range 40 {
			samples = append(samples, browser.PenSample{X: float64(middle.X - 200 + i*10), Y: float64(y), Pressure: 0.5})
		}
		return samples
	}
	around := func(y int) image.Rectangle { return image.Rect(middle.X-260, y-50, middle.X+260, y+50) }
	away := func() {
		t.Helper()
		if err := p.Hover(browser.PenSample{X: float64(canvas.Min.X + 5), Y: float64(canvas.Max.Y - 5)}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what string, area image.Rectangle, fits func(pixels int) bool) int {
		t.Helper()
		var n int
		eventually(t, 30*time.Second, what, func() (err error) {
			if n, err = dark(x, area); err == nil && !fits(n) {
				err = fmt.Errorf("%d pixels are dark", n)
			}
			return err
		})
		return n
	}
	pause := func() { time.Sleep(4 * time.Millisecond) }

	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	for _, s := range line(middle.Y) {
		if err := p.Hover(s); err != nil {
			t.Fatal(err)
		}
	}
	end := line(middle.Y)[39]
	eventually(t, 30*time.Second, "the pointer has followed the pen", func() error {
		at, err := x.Pointer()
		if err == nil && at != image.Pt(int(end.X), int(end.Y)) {
			err = fmt.Errorf("it is at %v", at)
		}
		return err
	})
	is("GIMP shows its brush under the pen that hovers", image.Rect(int(end.X)-60, int(end.Y)-60, int(end.X)+60, int(end.Y)+60), func(n int) bool { return n > 0 })
	away()
	is("nothing is left of a pen that hovered", around(middle.Y), func(n int) bool { return n == 0 })

	if err := p.Stroke(line(middle.Y), pause); err != nil {
		t.Fatal(err)
	}
	away()
	painted := is("the tip has painted", around(middle.Y), func(n int) bool { return n > 3000 })
	half := line(middle.Y)[20:]
	if err := p.Erase(half); err != nil {
		t.Fatal(err)
	}
	away()
	is("the other end has erased half of it", around(middle.Y), func(n int) bool { return n > painted/5 && n < painted*4/5 })
	if err := p.Stroke(line(middle.Y+110), pause); err != nil {
		t.Fatal(err)
	}
	away()
	is("the tip paints again", around(middle.Y+110), func(n int) bool { return n > 3000 })

	// The barrel's first button is GIMP's menu, a second one moves the picture.
	popups := func() int {
		t.Helper()
		n, err := x.Popups()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := popups(); n != 0 {
		t.Fatalf("%d menus are open", n)
	}
	if err := p.Barrel(browser.Right, browser.PenSample{X: float64(middle.X), Y: float64(canvas.Min.Y + 20)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "GIMP's menu is open", func() error {
		if popups() == 0 {
			return errors.New("no menu is")
		}
		return nil
	})
	if err := p.Type(browser.Key{Key: "Escape", Code: "Escape", Windows: 27}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the menu is gone", func() error {
		if n := popups(); n > 0 {
			return fmt.Errorf("%d menus are open", n)
		}
		return nil
	})
	before := is("the second stroke is where it was", around(middle.Y+110), func(n int) bool { return n > 3000 })
	from, to := browser.PenSample{X: float64(middle.X - 200), Y: float64(middle.Y - 100)}, browser.PenSample{X: float64(middle.X - 200), Y: float64(middle.Y - 220)}
	if err := p.Barrel(browser.Middle, from, browser.PenSample{X: from.X, Y: (from.Y + to.Y) / 2}, to); err != nil {
		t.Fatal(err)
	}
	away()
	is("the picture has moved", around(middle.Y-10), func(n int) bool { return n > before*9/10 })
}

// TestHatchingIsLinesApart draws lines side by side as quickly as a browser takes them, each from the
// top: GIMP's lines are whole, and nothing joins one's end and the next one's beginning.
func TestHatchingIsLinesApart(t *testing.T) {
	p, x, canvas := get(t).newImage(t)
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	const apart = 40
	top, bottom := canvas.Min.Y+60, canvas.Max.Y-60
	var at []int
	for col := canvas.Min.X + 60; col < canvas.Max.X-60; col += apart {
		var line []browser.PenSample
		for i := range 8 {
			line = append(line, browser.PenSample{X: float64(col), Y: float64(top) + float64((bottom-top)*i)/7, Pressure: 0.1})
		}
		if err := p.Stroke(line, func() {}); err != nil {
			t.Fatal(err)
		}
		at = append(at, col)
	}
	if err := p.Move(float64(canvas.Min.X-10), float64(canvas.Min.Y-10)); err != nil {
		t.Fatal(err)
	}
	// GIMP drops a press that another one follows before it has taken it, as on a busy machine; never the last one.
	eventually(t, 60*time.Second, "GIMP has drawn the last line, those before it whole or not at all, and nothing between them", func() error {
		img, err := x.Grab(canvas)
		if err != nil {
			return err
		}
		for i, col := range at {
			n := thickness(img, col)
			if dropped := n == 0 && i < len(at)-1; n < bottom-top-20 && !dropped {
				return fmt.Errorf("the line at %d is dark in %d of its %d pixels", col, n, bottom-top)
			}
			if n := thickness(img, col+apart/2); n > 0 {
				return fmt.Errorf("%d pixels are dark between the line at %d and the next", n, col)
			}
		}
		return nil
	})
}

package integration

import (
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// window waits for the window of this title (its beginning), where it fits.
func window(t *testing.T, x *xclient.Screen, title string, fits func(xclient.Window) bool) (found xclient.Window) {
	t.Helper()
	eventually(t, 30*time.Second, "the window "+title, func() error {
		all, err := x.Windows()
		if err != nil {
			return err
		}
		for _, w := range all {
			if strings.HasPrefix(w.Title, title) && fits(w) {
				found = w
				return nil
			}
		}
		return fmt.Errorf("there are %+v", all)
	})
	return found
}

func noWindow(t *testing.T, x *xclient.Screen, title string) {
	t.Helper()
	eventually(t, 30*time.Second, "no window "+title, func() error {
		all, err := x.Windows()
		for _, w := range all {
			if err == nil && strings.HasPrefix(w.Title, title) {
				err = fmt.Errorf("it is at %v", w.Area)
			}
		}
		return err
	})
}

func anywhere(xclient.Window) bool { return true }

const newImage = "Create a New Image"

var (
	keyN   = browser.Key{Key: "n", Code: "KeyN", Windows: 78}
	escape = browser.Key{Key: "Escape", Code: "Escape", Windows: 27}
)

// A second browser window is a second monitor: GIMP's windows can be dragged there, are seen and used there, and come back when it closes.
func TestSecondWindowIsASecondMonitor(t *testing.T) {
	w := get(t)
	s := w.session(t)
	one := w.unscaled(t, s.ID, 1000, 700, "")
	x := w.x(t, s.ID)
	if _, err := artist.NewImage(one, x); err != nil {
		t.Fatal(err)
	}
	two := w.unscaledIn(t, s.ID, browser.PageOptions{Width: 800, Height: 600, Window: true}, "&screen=2")
	eventually(t, 30*time.Second, "two screens side by side", func() error {
		if size, err := x.Size(); err != nil || size != image.Pt(1800, 700) {
			return fmt.Errorf("the X screen is %v (%v)", size, err)
		}
		if err := hasSize(one, 1000, 700); err != nil {
			return err
		}
		return hasSize(two, 800, 600)
	})
	main := window(t, x, "[Untitled]", anywhere)
	if main.Area != image.Rect(0, 0, 1000, 700) {
		t.Errorf("GIMP's maximised window is at %v, want it on the first monitor", main.Area)
	}

	// On the second monitor it fills that, and the pen draws there.
	if err := x.Place(main, image.Pt(1100, 50)); err != nil {
		t.Fatal(err)
	}
	window(t, x, "[Untitled]", func(w xclient.Window) bool { return w.Area == image.Rect(1000, 0, 1800, 600) })
	if err := artist.Settled(x, nil, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	// GIMP may have fitted it into the smaller window.
	canvas, err := artist.Canvas(x, func(r image.Rectangle) bool { return r.Min.X > 1000 && r.Dx() >= 200 && r.Dy() >= 200 })
	if err != nil {
		t.Fatal(err)
	}
	penDraws(t, two, x, canvas, image.Pt(1000, 0))
	if err := x.Place(main, image.Pt(100, 50)); err != nil {
		t.Fatal(err)
	}
	window(t, x, "*[Untitled]", func(w xclient.Window) bool { return w.Area == image.Rect(0, 0, 1000, 700) })

	// By its title bar, from one browser window into the other.
	over := func() xclient.Window {
		t.Helper()
		if err := errors.Join(one.Front(), artist.Control(one, keyN)); err != nil {
			t.Fatal(err)
		}
		var seen image.Rectangle
		looks := 0
		dialog := window(t, x, newImage, func(w xclient.Window) bool { // GIMP puts it in its place after it is there
			if w.Area != seen {
				seen, looks = w.Area, 0
			}
			looks++
			return w.Bar > 0 && looks > 3
		})
		from := dialog.Grip()
		to := image.Pt(1150, 100) // no further: the protocol's mouse knows no place outside the browser's own window of 1200
		var way []image.Point
		for i := range 21 {
			way = append(way, from.Add(to.Sub(from).Mul(i).Div(20)))
		}
		if err := one.Drag(way...); err != nil {
			t.Fatal(err)
		}
		return window(t, x, newImage, func(w xclient.Window) bool { return w.Area.Min.X >= 1000 && w.Area.Max.X <= 1800 })
	}
	dialog := over()
	eventually(t, 30*time.Second, "the dialog in the second browser window", func() error { return shows(two, x, dialog.Area, image.Pt(1000, 0)) })
	// The rightmost button of openbox's title bar closes.
	if err := two.Click(float64(dialog.Area.Max.X-1000-8), float64(dialog.Grip().Y), browser.Left); err != nil {
		t.Fatal(err)
	}
	noWindow(t, x, newImage)

	over()
	two.Close()
	eventually(t, 30*time.Second, "one screen again", func() error {
		if size, err := x.Size(); err != nil || size != image.Pt(1000, 700) {
			return fmt.Errorf("the X screen is %v (%v)", size, err)
		}
		return hasSize(one, 1000, 700)
	})
	back := window(t, x, newImage, func(w xclient.Window) bool { return w.Area.Min.X >= 0 && w.Area.Max.X <= 1000 && w.Area.Max.Y <= 700 })
	eventually(t, 30*time.Second, "the dialog in the first browser window", func() error { return shows(one, x, back.Area, image.Point{}) })
	// By its button again: which window has the keys by now is the window manager's to say.
	if err := one.Click(float64(back.Area.Max.X-8), float64(back.Grip().Y), browser.Left); err != nil {
		t.Fatal(err)
	}
	noWindow(t, x, newImage)
}

// penDraws draws a line by pen on an empty canvas and looks for it in GIMP's window. The page shows the part of the X screen that begins at origin.
func penDraws(t *testing.T, p *browser.Page, x *xclient.Screen, canvas image.Rectangle, origin image.Point) {
	t.Helper()
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil { // the paintbrush
		t.Fatal(err)
	}
	middle := canvas.Min.Add(canvas.Size().Div(2))
	var line []browser.PenSample
	for i := range 40 {
		line = append(line, browser.PenSample{X: float64(middle.X - origin.X - 60 + i*3), Y: float64(middle.Y - origin.Y), Pressure: 0.8})
	}
	if err := p.Stroke(line, func() { time.Sleep(8 * time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the stroke on the canvas", func() error {
		img, err := x.Grab(image.Rect(middle.X-200, middle.Y-40, middle.X+200, middle.Y+40))
		if err != nil {
			return err
		}
		for _, dx := range []int{-40, 0, 40} {
			if c := img.RGBAAt(middle.X+dx, middle.Y); c.R > 200 {
				return fmt.Errorf("%d px from its middle it is %v", dx, c)
			}
		}
		return nil
	})
}

// shows tells whether a page shows a part of the X screen whose corner is at origin there.
func shows(p *browser.Page, x *xclient.Screen, r image.Rectangle, origin image.Point) error {
	want, err := x.Grab(r)
	if err != nil {
		return err
	}
	got, err := p.Pixels(r.Sub(origin))
	if err != nil {
		return err
	}
	wrong := 0
	for y := range r.Dy() {
		for i := range r.Dx() * 4 {
			if d := int(want.Pix[y*want.Stride+i]) - int(got.Pix[y*got.Stride+i]); d < -40 || d > 40 {
				wrong++
			}
		}
	}
	if wrong*50 > r.Dx()*r.Dy()*4 {
		return fmt.Errorf("%d of %d bytes differ", wrong, r.Dx()*r.Dy()*4)
	}
	return nil
}

// GIMP's interface is as large as the display's pixels ask for, and follows when the window moves to another display.
func TestInterfaceScalesWithTheDisplay(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "chrome=0", browser.PageOptions{Width: 1600, Height: 1000})
	x := w.x(t, s.ID)
	if err := artist.Settled(x, nil, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	var usual image.Point
	for _, c := range []struct {
		dpr         float64
		least, most float64 // how much larger a dialog is than at 1
	}{{1, 1, 1}, {2, 1.8, 2.2}, {1.5, 1.2, 1.8}, {1, 0.95, 1.05}} {
		if err := p.Resize(int(1600/c.dpr), int(1000/c.dpr), c.dpr); err != nil {
			t.Fatal(err)
		}
		// GTK takes the new scale up when it gets to it: the dialog is opened anew until it fits.
		eventually(t, 40*time.Second, fmt.Sprintf("a dialog that is larger at a ratio of %g", c.dpr), func() error {
			if err := artist.Control(p, keyN); err != nil {
				return err
			}
			dialog := window(t, x, newImage, anywhere)
			if err := p.Type(escape); err != nil {
				return err
			}
			noWindow(t, x, newImage)
			if usual == (image.Point{}) {
				usual = dialog.Area.Size()
			}
			if got := float64(dialog.Area.Dx()) / float64(usual.X); got < c.least || got > c.most {
				return fmt.Errorf("it is %v instead of %v: %.2f times, want %g to %g", dialog.Area.Size(), usual, got, c.least, c.most)
			}
			return nil
		})
	}
}

// A streamer that is killed under two windows is followed by one that shows both screens again, and takes pointer and keys from both.
func TestStreamerDiesUnderTwoWindows(t *testing.T) {
	w := get(t)
	s := w.session(t)
	one := w.unscaledIn(t, s.ID, browser.PageOptions{Width: 1000, Height: 700, Window: true}, "")
	two := w.unscaledIn(t, s.ID, browser.PageOptions{Width: 800, Height: 600, Window: true}, "&screen=2")
	x := w.x(t, s.ID)
	both := func() {
		t.Helper()
		eventually(t, 60*time.Second, "two screens side by side", func() error {
			if size, err := x.Size(); err != nil || size != image.Pt(1800, 700) {
				return fmt.Errorf("the X screen is %v (%v)", size, err)
			}
			return errors.Join(hasSize(one, 1000, 700), hasSize(two, 800, 600))
		})
	}
	both()
	// What changes with each click lies on both screens.
	target, n := xclient.Target{Area: image.Rect(600, 100, 1400, 500)}, 0
	while(t, func(ctx context.Context, ready func(), pressed chan<- xclient.Press) error {
		return x.Click(ctx, target, ready, func(_ int, p xclient.Press) { pressed <- p })
	}, func(presses <-chan xclient.Press) {
		clicks := func() {
			t.Helper()
			for _, c := range []struct {
				page *browser.Page
				at   image.Point
			}{{one, image.Pt(300, 250)}, {two, image.Pt(1350, 260)}} {
				origin := image.Pt(c.at.X/1000*1000, 0)
				must(t, c.page.Front())
				must(t, c.page.Click(float64(c.at.X-origin.X), float64(c.at.Y), browser.Left))
				if p := receive(t, presses, fmt.Sprint("a click at ", c.at)); p.At != c.at {
					t.Fatalf("a click at %v came at %v", c.at, p.At)
				}
				n++
				showsTarget(t, one, two, target, n)
			}
		}
		clicks()
		before := w.inspect(t, s.ID).GetPids().GetStreamer()
		must(t, killPID(before))
		eventually(t, 30*time.Second, "another streamer", func() error {
			if now := w.inspect(t, s.ID).GetPids().GetStreamer(); now == before || now == 0 {
				return fmt.Errorf("it is %d", now)
			}
			return nil
		})
		for _, p := range []*browser.Page{one, two} {
			must(t, p.Until(60*time.Second, "window.easel.state === 'connected'"))
		}
		both()
		clicks() // the client draws anew then: where the second screen went for a while, X has lost what it had drawn
	})
	// Who has the keys in X now is the window manager's to say: a click gives them to GIMP.
	must(t, one.Click(500, 350, browser.Left))
	for _, p := range []*browser.Page{one, two} {
		must(t, errors.Join(p.Front(), artist.Control(p, keyN)))
		window(t, x, newImage, anywhere)
		must(t, p.Type(escape))
		noWindow(t, x, newImage)
	}
}

// showsTarget waits until two windows side by side, the second from 1000 px on, show the target as it is after n clicks.
func showsTarget(t *testing.T, one, two *browser.Page, target xclient.Target, n int) {
	t.Helper()
	var left, right []image.Point
	for _, p := range target.Points() {
		if p.X < 1000 {
			left = append(left, p)
		} else {
			right = append(right, p.Sub(image.Pt(1000, 0)))
		}
	}
	colour := xclient.Palette[n%len(xclient.Palette)]
	must(t, one.Shows(30*time.Second, colour, left...))
	must(t, two.Shows(30*time.Second, colour, right...))
}

// while has an X client run, which tells of events once it is ready, as long as do takes.
func while[E any](t *testing.T, run func(ctx context.Context, ready func(), events chan<- E) error, do func(events <-chan E)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, events, ended := make(chan struct{}), make(chan E, 64), make(chan error, 1)
	go func() { ended <- run(ctx, func() { close(ready) }, events) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("X client: %v", err)
		}
	}()
	receive(t, ready, "the X client's window")
	do(events)
}

// receive waits for an event.
func receive[E any](t *testing.T, events <-chan E, what string) (e E) {
	t.Helper()
	select {
	case e = <-events:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s never came", what)
	}
	return e
}

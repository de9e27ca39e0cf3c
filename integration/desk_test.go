package integration

import (
	"encoding/json"
	"fmt"
	"image"
	"log/slog"
	"math"
	"testing"
	"time"

	"easel/images/gimp/pen/pentest"
	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// deskPen is a pen on an artist's desk: the driver of an X server on which a browser shows a session.
type deskPen struct {
	t    *testing.T
	hand pentest.Hand
	eval func(js string, into any) error
	// The desk's pixels left of and above the page, and where on it the session's screen is, in pixels of the desk.
	page   image.Point
	shown  struct{ X, Y, Width, Height float64 }
	remote image.Point
}

// penEvent is what the browser tells a page of a pen.
type penEvent struct {
	Type, Kind         string
	X, Y, DeskX, DeskY float64
	Pressure           float64
	TiltX, TiltY       float64
	Twist              float64
	Button, Buttons    int
}

const noteEvents = `(() => {
	window.__pen = [];
	for (const type of ["pointermove", "pointerdown", "pointerup"])
		addEventListener(type, (e) => __pen.push({
			type, kind: e.pointerType, x: e.clientX, y: e.clientY, deskX: e.screenX, deskY: e.screenY, pressure: e.pressure,
			tiltX: e.tiltX, tiltY: e.tiltY, twist: e.twist, button: e.button, buttons: e.buttons }), true);
	const r = document.getElementById("screen").getBoundingClientRect();
	return { shown: { x: r.x, y: r.y, width: r.width, height: r.height }, remote: __probe.size() };
})()`

// holdPen takes the pen of a desk, over the page in which the browser shows a session at (or near) the middle of the desk.
func holdPen(t *testing.T, desk *pentest.Server, eval func(js string, into any) error) *deskPen {
	t.Helper()
	p := &deskPen{t: t, hand: desk.Hand(t), eval: eval}
	var at struct {
		Shown  struct{ X, Y, Width, Height float64 }
		Remote struct{ Width, Height int }
	}
	if err := eval(noteEvents, &at); err != nil {
		t.Fatal(err)
	}
	p.shown, p.remote = at.Shown, image.Pt(at.Remote.Width, at.Remote.Height)
	middle := image.Pt(500, 500)
	p.hand.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Stylus, X: float64(middle.X - 9), Y: float64(middle.Y)})
	p.hand.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Stylus, X: float64(middle.X), Y: float64(middle.Y)})
	eventually(t, 30*time.Second, "the page is told of the pen", func() error {
		events := p.events()
		if len(events) == 0 {
			return fmt.Errorf("of nothing so far")
		}
		last := events[len(events)-1]
		if image.Pt(int(last.DeskX), int(last.DeskY)) != middle || last.Kind != "pen" {
			return fmt.Errorf("of %+v last", last)
		}
		p.page = middle.Sub(image.Pt(int(math.Round(last.X)), int(math.Round(last.Y))))
		return nil
	})
	return p
}

// events are what the page has been told of the pen.
func (p *deskPen) events() (all []penEvent) {
	p.t.Helper()
	if err := p.eval("__pen", &all); err != nil {
		p.t.Fatal(err)
	}
	return all
}

// do has a tool of the pen do something at a place of the session's screen.
func (p *deskPen) do(kind, device, button byte, x, y float64, r pentest.Record) {
	p.t.Helper()
	r.Kind, r.Device, r.Button = kind, device, button
	r.X = float64(p.page.X) + p.shown.X + x*p.shown.Width/float64(p.remote.X)
	r.Y = float64(p.page.Y) + p.shown.Y + y*p.shown.Height/float64(p.remote.Y)
	p.hand.Do(r)
}

// tap touches down with a button of a tool and lifts it, once the session's X server knows of the first.
func (p *deskPen) tap(device, button byte, at image.Point, pressed func() error) {
	p.t.Helper()
	x, y := float64(at.X), float64(at.Y)
	p.do(pentest.Motion, device, 0, x, y, pentest.Record{})
	p.do(pentest.Press, device, button, x, y, pentest.Record{Pressure: 20000})
	eventually(p.t, 30*time.Second, fmt.Sprintf("button %d is down", button), pressed)
	p.do(pentest.Release, device, button, x, y, pentest.Record{})
}

// stroke draws with a tool through places of the session's screen, at pressures from the first to the last. Each sample is one that the page is told
// of before the next: how many a browser makes one of is not what matters.
func (p *deskPen) stroke(device byte, from, to image.Point, n int, pressure func(i int) uint16) {
	p.t.Helper()
	at := func(i int) (x, y float64) {
		f := float64(i) / float64(n-1)
		return float64(from.X) + f*float64(to.X-from.X), float64(from.Y) + f*float64(to.Y-from.Y)
	}
	x, y := at(0)
	p.do(pentest.Motion, device, 0, x, y, pentest.Record{})
	p.do(pentest.Press, device, 1, x, y, pentest.Record{Pressure: pressure(0)})
	for i := range n {
		x, y := at(i)
		told := len(p.events())
		p.do(pentest.Motion, device, 0, x, y, pentest.Record{Pressure: pressure(i)})
		if i == 0 {
			continue // the place of the press
		}
		eventually(p.t, 30*time.Second, "the page is told of the pen", func() error {
			if len(p.events()) == told {
				return fmt.Errorf("%d events so far", told)
			}
			return nil
		})
	}
	x, y = at(n - 1)
	p.do(pentest.Release, device, 1, x, y, pentest.Record{})
	p.do(pentest.Away, device, 0, x, y, pentest.Record{})
}

// chromiumDesk opens a session in Chromium on a desk of its own.
func (w *world) chromiumDesk(t *testing.T, id string) (*browser.Page, *deskPen) {
	t.Helper()
	desk := pentest.Start(t)
	p := w.chromiumOn(t, id, desk.Env())
	return p, holdPen(t, desk, func(js string, into any) error { return evalIn(p, js, into) })
}

// evalIn gives the value of a JavaScript expression in a page.
func evalIn(p *browser.Page, js string, into any) error {
	text, err := browser.Eval[string](p, 20*time.Second, "JSON.stringify("+js+")")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

// chromiumOn opens a session in a Chromium with a window on a desk, given by the environment of its clients.
func (w *world) chromiumOn(t *testing.T, id string, env []string) *browser.Page {
	t.Helper()
	chrome, err := browser.StartChromiumOn(t.Context(), slog.New(slog.DiscardHandler), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chrome.Close)
	p, err := w.artist.ViewIn(chrome, id, "scale=1&chrome=0&size=1200x800", browser.PageOptions{Width: 1200, Height: 800})
	if err != nil {
		t.Fatal(err)
	}
	if err := artist.AwaitPicture(p, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the page shows the screen", func() error { return hasSize(p, 1200, 800) })
	return p
}

// A pen that is hardware to Chromium is one in the session: its pressure to 1/65535, its tilt, its barrel's buttons; and GIMP paints with it.
func TestPenOfADeskInChromium(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p, pen := w.chromiumDesk(t, s.ID)
	x := w.x(t, s.ID)
	t.Run("X", func(t *testing.T) {
		heard := heardInputs(t, x)
		comes := func(what string, fits func(xclient.Input) bool) xclient.Input {
			t.Helper()
			var found xclient.Input
			eventually(t, 30*time.Second, what, func() error {
				for _, in := range heard() {
					if fits(in) {
						found = in
						return nil
					}
				}
				return fmt.Errorf("not among %d events", len(heard()))
			})
			return found
		}
		button := func(kind, button int) func(xclient.Input) bool {
			return func(in xclient.Input) bool { return in.Kind == kind && in.Button == button && in.Device == "Easel pen" }
		}
		const n = 60
		for i := range n {
			r := pentest.Record{Pressure: uint16(1 + 65534*i/(n-1)), TiltX: int16(i - 30), TiltY: int16(30 - i)} // Chromium takes a tilt for degrees
			kind := byte(pentest.Motion)
			if i == 0 {
				kind = pentest.Press
			}
			pen.do(kind, pentest.Stylus, 1, float64(100+i*10), 300, r)
			in := comes(fmt.Sprintf("a sample of pressure %d", r.Pressure), func(in xclient.Input) bool { return int(math.Round(in.Axes[axisPressure])) == int(r.Pressure) })
			if in.Device != "Easel pen" || math.Abs(in.Axes[0]-float64(100+i*10)) > 1 || math.Abs(in.Axes[1]-300) > 1 || in.Axes[axisTiltX] != float64(r.TiltX)*100 || in.Axes[axisTiltY] != float64(r.TiltY)*100 {
				t.Fatalf("the sample %+v came as %+v", r, in)
			}
		}
		pen.do(pentest.Release, pentest.Stylus, 1, 100+(n-1)*10, 300, pentest.Record{})
		comes("the tip is lifted", button(xclient.InputRelease, 1))
		for _, b := range []byte{2, 3} {
			pen.tap(pentest.Stylus, b, image.Pt(300, 200), func() error {
				comes("the barrel's button", button(xclient.InputPress, int(b)))
				return nil
			})
			comes("the barrel's button is up", button(xclient.InputRelease, int(b)))
		}
		for _, e := range pen.events() {
			if e.Kind != "pen" {
				t.Errorf("Chromium told of %+v", e)
			}
		}
	})
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	middle := canvas.Min.Add(canvas.Max).Div(2)
	from, to := image.Pt(canvas.Min.X+canvas.Dx()/6, middle.Y), image.Pt(canvas.Max.X-canvas.Dx()/6, middle.Y)
	pen.stroke(pentest.Stylus, from, to, 60, func(i int) uint16 { return uint16(1300 + 64200*i/59) })
	if err := p.Move(float64(canvas.Min.X-10), float64(canvas.Min.Y-10)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "GIMP's stroke tapers", func() error {
		img, err := x.Grab(image.Rect(from.X, middle.Y-60, to.X, middle.Y+60).Intersect(canvas))
		if err != nil {
			return err
		}
		return tapers(img)
	})
}

// With Firefox, which tells which end of a pen touches (Chromium does not on X), the other end erases what the tip painted.
func TestPenOfADeskInFirefox(t *testing.T) {
	w := get(t)
	s := w.session(t)
	before := w.unscaled(t, s.ID, 1200, 800, "")
	x := w.x(t, s.ID)
	canvas, err := artist.NewImage(before, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	desk := pentest.Start(t)
	f, err := browser.StartFirefoxOn(t.Context(), append(desk.Env(), "MOZ_USE_XINPUT2=1")) // without which it takes a pen for a mouse
	// At the size of before, as another would move GIMP's canvas.
	w.showsIn(t, s.ID, f, err, "&scale=1&chrome=0&size=1200x800",
		"window.easel?.state === 'connected' && __probe.size().width === 1200 && __probe.size().height === 800")
	pen := holdPen(t, desk, func(js string, into any) error { return f.Eval(t.Context(), js, into) })
	middle := canvas.Min.Add(canvas.Max).Div(2)
	left, right := middle.Sub(image.Pt(140, 0)), middle.Add(image.Pt(140, 0))
	band := image.Rect(left.X-40, middle.Y-50, right.X+40, middle.Y+50)
	painted := 0
	pen.stroke(pentest.Stylus, left, right, 30, func(int) uint16 { return 40000 })
	eventually(t, 30*time.Second, "the tip has painted", func() (err error) {
		if painted, err = dark(x, band); err == nil && painted < 1000 {
			err = fmt.Errorf("%d pixels are dark", painted)
		}
		return err
	})
	pen.stroke(pentest.Eraser, middle, right, 20, func(int) uint16 { return 40000 })
	eventually(t, 30*time.Second, "the other end has erased half of it", func() error {
		n, err := dark(x, band)
		if err == nil && (n < painted/5 || n > painted*4/5) {
			err = fmt.Errorf("%d of %d pixels are dark", n, painted)
		}
		return err
	})
	var erased bool
	for _, e := range pen.events() {
		erased = erased || e.Buttons == 32 && e.Kind == "pen"
	}
	if !erased {
		t.Errorf("Firefox told of no eraser: %+v", pen.events())
	}
}

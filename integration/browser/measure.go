package browser

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"time"

	"github.com/chromedp/chromedp"
)

// Latency is the time of one click to its picture.
type Latency struct {
	Event time.Duration // from the event's own time stamp
	Page  time.Duration // from the page's first handler
}

// Animate has the page produce frames all the time, as under a moving hand, or stops that. Chromium then hands messages of
// data channels and WebSockets over at frames only.
func (p *Page) Animate(on bool) error { return p.Do(fmt.Sprintf("__probe.animate(%t)", on)) }

// ClickToPhoton presses the left button at a place (CSS pixels), where the mouse must be already, and waits until all
// points of the remote screen show the colour: at rest as the browser tells of a picture, animating as a frame finds it.
func (p *Page) ClickToPhoton(at image.Point, c color.RGBA, points []image.Point) (Latency, error) {
	const limit = 5 * time.Second
	ctx, cancel := context.WithTimeout(p.ctx, limit+5*time.Second)
	defer cancel()
	arm := fmt.Sprintf("window.__click=__probe.click(%s,%s,%d);window.__click.catch(()=>0);0", pointsJS(points), colorJS(c), limit.Milliseconds())
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int](arm)); err != nil {
		return Latency{}, fmt.Errorf("arm the probe: %w", err)
	}
	if err := p.Press(float64(at.X), float64(at.Y), Left); err != nil {
		return Latency{}, err
	}
	t, err := Eval[struct{ Stamp, Seen, Shown float64 }](p, limit+5*time.Second, "window.__click")
	if err != nil {
		return Latency{}, err
	}
	if err := p.Release(float64(at.X), float64(at.Y), Left); err != nil {
		return Latency{}, err
	}
	return Latency{Event: millis(t.Shown - t.Stamp), Page: millis(t.Shown - t.Seen)}, nil
}

// Received is how many bytes have come to the page by WebRTC and WebSockets, without what these add themselves.
func (p *Page) Received() (int64, error) {
	n, err := Eval[float64](p, 10*time.Second, "__probe.received()")
	return int64(n), err
}

// Shown is one picture that the page showed: the marker's counter, -1 when it could not be read, and when.
type Shown struct {
	Counter int
	At      time.Time
}

// Watch collects every picture that the page shows for a while.
func (p *Page) Watch(d time.Duration) ([]Shown, error) {
	return p.WatchWhile(d, func() error { return nil })
}

// WatchWhile collects every picture that the page shows for a while, and does something in the page meanwhile.
func (p *Page) WatchWhile(d time.Duration, do func() error) ([]Shown, error) {
	if err := p.Do(fmt.Sprintf("window.__watch=__probe.watch(%d);0", d.Milliseconds())); err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	v, err := Eval[[]float64](p, d+20*time.Second, "window.__watch")
	if err != nil {
		return nil, err
	}
	out := make([]Shown, 0, len(v)/2)
	for i := 0; i+1 < len(v); i += 2 {
		out = append(out, Shown{Counter: int(v[i]), At: time.UnixMicro(int64(v[i+1] * 1000))})
	}
	return out, nil
}

// First is each picture once, when it was first shown; what shows an older picture than the one before it, or none that can be read, is left out.
func First(shown []Shown) []Shown {
	var first []Shown
	newest := -1
	for _, s := range shown {
		if s.Counter > newest {
			first, newest = append(first, s), s.Counter
		}
	}
	return first
}

func millis(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }

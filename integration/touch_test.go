package integration

import (
	"errors"
	"fmt"
	"image"
	"math"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// dots paints two dots on a canvas, and shows it at its own size, larger than GIMP's window.
func dots(t *testing.T, p *browser.Page, x *xclient.Screen, canvas image.Rectangle) {
	t.Helper()
	draws(t, x, "the image at its own size", func() error { return p.Type(browser.Key{Key: "1", Code: "Digit1", Windows: 49}) })
	draws(t, x, "the pencil", func() error { return p.Type(browser.Key{Key: "n", Code: "KeyN", Windows: 78}) })
	middle := canvas.Min.Add(canvas.Max).Div(2)
	for _, q := range []image.Point{middle.Sub(image.Pt(110, 40)), middle.Add(image.Pt(110, 40))} {
		if err := p.Click(float64(q.X), float64(q.Y), browser.Left); err != nil {
			t.Fatal(err)
		}
		// GIMP drops a click that another one follows before it has taken it.
		eventually(t, 30*time.Second, "a dot is painted", func() error {
			n, err := dark(x, image.Rectangle{q, q}.Inset(-40))
			if err == nil && n < 1000 {
				err = fmt.Errorf("%d pixels are dark", n)
			}
			return err
		})
	}
	if err := p.Move(float64(middle.X), float64(middle.Y)); err != nil {
		t.Fatal(err)
	}
}

// settledDots waits until the dots are seen at the same places twice, and says where they are.
func settledDots(x *xclient.Screen, canvas image.Rectangle) ([2]browser.Place, error) {
	last, err := findDots(x, canvas)
	for range 40 {
		time.Sleep(150 * time.Millisecond)
		now, nowErr := findDots(x, canvas)
		if err == nil && nowErr == nil && now == last {
			return now, nil
		}
		last, err = now, nowErr
	}
	return last, fmt.Errorf("they do not come to rest: %w", err)
}

// findDots says where the middles of the two dark dots within an area are, the left one first.
func findDots(x *xclient.Screen, area image.Rectangle) (found [2]browser.Place, err error) {
	img, err := x.Grab(area)
	if err != nil {
		return found, err
	}
	n, sumX, sumY, count := 0, 0, 0, 0
	for col := area.Min.X; col < area.Max.X; col++ {
		before := count
		for y := area.Min.Y; y < area.Max.Y; y++ {
			if c := img.RGBAAt(col, y); int(c.R)+int(c.G)+int(c.B) < 60 {
				sumX, sumY, count = sumX+col, sumY+y, count+1
			}
		}
		const specks = 100 // pixels: the outline of a brush is no dot
		if count > before || count == 0 {
			continue
		}
		if count > specks && n < len(found) {
			found[n] = browser.Place{X: float64(sumX) / float64(count), Y: float64(sumY) / float64(count)}
			n++
		}
		sumX, sumY, count = 0, 0, 0
	}
	if n < len(found) {
		return found, fmt.Errorf("%d dots are in sight", n)
	}
	return found, nil
}

// pans moves two fingers over the picture together, by ways of so many steps, slow and quick, and looks that the dots on it go with them to the pixel.
func pans(t *testing.T, p *browser.Page, x *xclient.Screen, canvas image.Rectangle, layout string) {
	t.Helper()
	var at [2]browser.Place
	eventually(t, 30*time.Second, "two dots are on GIMP's canvas", func() (err error) {
		at, err = settledDots(x, canvas)
		return err
	})
	middle := browser.Place{X: float64(canvas.Min.X+canvas.Max.X) / 2, Y: float64(canvas.Min.Y+canvas.Max.Y) / 2}
	for _, c := range []struct {
		dx, dy float64
		steps  int
	}{{0, 100, 20}, {0, -100, 100}, {100, 0, 60}, {-100, 0, 3}, {60, -80, 40}, {-60, 80, 5}} {
		way := func(offset float64) []browser.Place {
			from := browser.Place{X: middle.X + offset, Y: middle.Y}
			return browser.Line(from, browser.Place{X: from.X + c.dx, Y: from.Y + c.dy}, c.steps)
		}
		if err := p.Touch(way(-60), way(60)); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%s: the picture has gone by %g, %g in %d steps", layout, c.dx, c.dy, c.steps)
		var now [2]browser.Place
		eventually(t, 30*time.Second, what, func() (err error) {
			if now, err = settledDots(x, canvas); err != nil {
				return err
			}
			if dx, dy := now[0].X-at[0].X, now[0].Y-at[0].Y; math.Abs(dx-c.dx) > 1 || math.Abs(dy-c.dy) > 1 {
				return fmt.Errorf("it has by %.1f, %.1f", dx, dy)
			}
			return nil
		})
		at = now
	}
}

// GIMP's picture follows two fingers to the pixel, whatever else is in its window: with its docks at their first places and hidden. It grows and shrinks as far as they part.
func TestPictureFollowsTwoFingers(t *testing.T) {
	p, x, canvas := get(t).newImage(t)
	dots(t, p, x, canvas)
	pans(t, p, x, canvas, "as GIMP begins")
	draws(t, x, "no docks", func() error { return p.Type(browser.Key{Key: "Tab", Code: "Tab", Windows: 9}) })
	// GIMP sometimes forgets to keep its picture's place when its docks go. What then lies beyond its scroll bars' ends goes further in, and not back.
	draws(t, x, "the picture in the middle", func() error {
		shift := browser.Key{Key: "Shift", Code: "ShiftLeft", Windows: 16}
		return errors.Join(p.KeyDown(shift), p.Type(browser.Key{Key: "J", Code: "KeyJ", Windows: 74, Modifiers: browser.Shift}), p.KeyUp(shift))
	})
	pans(t, p, x, canvas, "without docks")
	at, err := settledDots(x, canvas)
	if err != nil {
		t.Fatal(err)
	}
	// Between the dots, so that both stay in sight.
	middle := browser.Place{X: (at[0].X + at[1].X) / 2, Y: (at[0].Y + at[1].Y) / 2}
	finger := func(offset, dx, dy float64, steps int) []browser.Place {
		return browser.Line(browser.Place{X: middle.X + offset, Y: middle.Y}, browser.Place{X: middle.X + offset + dx, Y: middle.Y + dy}, steps)
	}
	apart := func(d [2]browser.Place) float64 { return math.Hypot(d[1].X-d[0].X, d[1].Y-d[0].Y) }
	for _, c := range []struct {
		from, to float64
		steps    int
	}{{100, 170, 30}, {170, 100, 8}} {
		if err := p.Touch(finger(-c.from, c.from-c.to, 0, c.steps), finger(c.from, c.to-c.from, 0, c.steps)); err != nil {
			t.Fatal(err)
		}
		want := c.to / c.from
		what := fmt.Sprintf("the picture is %.2f times as large", want)
		var now [2]browser.Place
		eventually(t, 30*time.Second, what, func() (err error) {
			if now, err = settledDots(x, canvas); err != nil {
				return err
			}
			if got := apart(now) / apart(at); math.Abs(math.Log(got/want)) > 0.05 {
				return fmt.Errorf("it is %.3f times as large", got)
			}
			return nil
		})
		t.Logf("%s in %d steps: %.3f", what, c.steps, apart(now)/apart(at))
		at = now
	}
}

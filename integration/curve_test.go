package integration

import (
	"errors"
	"fmt"
	"image"
	"math"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
	"easel/noded/stream/contract"
)

// wave is where the stroke of TestGIMPDrawsTheCurveThatWasDrawn goes through column x, relative to its middle.
func wave(x, width float64) float64 { return 90 * math.Sin(2*math.Pi*1.5*x/width) }

// slope is how steep the wave is there.
func slope(x, width float64) float64 { return 90 * 3 * math.Pi / width * math.Cos(3*math.Pi*x/width) }

// waveOn is a stroke along the wave over a canvas, and where that begins, how wide it is and where its middle is.
func waveOn(canvas image.Rectangle) (from, width, middle float64, samples []browser.PenSample) {
	from, width = float64(canvas.Min.X+canvas.Dx()/8), float64(canvas.Dx()*3/4)
	middle = float64(canvas.Min.Y+canvas.Max.Y) / 2
	const n = 240
	for i := range n {
		at := width * float64(i) / (n - 1)
		samples = append(samples, browser.PenSample{X: from + at, Y: middle + wave(at, width), Pressure: 0.15})
	}
	return from, width, middle, samples
}

// drewWave waits until GIMP has drawn the wave, and says by how many pixels its stroke is off at most. The pen leaves the canvas before.
func drewWave(t *testing.T, p *browser.Page, x *xclient.Screen, canvas image.Rectangle) (worst float64) {
	t.Helper()
	if err := p.Move(float64(canvas.Min.X-10), float64(canvas.Min.Y-10)); err != nil {
		t.Fatal(err)
	}
	from, width, middle, _ := waveOn(canvas)
	band := image.Rect(int(from), int(middle)-130, int(from+width), int(middle)+130)
	eventually(t, 30*time.Second, "GIMP has drawn the wave", func() (err error) {
		worst, err = deviation(x, band, from, middle, width)
		return err
	})
	return worst
}

// TestGIMPDrawsTheCurveThatWasDrawn draws a wave with the pen over a link of 100 ms there and back that loses a twentieth each way, and
// compares what GIMP painted with it.
func TestGIMPDrawsTheCurveThatWasDrawn(t *testing.T) {
	link := openLink(t, 50*time.Millisecond, 11)
	w := get(t)
	_, p, x := w.overLink(t, link, 1600, 900)
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	link.Lose(0.05)
	_, _, _, samples := waveOn(canvas)
	if err := p.Stroke(samples, func() { time.Sleep(6 * time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	worst := drewWave(t, p, x, canvas)
	lost, passed := link.Counts()
	t.Logf("GIMP's stroke is off the pen's by at most %.2f px; %d of %d packets were lost", worst, lost, lost+passed)
	if lost == 0 {
		t.Error("the link lost nothing: nothing was proven")
	}
	w.measured(t, p)
}

// TestCurvePaintedInABlackoutIsInGIMP draws a wave while the network is gone for so long that the page gives the connection up. What was drawn then is in
// GIMP by the next one, all of it and in its shape.
func TestCurvePaintedInABlackoutIsInGIMP(t *testing.T) {
	link := openLink(t, 5*time.Millisecond, 12)
	_, p, x := get(t).overLink(t, link, 1600, 900)
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	_, _, _, samples := waveOn(canvas)
	drawn := 0
	if err := p.Stroke(samples, func() {
		if drawn++; drawn == len(samples)/3 {
			link.Dark(true)
		}
		time.Sleep(6 * time.Millisecond)
	}); err != nil {
		t.Fatal(err)
	}
	dark := time.Now()
	eventually(t, 60*time.Second, "the page gives the connection up", func() error {
		offers, err := browser.Eval[int](p, 10*time.Second, "window.offers")
		if err == nil && offers < 2 {
			err = fmt.Errorf("it has made %d", offers)
		}
		return err
	})
	t.Logf("the page made another connection %v after the stroke", time.Since(dark).Round(100*time.Millisecond))
	link.Dark(false)
	if err := p.Until(30*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Fatal(err)
	}
	worst := drewWave(t, p, x, canvas)
	t.Logf("GIMP's stroke is off the pen's by at most %.2f px", worst)
	saysNothing(t, p)
}

// TestCurvePaintedThroughTheStreamersDeathIsInGIMP draws a wave, and in the middle of it the streamer is killed. What was drawn until there is another one, and
// what is drawn then, is in GIMP: the curve is whole, the artist is told of no loss, and nothing stays down.
func TestCurvePaintedThroughTheStreamersDeathIsInGIMP(t *testing.T) {
	link := openLink(t, 0, 13)
	w := get(t)
	s, p, x := w.overLink(t, link, 1600, 900)
	canvas, err := artist.NewImage(p, x)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		t.Fatal(err)
	}
	before := w.inspect(t, s.ID)
	from, _, _, samples := waveOn(canvas)
	drawn := 0
	if err := p.Stroke(samples, func() {
		switch drawn++; drawn {
		case len(samples) / 3:
			eventually(t, 30*time.Second, "the pen has come somewhere", func() error {
				at, err := x.Pointer()
				if err == nil && float64(at.X) < from+20 {
					err = fmt.Errorf("the pointer is at %v", at)
				}
				return err
			})
			if err := killPID(before.GetPids().GetStreamer()); err != nil {
				t.Fatal(err)
			}
		case len(samples) * 2 / 3:
			offersAgain(t, p)
		}
		time.Sleep(6 * time.Millisecond)
	}); err != nil {
		t.Fatal(err)
	}
	worst := drewWave(t, p, x, canvas)
	t.Logf("GIMP's stroke is off the pen's by at most %.2f px", worst)
	saysNothing(t, p)
	letsGo(t, x)
	if after := w.inspect(t, s.ID); after.GetPids().GetGimp() != before.GetPids().GetGimp() || after.GetPids().GetStreamer() == before.GetPids().GetStreamer() {
		t.Errorf("the session ran %v, and runs %v", before.GetPids(), after.GetPids())
	}
}

// offersAgain waits until a page has made another connection, and has its picture by it.
func offersAgain(t *testing.T, p *browser.Page) {
	t.Helper()
	eventually(t, 60*time.Second, "the page has made another connection", func() error {
		offers, err := browser.Eval[int](p, 10*time.Second, "window.offers")
		if err == nil && offers < 2 {
			err = fmt.Errorf("it has made %d", offers)
		}
		return err
	})
	if err := p.Until(30*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Fatal(err)
	}
}

// saysNothing checks that a page has nothing to tell its artist.
func saysNothing(t *testing.T, p *browser.Page) {
	t.Helper()
	toast, err := browser.Eval[string](p, 10*time.Second, "document.getElementById('toast').textContent")
	if err != nil || toast != "" {
		t.Errorf("the page says %q, %v", toast, err)
	}
}

// measured checks that the page knows where the time went from the hand to GIMP's picture, and that the node's metrics do.
func (w *world) measured(t *testing.T, p *browser.Page) {
	t.Helper()
	said, x := "", 0.0
	eventually(t, 60*time.Second, "the page has measured, and told the node", func() error {
		x = 8 - x
		if err := p.Move(200+x, 200); err != nil {
			return err
		}
		s, err := artist.Stats(p)
		if err != nil {
			return err
		}
		stages, _ := s["stages"].(map[string]any)
		if stages["input"] == nil || stages["hand"] == nil {
			return fmt.Errorf("its stages are %v", stages)
		}
		server, _ := s["server"].(map[string]any)
		now := fmt.Sprint(server["client"])
		if said == "" {
			said = now
		}
		if now == said { // what it said next is of after it had measured
			return errors.New("it has not told since")
		}
		t.Logf("stages: %v", stages)
		return nil
	})
	p.Close() // a viewer less: the node hears of it at once, and of what was counted
	eventually(t, 30*time.Second, "the node's metrics have every stage", func() error {
		text := w.metrics(t)
		for _, stage := range contract.StageNames() {
			line := fmt.Sprintf("easel_latency_seconds_count{stage=%q} ", stage)
			if _, rest, ok := strings.Cut(text, line); !ok || strings.HasPrefix(rest, "0\n") {
				return fmt.Errorf("nothing is counted for %s", stage)
			}
		}
		return nil
	})
}

// deviation says how far from the wave the middle of what is dark in a column is at most, at a right angle to it. An error says what is missing of the stroke.
func deviation(screen *xclient.Screen, band image.Rectangle, from, middle, width float64) (float64, error) {
	const allowed = 2 // pixels
	img, err := screen.Grab(band)
	if err != nil {
		return 0, err
	}
	worst, at := 0.0, 0
	for col := img.Rect.Min.X + 8; col < img.Rect.Max.X-8; col++ {
		sum, count := 0, 0
		for y := img.Rect.Min.Y; y < img.Rect.Max.Y; y++ {
			if c := img.RGBAAt(col, y); int(c.R)+int(c.G)+int(c.B) < 3*160 {
				sum += y
				count++
			}
		}
		if count == 0 {
			return 0, fmt.Errorf("nothing is drawn in column %d", col)
		}
		got := float64(sum)/float64(count) + 0.5
		x := float64(col) + 0.5 - from
		if d := math.Abs(got-middle-wave(x, width)) / math.Hypot(1, slope(x, width)); d > worst {
			worst, at = d, col
		}
	}
	if worst > allowed {
		return worst, fmt.Errorf("it is off by %.2f px in column %d, at most %d are allowed", worst, at, allowed)
	}
	return worst, nil
}

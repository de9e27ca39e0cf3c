package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// Likeness is how near a shown picture is to the X server's, as peak signal to noise ratio in dB; infinite when exact.
// Colours of half resolution (4:2:0) bound RGB by what the picture is, whatever the bits; luma they do not.
type Likeness struct{ RGB, Luma float64 }

// MarshalJSON gives what is exact no number: JSON has none that is infinite.
func (l Likeness) MarshalJSON() ([]byte, error) {
	finite := func(v float64) *float64 {
		if math.IsInf(v, 1) {
			return nil
		}
		return &v
	}
	return json.Marshal(struct {
		Exact     bool
		RGB, Luma *float64 `json:",omitempty"`
	}{math.IsInf(l.RGB, 1), finite(l.RGB), finite(l.Luma)})
}

// compare waits two seconds, then compares what the page shows with what the X server has.
func compare(ctx context.Context, t *Target) (Likeness, error) {
	if err := sleep(ctx, 2*time.Second); err != nil {
		return Likeness{}, err
	}
	x, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return Likeness{}, err
	}
	defer x.Close()
	return compareNow(t, x)
}

func compareNow(t *Target, x *xclient.Screen) (Likeness, error) {
	got, err := t.Page.Pixels(wholeScreen())
	if err != nil {
		return Likeness{}, err
	}
	want, err := x.Grab(wholeScreen())
	if err != nil {
		return Likeness{}, err
	}
	return likeness(got, want), nil
}

// still shows detailed pictures and compares, two seconds after the first, what the page shows with what the X server has. Where the page
// knows when its picture is exact, it measures that of the others.
func (r *Result) still(ctx context.Context, t *Target, n int) error {
	x, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return err
	}
	defer x.Close()
	pages, err := x.Pages()
	if err != nil {
		return err
	}
	defer pages.Close()
	if _, err := pages.Turn(0); err != nil {
		return err
	}
	if r.Still, err = compare(ctx, t); err != nil || !t.HasGIMP {
		return err
	}
	var took []time.Duration
	for i := range n {
		d, err := turnsExact(t, x, func() (time.Time, error) { return pages.Turn(i + 1) })
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	r.Exact = quantiles(took)
	return nil
}

// turnsExact changes the picture and measures how long it takes until the page says that each pixel is right; it holds the page to it.
func turnsExact(t *Target, x *xclient.Screen, change func() (time.Time, error)) (time.Duration, error) {
	at, err := change()
	if err != nil {
		return 0, err
	}
	since := fmt.Sprintf("(performance.timeOrigin + (window.easel.exactSince ?? 0) - %d.%03d)", at.UnixMilli(), at.UnixMicro()%1000)
	if err := t.Page.Until(10*time.Second, since+" > 0"); err != nil {
		return 0, fmt.Errorf("wait for an exact picture: %w", err)
	}
	took, err := browser.Eval[float64](t.Page, 10*time.Second, since)
	if err != nil {
		return 0, err
	}
	l, err := compareNow(t, x)
	if err == nil && !math.IsInf(l.RGB, 1) {
		err = fmt.Errorf("the page says that its picture is exact, and it is not: %s dB", l)
	}
	return time.Duration(took * float64(time.Millisecond)), err
}

func likeness(a, b *image.RGBA) Likeness {
	var rgb, luma float64
	n := 0
	for i := 0; i+3 < len(a.Pix); i += 4 {
		var d [3]float64
		for c := range d {
			d[c] = float64(a.Pix[i+c]) - float64(b.Pix[i+c])
			rgb += d[c] * d[c]
		}
		y := 0.299*d[0] + 0.587*d[1] + 0.114*d[2] // BT.601, as the codec's
		luma += y * y
		n++
	}
	return Likeness{RGB: psnr(rgb, 3*n), Luma: psnr(luma, n)}
}

func psnr(squares float64, n int) float64 {
	if squares == 0 {
		return math.Inf(1)
	}
	return 10 * math.Log10(255*255*float64(n)/squares)
}

package main

import (
	"context"
	"encoding/json"
	"image"
	"math"
	"time"

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
	got, err := t.Page.Pixels(wholeScreen())
	if err != nil {
		return Likeness{}, err
	}
	x, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return Likeness{}, err
	}
	defer x.Close()
	want, err := x.Grab(wholeScreen())
	if err != nil {
		return Likeness{}, err
	}
	return likeness(got, want), nil
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

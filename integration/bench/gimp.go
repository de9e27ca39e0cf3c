package main

import (
	"context"
	"math"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// paintInGIMP draws with the pen in GIMP itself, sixty samples a second, and watches what the page shows. GIMP's own work is
// among the cores then. Afterwards it compares the resting picture.
func paintInGIMP(ctx context.Context, t *Target, d time.Duration) (Motion, Likeness, error) {
	x, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return Motion{}, Likeness{}, err
	}
	defer x.Close()
	canvas, err := artist.NewImage(t.Page, x)
	if err != nil {
		return Motion{}, Likeness{}, err
	}
	if err := t.Page.Type(browser.Key{Key: "p", Code: "KeyP", Windows: 80}); err != nil {
		return Motion{}, Likeness{}, err
	}
	mid, radius := canvas.Min.Add(canvas.Size().Div(2)), float64(min(canvas.Dx(), canvas.Dy()))/2.5
	n := int(d.Seconds() * 60)
	samples := make([]browser.PenSample, 0, n)
	for i := range n {
		a := float64(i) / 60 * 2
		samples = append(samples, browser.PenSample{
			X: float64(mid.X) + radius*math.Cos(a)*math.Cos(a/5), Y: float64(mid.Y) + radius*math.Sin(a),
			Pressure: 0.5 + 0.4*math.Sin(a*3),
		})
	}
	tick := time.NewTicker(time.Second / 60)
	defer tick.Stop()
	var m Motion
	m.Cores, err = coresOver(t.Groups, func() error {
		began := time.Now()
		seen, err := t.Page.WatchWhile(d, func() error {
			return t.Page.Stroke(samples, func() { <-tick.C })
		})
		m.Drawn = float64(n) / time.Since(began).Seconds()
		m.Shown = float64(len(seen)) / d.Seconds()
		return err
	})
	if err == nil {
		m.Stages, err = stages(t)
	}
	if err != nil {
		return Motion{}, Likeness{}, err
	}
	// The pointer leaves the canvas: GIMP's brush outline is drawn by the server, the cursor by the browser.
	if err := t.Page.Move(2, 2); err != nil {
		return Motion{}, Likeness{}, err
	}
	rest, err := compare(ctx, t)
	return m, rest, err
}

// stages asks the viewer for the median of each stage of a picture's way, in ms.
func stages(t *Target) (map[string]float64, error) {
	s, err := artist.Stats(t.Page)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	all, _ := s["stages"].(map[string]any)
	for name, v := range all {
		if q, ok := v.(map[string]any); ok {
			if p50, ok := q["p50"].(float64); ok {
				out[name] = p50
			}
		}
	}
	return out, nil
}

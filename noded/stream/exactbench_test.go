package stream

import (
	"fmt"
	"testing"
	"time"

	"easel/integration/xclient"
)

// BenchmarkHandBesideTiles paints at 60 Hz over narrow links, on a picture that is exact and on pages of text that tiles make exact meanwhile: how many of the
// pictures were shown, and how old they were, in real Chromium.
func BenchmarkHandBesideTiles(b *testing.B) {
	for _, kbps := range []int{2000, 10_000} {
		for _, trip := range []time.Duration{20, 100} {
			trip *= time.Millisecond
			for _, kind := range []xclient.Kind{xclient.Paint, xclient.Turn} {
				b.Run(fmt.Sprintf("%s/%d-kbps/%v", kind, kbps, trip), func(b *testing.B) {
					s, _ := startSessionApart(b)
					s.ready(b)
					link := linked(b, s, 5)
					link.Delay(trip / 2)
					link.Narrow(kbps, narrowQueue)
					page := show(b, s, "size=1280x720")
					m := plays(b, s, kind)
					const lasts = 13 * time.Second
					before := link.Bytes()
					m.watch(b, page, 0, lasts, func() {})
					b.ReportMetric(float64(link.Bytes()-before)*8/1000/lasts.Seconds(), "kbps")
					b.ReportMetric(float64(len(m.shown[0]))/lasts.Seconds(), "shown/s")
					m.report(b, string(kind))
				})
			}
		}
	}
}

package codec

import (
	"math"
	"testing"
	"time"
)

// A codec of which it is known what a frame costs stands in for x264: detail times cost, halved with every six steps of the quantiser.
func TestGovernorKeepsToTheRate(t *testing.T) {
	rate := Rate{Quality: 23, Kbps: 8000, BufferMS: 50}
	for _, c := range []struct {
		name   string
		detail float64
		cost   float64
	}{{"cheap", 1e6, 0.001}, {"usual", 3e7, 0.01}, {"dear", 5e7, 0.005}} {
		t.Run(c.name, func(t *testing.T) {
			g, now := newGovernor(rate), time.Now()
			sent, finest := 0, maxQP
			for i := range 240 {
				now = now.Add(time.Second / 60)
				k := delta
				if i == 0 {
					k = keyframe
				}
				qp := g.choose(k, c.detail, rate.Quality, now)
				n := overhead + int(c.detail*c.cost*math.Exp2((reference-float64(qp))/doubling))
				g.learn(k, c.detail, qp, n, now)
				if i >= 60 {
					sent += n
				}
				finest = min(finest, qp)
			}
			if got := float64(sent) * 8 / 3 / 1000; got > 1.2*float64(rate.Kbps) {
				t.Errorf("%.0f kbit/s went out, the rate is %d", got, rate.Kbps)
			}
			if c.name == "cheap" && finest > 23 {
				t.Errorf("a cheap picture is coarsened to %d", finest)
			}
		})
	}
}

// After a dear picture a cheap one is fine again within a second.
func TestGovernorForgets(t *testing.T) {
	g, now := newGovernor(Rate{Quality: 23, Kbps: 8000, BufferMS: 50}), time.Now()
	qp := 0
	for i := range 120 {
		now = now.Add(time.Second / 60)
		cost := 0.01
		if i >= 60 {
			cost = 0.0005
		}
		qp = g.choose(delta, 3e7, 23, now)
		g.learn(delta, 3e7, qp, overhead+int(3e7*cost*math.Exp2((reference-float64(qp))/doubling)), now)
	}
	if qp > 23 {
		t.Errorf("a second after the picture became cheap its quantiser is %d, want 23", qp)
	}
}

func BenchmarkGovernor(b *testing.B) {
	g, now := newGovernor(Rate{Quality: 23, Kbps: 8000, BufferMS: 50}), time.Now()
	for range b.N {
		now = now.Add(time.Second / 60)
		g.learn(delta, 3e7, g.choose(delta, 3e7, 23, now), 20_000, now)
	}
}

package main

import (
	"fmt"
	"time"

	"easel/integration/lossylink"
)

// queue is how long the queue in front of a narrow link is.
const queue = 200 * time.Millisecond

// emulated is a link, which goes through phases.
type emulated struct {
	name   string
	phases []phase
}

// phase is how a link is for a while.
type phase struct {
	name  string
	kbps  int           // 0: all that this machine carries
	trip  time.Duration // there and back
	loss  float64       // each way
	dark  bool
	other bool // another network: by another link, the one before is dead
	lasts time.Duration
}

func (p phase) set(l *lossylink.Link) {
	l.Narrow(p.kbps, queue)
	l.Delay(p.trip / 2)
	l.Lose(p.loss)
	l.Dark(p.dark)
}

// links are those of issue 5.
func links(lasts time.Duration) []emulated {
	const short = 20 * time.Millisecond
	all := []emulated{{"plain", []phase{{kbps: 50_000, trip: short, lasts: lasts}}}}
	for _, loss := range []float64{0.01, 0.05, 0.10} {
		all = append(all, emulated{fmt.Sprintf("loss %.0f %%", loss*100), []phase{{kbps: 50_000, trip: short, loss: loss, lasts: lasts}}})
	}
	for _, trip := range []time.Duration{20, 100, 300} {
		all = append(all, emulated{fmt.Sprintf("%d ms", trip), []phase{{kbps: 20_000, trip: trip * time.Millisecond, lasts: lasts}}})
	}
	return append(all,
		emulated{"loss 5 %, 100 ms", []phase{{kbps: 20_000, trip: 100 * time.Millisecond, loss: 0.05, lasts: lasts}}},
		emulated{"resolution", []phase{
			{name: "at 4", kbps: 4000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 2", kbps: 2000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 1", kbps: 1000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{"50, 2, 50 Mbit/s", []phase{
			{name: "at 50", kbps: 50_000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 2", kbps: 2000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 50 again", kbps: 50_000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{"3 s of darkness", []phase{
			{name: "before", kbps: 20_000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "dark", kbps: 20_000, trip: 40 * time.Millisecond, dark: true, lasts: 3 * time.Second},
			{name: "after", kbps: 20_000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{"another network", []phase{
			{name: "the first", kbps: 20_000, trip: 20 * time.Millisecond, lasts: lasts},
			{name: "the second", kbps: 10_000, trip: 60 * time.Millisecond, other: true, lasts: lasts},
		}},
	)
}

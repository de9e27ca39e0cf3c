package main

import (
	"fmt"
	"slices"
	"time"

	"easel/integration/lossylink"
	"easel/integration/xclient"
)

// queue is how long the queue in front of a narrow link is.
const queue = 200 * time.Millisecond

// emulated is a link, which goes through phases.
type emulated struct {
	name   string
	phases []phase
	joins  bool // the screen moves before the viewer comes
	play   xclient.Kind
	codec  string // the only one that the viewer takes: "" leaves it to the node
	again  bool   // all of it a second time, after a rest in which another codec may have taken over
}

// phase is how a link is for a while.
type phase struct {
	name  string
	kbps  int           // 0: all that this machine carries
	trip  time.Duration // there and back
	loss  float64       // each way
	dark  bool
	other bool // another network: by another link, the one before is dead
	file  way  // that crosses meanwhile
	lasts time.Duration
}

func (p phase) set(l *lossylink.Link) {
	l.Narrow(p.kbps, queue)
	l.Delay(p.trip / 2)
	l.Lose(p.loss)
	l.Dark(p.dark)
}

// way is which way a file crosses beside the picture.
type way string

const (
	download way = "download"
	upload   way = "upload"
)

// beside are narrow links on which an artist paints, and a file crosses for a while.
func beside(lasts time.Duration) (all []emulated) {
	for _, mbit := range []int{2, 5, 10} {
		at := phase{kbps: mbit * 1000, trip: 40 * time.Millisecond, lasts: lasts}
		down, up := at, at
		at.name, down.name, up.name = "alone", "a download", "an upload"
		down.file, up.file = download, upload
		for _, kind := range []xclient.Kind{xclient.Paint, xclient.Scroll} {
			all = append(all, emulated{name: fmt.Sprintf("file %s at %d", kind, mbit), phases: []phase{at, down, up}, play: kind})
		}
	}
	return all
}

// exacts are links on which an artist paints, beside it on pages that tiles make exact meanwhile.
func exacts(lasts time.Duration) (all []emulated) {
	for _, mbit := range []int{2, 10} {
		for _, trip := range []time.Duration{20, 100} {
			at := phase{kbps: mbit * 1000, trip: trip * time.Millisecond, lasts: lasts}
			for _, kind := range []xclient.Kind{xclient.Paint, xclient.Turn} {
				all = append(all, emulated{name: fmt.Sprintf("exact %s at %d %v", kind, mbit, at.trip), phases: []phase{at}, play: kind})
			}
		}
	}
	return all
}

// codecs are narrow links on which H.264 is compared with what the node chooses.
func codecs(lasts time.Duration) (all []emulated) {
	for _, codec := range []string{"h264", ""} {
		name := "codec " + codec
		if codec == "" {
			name += "chosen"
		}
		all = append(all, emulated{name: name, phases: []phase{{kbps: 2000, trip: 40 * time.Millisecond, lasts: lasts}}, play: xclient.Scroll, codec: codec, again: true})
	}
	return all
}

// starts are links that a viewer comes by while the screen moves.
func starts(lasts time.Duration) (all []emulated) {
	add := func(kbps int, trip time.Duration) {
		name := fmt.Sprintf("start %d Mbit/s %v", kbps/1000, trip)
		all = append(all, emulated{name: name, phases: []phase{{kbps: kbps, trip: trip, lasts: lasts}}, joins: true})
	}
	add(1_000_000, 2*time.Millisecond)
	for _, kbps := range []int{20_000, 2000, 1000} {
		for _, trip := range []time.Duration{20, 100, 300} {
			add(kbps, trip*time.Millisecond)
		}
	}
	return all
}

// links are those of issue 5.
func links(lasts time.Duration) []emulated {
	const short = 20 * time.Millisecond
	all := []emulated{{name: "plain", phases: []phase{{kbps: 50_000, trip: short, lasts: lasts}}}}
	for _, loss := range []float64{0.01, 0.05, 0.10} {
		all = append(all, emulated{name: fmt.Sprintf("loss %.0f %%", loss*100), phases: []phase{{kbps: 50_000, trip: short, loss: loss, lasts: lasts}}})
	}
	for _, trip := range []time.Duration{20, 100, 300} {
		all = append(all, emulated{name: fmt.Sprintf("%d ms", trip), phases: []phase{{kbps: 20_000, trip: trip * time.Millisecond, lasts: lasts}}})
	}
	all = append(all,
		emulated{name: "loss 5 % 100 ms", phases: []phase{{kbps: 20_000, trip: 100 * time.Millisecond, loss: 0.05, lasts: lasts}}},
		emulated{name: "resolution", phases: []phase{
			{name: "at 4", kbps: 4000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 2", kbps: 2000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 1", kbps: 1000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{name: "50 to 2 to 50 Mbit/s", phases: []phase{
			{name: "at 50", kbps: 50_000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 2", kbps: 2000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "at 50 again", kbps: 50_000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{name: "3 s of darkness", phases: []phase{
			{name: "before", kbps: 20_000, trip: 40 * time.Millisecond, lasts: lasts},
			{name: "dark", kbps: 20_000, trip: 40 * time.Millisecond, dark: true, lasts: 3 * time.Second},
			{name: "after", kbps: 20_000, trip: 40 * time.Millisecond, lasts: lasts},
		}},
		emulated{name: "another network", phases: []phase{
			{name: "the first", kbps: 20_000, trip: 20 * time.Millisecond, lasts: lasts},
			{name: "the second", kbps: 10_000, trip: 60 * time.Millisecond, other: true, lasts: lasts},
		}},
	)
	return slices.Concat(all, starts(lasts), beside(lasts), exacts(lasts), codecs(lasts))
}

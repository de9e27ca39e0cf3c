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

// While small changes come by video, coarsely, the rest of the picture is refined no faster than the rate allows: that what has changed is soon as fine as
// the rest says nothing of what it takes to make all of it finer. Once nothing changes, it is as fine as is asked.
func TestGovernorRefinesBesideChanges(t *testing.T) {
	const cells, each, cost, asked = 1000, 3e4, 0.004, 20
	g, now := newGovernor(Rate{Quality: 23, Kbps: 1500, BufferMS: 50}), time.Now()
	var has [cells]float64 // the quantiser of each
	takes := func(qp, before float64) float64 {
		return each * cost * (math.Exp2((reference-qp)/doubling) - math.Exp2((reference-before)/doubling))
	}
	refine := func() (qp, bytes int) {
		g.all = cells * each
		qp = g.choose(refinement, g.all, asked, now)
		sum := float64(overhead)
		for i := range has {
			if has[i] > float64(qp) {
				sum += takes(float64(qp), has[i])
				has[i] = float64(qp)
			}
		}
		g.learn(refinement, g.all, qp, int(sum), now)
		return qp, int(sum)
	}
	g.all = cells * each
	first := g.choose(keyframe, g.all, 21, now)
	g.learn(keyframe, g.all, first, int(g.bucket()), now)
	for i := range has {
		has[i] = float64(first)
	}
	largest := 0
	for i := range 300 {
		now = now.Add(33 * time.Millisecond)
		g.all = cells * each
		qp := g.choose(delta, 10*each, 23, now)
		if i%2 == 0 {
			qp = maxQP // the rate was used up
		}
		for j := range 10 {
			has[(i*7+j)%cells] = float64(qp)
		}
		g.learn(delta, 10*each, qp, 2000, now)
		now = now.Add(100 * time.Millisecond)
		_, n := refine()
		largest = max(largest, n)
	}
	if most := 3 * int(g.bucket()); largest > most {
		t.Errorf("a refinement took %d bytes, want no more than %d", largest, most)
	}
	qp := maxQP
	for range 200 {
		now = now.Add(33 * time.Millisecond)
		qp, _ = refine()
	}
	if qp != asked {
		t.Errorf("the still picture stays at %d, want %d", qp, asked)
	}
}

// A small change to a picture that is coarse is no finer than what is left allows to make of all of it, by an encoder that does.
func TestGovernorMindsWhatAChangeSpills(t *testing.T) {
	const all, part = 3e7, 3e5
	for _, spills := range []bool{true, false} {
		g, now := newGovernor(Rate{Quality: 23, Kbps: 1500, BufferMS: 50}), time.Now()
		g.spills, g.all = spills, all
		g.learn(keyframe, all, maxQP, 26_000, now)
		now = now.Add(time.Second)
		if qp := g.choose(delta, part, 23, now); (qp == 23) == spills {
			t.Errorf("it spills: %v; the change is made with quantiser %d", spills, qp)
		}
		g.learn(keyframe, all, 20, 100_000, now)
		now = now.Add(time.Second)
		if qp := g.choose(delta, part, 23, now); qp != 23 {
			t.Errorf("it spills: %v; a change to a fine picture is made with quantiser %d", spills, qp)
		}
	}
}

// After a pause in which the picture moved, on a narrow way, what moved is taken to cost as much as from nothing: it is nowhere near where it was.
func TestGovernorIsCautiousAfterAPause(t *testing.T) {
	const all = 1e6
	for _, c := range []struct {
		kbps  int
		after time.Duration
		part  float64
		wary  bool
	}{
		{2000, pause + time.Millisecond, all, true},
		{2000, pause + time.Millisecond, all / 3, false},
		{2000, pause, all, false},
		{narrow - 1, pause + time.Millisecond, all, true},
		{narrow, pause + time.Millisecond, all, false},
	} {
		g, now := newGovernor(Rate{Quality: 23, Kbps: 20_000, BufferMS: 50}), time.Now()
		g.all = all
		g.learn(keyframe, all, 24, 100_000, now)
		for range 60 {
			now = now.Add(time.Second / 60)
			g.learn(delta, all, 24, 5000, now)
		}
		g.rate.Kbps = c.kbps
		now = now.Add(c.after)
		before := g.cost[delta]
		g.choose(delta, c.part, 23, now)
		if got := g.cost[delta] > before; got != c.wary {
			t.Errorf("%g of the picture changes on %d kbit/s %v after the last frame: taken to be dear: %v, want %v", c.part/all, c.kbps, c.after, got, c.wary)
		}
	}
}

// After a keyframe that the rate had no room for, what scrolls on becomes finer as a whole, however little scrolling took before.
func TestGovernorIsCautiousAfterACoarseKeyframe(t *testing.T) {
	const all = 1e6
	for _, qp := range []int{23 + starvedBy - 1, 50} {
		g, now := newGovernor(Rate{Quality: 23, Kbps: 9000, BufferMS: 50}), time.Now()
		g.all = all
		for range 60 {
			g.learn(delta, all, 24, 5000, now)
			now = now.Add(time.Second / 60)
		}
		g.learn(keyframe, all, qp, 50_000, now)
		for i := range 2 {
			before := g.cost[delta]
			now = now.Add(time.Second / 60)
			finer := g.choose(delta, all, 23, now)
			if got, want := g.cost[delta] > before, i == 0 && qp == 50; got != want {
				t.Errorf("frame %d after a keyframe of quantiser %d, made with %d: taken to be dear: %v, want %v", i+1, qp, finer, got, want)
			}
			g.learn(delta, all, finer, 50_000, now)
		}
	}
}

// Bits are scarce where a way is narrow and changes are coarser than wanted, and for a while after, though then fewer do; neither keyframes nor refinements say so.
// Where it is not tight, that must have gone on for a while.
func TestGovernorKnowsWhenBitsAreScarce(t *testing.T) {
	g, now := newGovernor(Rate{Quality: 23, Kbps: narrow, BufferMS: 50}), time.Now()
	if g.starved(delta, 50, now) {
		t.Error("bits are scarce on a way that is not narrow")
	}
	g.rate.Kbps = tight - 1
	if g := g; !g.starved(delta, 23+starvedBy, now) {
		t.Error("bits are not scarce on a way that is tight")
	}
	g.rate.Kbps = narrow - 1
	const frame = time.Second / 60
	for i := range 2 {
		if i > 0 { // a pause, and it begins anew
			now = now.Add(pause + 1)
		}
		for end := now.Add(starvedSince); now.Before(end); now = now.Add(frame) {
			if g.starved(delta, 50, now) {
				t.Fatal("bits are scarce at once on a way that is not tight")
			}
		}
	}
	for _, c := range []struct {
		kind   kind
		qp     int
		after  time.Duration
		scarce bool
	}{
		{keyframe, 50, 0, false},
		{refinement, 50, 0, false},
		{delta, 23 + starvedBy, 0, true},
		{delta, 23, starvedFor - 1, true},
		{delta, 23, 1, false},
		{delta, 23 + starvedBy - 1, 0, false},
		{delta, 23 + starvedBy, 0, false},
	} {
		now = now.Add(c.after)
		if got := g.starved(c.kind, c.qp, now); got != c.scarce {
			t.Errorf("a frame of kind %d with quantiser %d: bits are scarce: %v, want %v", c.kind, c.qp, got, c.scarce)
		}
	}
}

func BenchmarkGovernor(b *testing.B) {
	g, now := newGovernor(Rate{Quality: 23, Kbps: 8000, BufferMS: 50}), time.Now()
	for range b.N {
		now = now.Add(time.Second / 60)
		g.learn(delta, 3e7, g.choose(delta, 3e7, 23, now), 20_000, now)
	}
}

package codec

import (
	"math"
	"time"
)

const (
	// minQP and maxQP are what encoder_open has x264 keep to.
	minQP, maxQP = 10, 50
	// keyFiner is how much finer a keyframe is, as what follows is predicted from it.
	keyFiner = 2
	// doubling is by how much the quantiser falls where the bytes of a frame double.
	doubling = 6.0
	// reference is the quantiser that costs are kept for.
	reference = 24.0
	// slow is how much of a new cost is believed when it is lower than the old; a higher one is believed at once.
	slow = 0.25
)

// First guesses of the bytes that a unit of detail takes at the reference quantiser, as a noisy photograph measures.
const (
	firstKeyCost   = 0.010
	firstDeltaCost = 0.010
	// overhead is what a frame takes whatever is in it.
	overhead = 400
)

// governor chooses each frame's quantiser from what changed, so that the frame fits what the rate has left. x264's own rate control knows
// no more when no frame may wait, but estimates every frame by a motion search of its own: 1.7 to 2.8 ms of 1920x1080.
type governor struct {
	rate Rate
	// cost is what a unit of detail took of late, in keyframes and in others.
	key, delta float64
	// left is how many bytes may go out at once, as of when.
	left float64
	when time.Time
}

func newGovernor(r Rate) governor {
	return governor{rate: r, key: firstKeyCost, delta: firstDeltaCost, left: math.Inf(1)}
}

// bucket is the most bytes that one frame may take.
func (g *governor) bucket() float64 { return float64(g.rate.Kbps) * float64(g.rate.BufferMS) / 8 }

// refill adds what the rate gave since the last frame.
func (g *governor) refill(now time.Time) {
	gained := float64(g.rate.Kbps) * 1000 / 8 * now.Sub(g.when).Seconds()
	g.left, g.when = min(g.left+max(gained, 0), g.bucket()), now
}

// choose gives the quantiser for a frame in which so much detail is new.
func (g *governor) choose(key bool, detail float64, now time.Time) int {
	g.refill(now)
	fine, cost := g.rate.Quality, g.delta
	if key {
		fine, cost = fine-keyFiner, g.key
	}
	// However much is owed, a frame gets a third of a sixtieth of a second's bytes: less shows nothing.
	allowed := max(g.left, float64(g.rate.Kbps)*1000/8/60/3)
	if want := overhead + detail*cost*math.Exp2((reference-fine)/doubling); want > allowed {
		fine += doubling * math.Log2(want/allowed)
	}
	return int(math.Ceil(min(max(fine, minQP), maxQP)))
}

// learn takes in what a frame took.
func (g *governor) learn(key bool, detail float64, qp, bytes int, now time.Time) {
	g.refill(now)
	g.left = max(g.left-float64(bytes), -g.bucket())
	// Small changes say nothing of large ones, and a picture refined without a change nothing of either.
	if detail < 50_000 {
		return
	}
	cost := max(float64(bytes)-overhead, 0) / detail / math.Exp2((reference-float64(qp))/doubling)
	old := &g.delta
	if key {
		old = &g.key
	}
	if cost < *old {
		cost = *old + (cost-*old)*slow
	}
	*old = cost
}

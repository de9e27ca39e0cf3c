package codec

import (
	"math"
	"time"
)

const (
	// minQP and maxQP are what encoder_open has x264 keep to, and NVENC is asked for.
	minQP, maxQP = 10, 50
	// keyFiner is how much finer a keyframe is, as what follows is predicted from it.
	keyFiner = 2
	// doubling is by how much the quantiser falls where the bytes of a frame double.
	doubling = 6.0
	// reference is the quantiser that costs are kept for.
	reference = 24.0
	// slow is how much of a new cost is believed when it is lower than the old; a higher one is believed at once.
	slow = 0.25
	// leastDetail is the detail from which a frame is an example for others.
	leastDetail = 50_000
)

// kind is what a frame is made of, as far as its cost goes.
type kind int

const (
	keyframe   kind = iota // the whole picture from nothing
	delta                  // what changed
	refinement             // a picture that did not change, finer
	kinds
)

const (
	// firstCost is the bytes that a unit of detail takes at the reference quantiser, as a noisy photograph measures, until a frame tells.
	firstCost = 0.02
	// overhead is what a frame takes whatever is in it.
	overhead = 400
)

// governor chooses each frame's quantiser from what changed, so that the frame fits what the rate has left. An encoder's own rate control knows
// no more when no frame may wait, but x264's estimates every frame by a motion search of its own: 1.7 to 2.8 ms of 1920x1080.
type governor struct {
	rate Rate
	cost [kinds]float64 // what a unit of detail took of late
	// left is how many bytes may go out at once, as of when.
	left float64
	when time.Time
}

func newGovernor(r Rate) governor {
	return governor{rate: r, cost: [kinds]float64{firstCost, firstCost, firstCost}, left: math.Inf(1)}
}

// frame says what is asked for: the kind of frame, the detail in it and the finest quantiser.
func (g *governor) frame(p *Picture, o FrameOptions) (kind, float64, float64) {
	all, changed := p.detail()
	fine, asked := g.rate.Quality, o.QP > 0
	if asked {
		fine = float64(o.QP)
	}
	switch {
	case o.Key && asked:
		return keyframe, all, fine
	case o.Key:
		return keyframe, all, fine - keyFiner
	case asked && changed == 0:
		return refinement, all, fine
	}
	return delta, changed, fine
}

// bucket is the most bytes that one frame may take.
func (g *governor) bucket() float64 { return float64(g.rate.Kbps) * float64(g.rate.BufferMS) / 8 }

// refill adds what the rate gave since the last frame.
func (g *governor) refill(now time.Time) {
	gained := float64(g.rate.Kbps) * 1000 / 8 * now.Sub(g.when).Seconds()
	g.left, g.when = min(g.left+max(gained, 0), g.bucket()), now
}

// choose gives the quantiser for a frame with so much detail, no finer than fine.
func (g *governor) choose(k kind, detail, fine float64, now time.Time) int {
	g.refill(now)
	// However much is owed, a frame gets a third of a sixtieth of a second's bytes: less shows nothing.
	allowed := max(g.left, float64(g.rate.Kbps)*1000/8/60/3)
	if want := overhead + detail*g.cost[k]*math.Exp2((reference-fine)/doubling); want > allowed {
		fine += doubling * math.Log2(want/allowed)
	}
	return int(math.Ceil(min(max(fine, minQP), maxQP)))
}

// learn takes in what a frame took.
func (g *governor) learn(k kind, detail float64, qp, bytes int, now time.Time) {
	g.refill(now)
	g.left = max(g.left-float64(bytes), -g.bucket())
	if detail < leastDetail { // small changes say nothing of large ones
		return
	}
	cost := max(float64(bytes)-overhead, 0) / detail / math.Exp2((reference-float64(qp))/doubling)
	if old := g.cost[k]; cost < old {
		cost = old + (cost-old)*slow
	}
	g.cost[k] = cost
}

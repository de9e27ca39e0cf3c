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
	// starvedBy is how much coarser than wanted a change must be for bits to count as scarce, and starvedFor how long they do: it is by looking for motion
	// farther away that frames are finer then.
	starvedBy, starvedFor = 3, 10 * time.Second
	// starvedSince is how long that must have gone on on ways that are not tight: everything begins coarse, and looking farther takes a sixth more time.
	starvedSince = time.Second
	// narrow is the rate (kilobits a second) from which on video has all that it can use: what is coarse then is no matter of motion.
	narrow = 20_000
	// pause is how long after a frame most of a picture that moved is nowhere near where it was, and costs as much as from nothing; so does the first after a
	// keyframe that is coarser by starvedBy, as all of it becomes finer. On a narrow way one frame that takes far more than was thought delays many.
	pause = 250 * time.Millisecond
	// tight is the rate below which coarse changes are reason to look farther at once.
	tight = 8000
	// leap is by how many steps all of a picture becomes finer at the cost of a refinement.
	leap = 3.0
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
	// all is the picture's detail, of which coarse was coded with quantisers up to coarseQP since the rest, with settled.
	all, coarse, coarseQP, settled float64
	rough                          bool      // the last frame was a keyframe that is coarser than wanted
	hungry, last                   time.Time // since when, and when last, one change after the other is coarser than wanted
	scarce                         time.Time // until when bits are
	// spills tells that the encoder makes what did not change as fine as what did, as x264 does.
	spills bool
}

func newGovernor(r Rate) governor {
	return governor{rate: r, cost: [kinds]float64{firstCost, firstCost, firstCost}, left: math.Inf(1)}
}

// frame says what is asked for: the kind of frame, the detail in it and the finest quantiser.
func (g *governor) frame(p *Picture, o FrameOptions) (kind, float64, float64) {
	all, changed := p.detail()
	g.all = all
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
	paused := now.Sub(g.when) > pause
	g.refill(now)
	if k == delta && (g.rough || paused && g.rate.Kbps < narrow) && detail*2 > g.all {
		g.cost[delta] = max(g.cost[delta], g.cost[keyframe])
	}
	// However much is owed, a frame gets a third of a sixtieth of a second's bytes: less shows nothing.
	allowed := max(g.left, float64(g.rate.Kbps)*1000/8/60/3)
	switch {
	case k == refinement:
		fine = g.refine(detail, fine, allowed)
	case k == delta && g.spills:
		fine = g.spill(detail, fine, allowed)
	default:
		fine = g.fit(k, detail, fine, allowed)
	}
	return int(math.Ceil(min(max(fine, minQP), maxQP)))
}

// fit coarsens a quantiser until a frame takes no more than allowed.
func (g *governor) fit(k kind, detail, fine, allowed float64) float64 {
	if want := overhead + detail*g.cost[k]*math.Exp2((reference-fine)/doubling); want > allowed {
		fine += doubling * math.Log2(want/allowed)
	}
	return fine
}

// refine chooses for a refinement, in which what is as fine already takes nothing: down to where most of the picture has settled it is about the rest, and
// below that about all of it. However dear, a step is one.
func (g *governor) refine(all, fine, allowed float64) float64 {
	for finer := math.Ceil(max(fine, minQP)); finer < g.settled; finer++ {
		if overhead+g.finer(all, finer) <= allowed {
			return finer
		}
	}
	if g.coarse == 0 || g.coarseQP <= g.settled {
		return max(fine, g.settled-1)
	}
	return max(fine, g.settled, min(math.Ceil(g.fit(refinement, g.coarse, g.settled, allowed)), g.coarseQP-1))
}

// finer is the bytes that it takes to make so much detail that has settled as fine as a quantiser. By how much finer counts, as most is spent where nothing was.
func (g *governor) finer(detail, qp float64) float64 {
	if qp >= g.settled {
		return 0
	}
	return detail * g.cost[refinement] * math.Exp2((reference-qp)/doubling) * g.leap(qp)
}

func (g *governor) leap(qp float64) float64 { return max((g.settled-qp)/leap, 1) }

// spill chooses for a change where the encoder makes all else as fine with it.
func (g *governor) spill(detail, fine, allowed float64) float64 {
	fine = g.fit(delta, detail, fine, allowed)
	for fine < g.settled && overhead+detail*g.cost[delta]*math.Exp2((reference-fine)/doubling)+g.finer(max(g.all-detail, 0), fine) > allowed {
		fine++
	}
	return fine
}

// starved notes the quantiser that was chosen for a frame, and tells whether bits are scarce.
func (g *governor) starved(k kind, qp int, now time.Time) bool {
	switch coarse := float64(qp) >= g.rate.Quality+starvedBy && g.rate.Kbps < narrow; {
	case k != delta:
	case !coarse:
		g.last = time.Time{}
	default:
		if now.Sub(g.last) > pause {
			g.hungry = now
		}
		g.last = now
		if g.rate.Kbps < tight || now.Sub(g.hungry) >= starvedSince {
			g.scarce = now.Add(starvedFor)
		}
	}
	return now.Before(g.scarce)
}

// note takes in which quantisers the picture has after a frame, and gives the detail that the frame was about.
func (g *governor) note(k kind, detail, qp float64) float64 {
	switch {
	case k == delta && g.spills && qp < g.settled: // all of it is as fine now
	case k == delta:
		if g.coarse, g.coarseQP = g.coarse+detail, max(g.coarseQP, qp); g.coarse*2 < g.all {
			return detail
		}
		qp = max(g.coarseQP, g.settled)
	case k == refinement && qp > g.settled:
		g.coarseQP = qp
		return g.coarse
	case k == refinement && qp == g.settled:
		detail = g.coarse
	}
	g.coarse, g.coarseQP, g.settled = 0, 0, qp
	return detail
}

// learn takes in what a frame took.
func (g *governor) learn(k kind, detail float64, qp, bytes int, now time.Time) {
	g.refill(now)
	g.left = max(g.left-float64(bytes), -g.bucket())
	g.rough = k == keyframe && float64(qp) >= g.rate.Quality+starvedBy
	settled, steps := g.settled, g.leap(float64(qp))
	spilt := k == delta && g.spills && float64(qp) < settled && detail*2 < g.all
	detail = g.note(k, detail, float64(qp))
	if k == refinement && float64(qp) < settled {
		detail *= steps
	}
	if spilt { // what it took says nothing of such a change
		return
	}
	if detail < leastDetail { // small changes say nothing of large ones
		return
	}
	cost := max(float64(bytes)-overhead, 0) / detail / math.Exp2((reference-float64(qp))/doubling)
	if old := g.cost[k]; cost < old {
		cost = old + (cost-old)*slow
	}
	g.cost[k] = cost
}

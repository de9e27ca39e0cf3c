package congestion

import (
	"image"
	"math"
	"time"
)

// Scale is how large the video is beside the screen: the last step where a way is so narrow that even the coarsest quantiser makes too few frames.
type Scale uint8

const (
	Whole Scale = iota
	ThreeQuarters
	Half
	Third
	scales
)

// Ratio is that of a side.
func (s Scale) Ratio() float64 { return [scales]float64{1, 0.75, 0.5, 1.0 / 3}[s] }

// Pixels is how many it has for one of the screen.
func (s Scale) Pixels() float64 { return s.Ratio() * s.Ratio() }

// Of is the size of the video of a screen.
func (s Scale) Of(screen image.Point) image.Point {
	if s == Whole {
		return screen
	}
	side := func(n int) int { return max(int(float64(n)*s.Ratio()), min(n, leastSide)) &^ 1 }
	return image.Pt(side(screen.X), side(screen.Y))
}

// When the scale changes.
const (
	// CoarsestQP is what encoders go up to; they coarsen by a factor of two in doublingQP steps, as far as trustQP steps tell.
	CoarsestQP = 50
	doublingQP = 6.0
	trustQP    = 18.0
	// Below leastFPS the video gets smaller, down to where usefulFPS can be had; up to where goodFPS could be had it grows again.
	leastFPS, usefulFPS, goodFPS = 12, 15, 20
	// scaleFrames is how many frames tell what they cost, one does where there would be less than poorFPS of them, scaleNews how much each is believed, leastShare how much of the screen must have changed in one.
	scaleFrames = 3
	poorFPS     = leastFPS / 3
	scaleNews   = 0.3
	leastShare  = 1.0 / 16
	// roomTime is how long there must be room before the video grows, scaleRest the least time since the last step, which doubles where growing was wrong.
	roomTime                = 2 * time.Second
	scaleRest, scaleRestMax = 3 * time.Second, time.Minute
	scaleTrust              = 10 * time.Second
	// sharpAfter is how long nothing may have changed before video that nothing else sharpens is whole, and resumeShare how much must change until it is small again.
	sharpAfter  = 500 * time.Millisecond
	resumeShare = 1.0 / 8
	// leastSide is the least that any encoder takes, and some.
	leastSide = 160
	// scaleLook is how often a small one is looked at while nothing changes.
	scaleLook = time.Second
)

// Scaler decides how large the video is, by what frames of a moving picture cost. It is for one goroutine.
type Scaler struct {
	moving Scale   // while the picture moves
	sharp  bool    // it is whole for a still picture's sake
	cost   float64 // bytes of a frame of the whole size at the coarsest quantiser
	n      int     // frames that told it since the last step

	stepped, grown time.Time
	rest           time.Duration
	roomy          time.Time // since when there is room for more
	looked         time.Time
}

// Frame takes in what a frame in which a share of the screen changed took.
func (s *Scaler) Frame(bytes, qp int, share float64) {
	if share < leastShare {
		return
	}
	least := AtCoarsest(bytes, qp) / s.Scale().Pixels()
	if s.n++; s.cost == 0 {
		s.cost = least
	}
	s.cost += (least - s.cost) * scaleNews
}

// AtCoarsest is the bytes that a frame made with a quantiser would have taken with the coarsest.
func AtCoarsest(bytes, qp int) float64 {
	return float64(bytes) * math.Exp2(max(float64(qp-CoarsestQP), -trustQP)/doublingQP)
}

// Sight is what a decision looks at beside what frames cost.
type Sight struct {
	Kbps  int
	Still time.Time // since when nothing changes: zero while something does
	// Share of the screen is about to change.
	Share float64
	// Sharpens tells that something else than video makes a still picture exact.
	Sharpens bool
}

// Scale is how large the video is now.
func (s *Scaler) Scale() Scale {
	if s.sharp {
		return Whole
	}
	return s.moving
}

// Look decides anew.
func (s *Scaler) Look(at Sight, now time.Time) Scale {
	s.looked = now
	s.shrink(at.Kbps, now)
	s.grow(at.Kbps, now)
	switch {
	case at.Sharpens || at.Share >= resumeShare:
		s.sharp = false
	case !at.Still.IsZero() && now.Sub(at.Still) >= sharpAfter:
		s.sharp = true
	}
	return s.Scale()
}

func (s *Scaler) shrink(kbps int, now time.Time) {
	if s.n == 0 || s.n < scaleFrames && s.fps(s.moving, kbps) >= poorFPS || s.moving == scales-1 || s.fps(s.moving, kbps) >= leastFPS {
		return
	}
	if s.rest = max(s.rest, scaleRest); !s.grown.IsZero() && now.Sub(s.grown) < scaleTrust {
		s.rest = min(s.rest*2, scaleRestMax)
	}
	for s.moving < scales-1 && s.fps(s.moving, kbps) < usefulFPS {
		s.moving++
	}
	s.n, s.stepped, s.roomy = 0, now, time.Time{}
}

func (s *Scaler) grow(kbps int, now time.Time) {
	want := s.moving
	for want > Whole && s.fps(want-1, kbps) >= goodFPS {
		want--
	}
	switch {
	case want == s.moving:
		s.roomy = time.Time{}
	case s.roomy.IsZero():
		s.roomy = now
	case now.Sub(s.roomy) >= roomTime && now.Sub(s.stepped) >= s.rest:
		if now.Sub(s.stepped) > scaleRestMax {
			s.rest = scaleRest
		}
		s.moving, s.n, s.stepped, s.grown, s.roomy = want, 0, now, now, time.Time{}
	}
}

// fps is how many frames a second can be had.
func (s *Scaler) fps(at Scale, kbps int) float64 {
	return float64(kbps) * 1000 / 8 / max(s.cost*at.Pixels(), 1)
}

// Due is when to look although nothing changes: zero for never.
func (s *Scaler) Due(still time.Time, sharpens bool) time.Time {
	switch {
	case s.moving == Whole || still.IsZero():
		return time.Time{}
	case !s.sharp && !sharpens:
		return still.Add(sharpAfter)
	}
	return s.looked.Add(scaleLook)
}

// Again is for another viewer, whose way is not known.
func (s *Scaler) Again() { *s = Scaler{} }

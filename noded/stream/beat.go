package stream

import (
	"errors"
	"time"

	"easel/noded/stream/tile"
)

// What a viewer may say of its display's beats, and what is made of it.
const (
	minBeatMS, maxBeatMS = 4, 50
	steadyMS             = 1.5 // standard deviation
	// beatGood is how long it counts: the display's clock and ours drift apart.
	beatGood = 3 * time.Second
	// leastGuard and mostGuard bound how close before a beat a frame is late for it, and how far behind it one is safe.
	leastGuard = time.Millisecond
	mostGuard  = 2 * time.Millisecond
	// beatKeep is how much sooner than that a frame is still kept for the next beat, once the one before it was.
	beatKeep = time.Millisecond
	// beatShift is how much later than it could be a frame is captured at most.
	beatShift = 2*mostGuard + beatKeep
	// beatRun is how many frames, no more than beatGap apart, make a picture that moves.
	beatRun = 4
	beatGap = 60 * time.Millisecond
)

// beatTold is what a viewer says: a frame captured Wait ms after the one that it names would be ready just when the display shows what it has, which it
// does every Period ms. Spread is the standard deviation of that.
type beatTold struct {
	Wait   float64 `json:"wait"`
	Period float64 `json:"period"`
	Spread float64 `json:"spread"`
}

func (t beatTold) check() error {
	if !(t.Period >= minBeatMS && t.Period <= maxBeatMS && t.Wait >= 0 && t.Wait <= t.Period && t.Spread >= 0 && t.Spread <= t.Period) {
		return errors.New("no display has such beats")
	}
	return nil
}

// beat is when a viewer's display shows what it has, by the times of capture of the frames that are ready just then. Of two frames between the
// same two beats, the first is never seen.
type beat struct {
	at, told      time.Time
	period, guard time.Duration
	steady        bool // frames come evenly enough to tell
}

// newBeat takes in what a viewer said of a frame that was captured at a time.
func newBeat(t beatTold, captured, now time.Time) *beat {
	guard := min(max(3*seconds(t.Spread/1000), leastGuard), mostGuard)
	// Its timestamp is rounded down.
	at := captured.Add(seconds(t.Wait/1000) + tile.StampStep*time.Second/90_000/2)
	return &beat{at, now, seconds(t.Period / 1000), guard, t.Spread < steadyMS}
}

// free is when a frame that could be captured at t is to be, if the one before it was captured at last: then, or as little later as it takes to
// have a beat of its own.
func (b *beat) free(t, last time.Time) time.Time {
	if b == nil || !b.steady || t.Sub(b.told) > beatGood {
		return t
	}
	past := t.Sub(b.at) % b.period
	if past < 0 {
		past += b.period
	}
	begun := t.Add(-past)
	next := begun.Add(b.period)
	if past < b.guard {
		return begun.Add(b.guard)
	}
	taken, left := !last.Before(begun), next.Sub(t)
	if left < b.guard || taken && left < b.guard+beatKeep {
		return next.Add(b.guard)
	}
	return t
}

// moving is how long a picture has been moving by video.
type moving struct {
	frames int
	last   time.Time // when the last frame was captured
}

// frame notes one that shows a change.
func (m *moving) frame(captured time.Time) {
	m.frames++
	if captured.Sub(m.last) > beatGap {
		m.frames = 1
	}
	m.last = captured
}

// inStep is when the next frame, which could be captured at t, is to be. Only what moves waits for the viewer's display: a change at rest never does.
func (m *moving) inStep(b *beat, t time.Time) time.Time {
	if m.frames < beatRun || t.Sub(m.last) > beatGap {
		return t
	}
	return b.free(t, m.last)
}

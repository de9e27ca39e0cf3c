package stream

import (
	"errors"
	"time"

	"easel/noded/stream/tile"
)

// What a viewer may say of its display's beats, and what is made of it.
const (
	minBeatMS, maxBeatMS = 4, 50
	mostMissed           = 255
	steadyMS             = 1.5 // standard deviation
	// beatGood is how long it counts: the display's clock and ours drift apart.
	beatGood = 3 * time.Second
	// lateFor is how close before a beat a frame may miss it, safeFrom how far behind one it surely has the next, as parts of a beat: the
	// viewer's page and its compositor take what they show up to 3 ms after a beat of 16.7. How far behind a beat a frame is captured does
	// not make it older: the next beat shows it.
	lateFor, safeFrom = 0.05, 0.24
	// stayFor is how much sooner a frame is kept once the one before it was: of frames that alternate, half are missed.
	stayFor = 0.06
	// missedMany of the frames that one message tells of are worth keeping step, until stepEnd in a row have needed it no more.
	missedMany = 3
	stepEnd    = 60
	// beatRun is how many frames, no more than beatGap apart, make a picture that moves.
	beatRun = 4
	beatGap = 60 * time.Millisecond
)

// beatTold is what a viewer says: a frame captured Wait ms after the one that it names would be ready just when the display shows what it has, which it
// does every Period ms. Spread is the standard deviation of that. Missed is how many of the last frames shared a beat with the next, and were never
// seen.
type beatTold struct {
	Wait   float64 `json:"wait"`
	Period float64 `json:"period"`
	Spread float64 `json:"spread"`
	Missed int     `json:"missed"`
}

func (t beatTold) check() error {
	if !(t.Period >= minBeatMS && t.Period <= maxBeatMS && t.Wait >= 0 && t.Wait <= t.Period && t.Spread >= 0 && t.Spread <= t.Period &&
		t.Missed >= 0 && t.Missed <= mostMissed) {
		return errors.New("no display has such beats")
	}
	return nil
}

// beat is when a viewer's display shows what it has, by the times of capture of the frames that are ready just then. Of two frames between the
// same two beats, the first is never seen.
type beat struct {
	at, told time.Time
	period   time.Duration
	steady   bool // frames come evenly enough to tell
	missed   int
}

// newBeat takes in what a viewer said of a frame that was captured at a time.
func newBeat(t beatTold, captured, now time.Time) *beat {
	// Its timestamp is rounded down.
	at := captured.Add(seconds(t.Wait/1000) + tile.StampStep*time.Second/90_000/2)
	return &beat{at, now, seconds(t.Period / 1000), t.Spread < steadyMS, t.Missed}
}

// free is when a frame that could be captured at t is to be, so that it surely has a beat of its own: then, or somewhat later. kept tells that the
// one before it was kept for the next beat.
func (b *beat) free(t time.Time, kept bool) time.Time {
	past := t.Sub(b.at) % b.period
	if past < 0 {
		past += b.period
	}
	begun := t.Add(-past)
	late, safe := b.part(lateFor), b.part(safeFrom)
	if kept {
		late += b.part(stayFor)
	}
	switch {
	case past < safe:
		return begun.Add(safe)
	case b.period-past < late:
		return begun.Add(b.period + safe)
	}
	return t
}

func (b *beat) part(of float64) time.Duration { return time.Duration(of * float64(b.period)) }

// moving is how long a picture has been moving by video, and whether it keeps step with the viewer's display. A step is kept only where frames are
// missed without, since most that come close to a beat, but steadily, have it.
type moving struct {
	frames int
	last   time.Time // when the last frame was captured
	heard  *beat     // the last message
	kept   bool      // the last frame was, for a beat
	steps  int       // frames that keep step until it is given up: 0 if none do
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
	if m.frames < beatRun || t.Sub(m.last) > beatGap || b == nil || !b.steady || t.Sub(b.told) > beatGood {
		return t
	}
	if b != m.heard {
		m.heard = b
		if b.missed >= missedMany {
			m.steps = stepEnd
		}
	}
	if m.steps == 0 {
		m.kept = false
		return t
	}
	free := b.free(t, m.kept)
	m.steps--
	if m.kept = free.After(t); m.kept {
		m.steps = stepEnd
	}
	return free
}

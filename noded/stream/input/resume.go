package input

import (
	"slices"
	"time"

	"easel/pkg/display"
)

// Progress is how far what a page's hand does has been taken, and what the page holds down by then as it told.
type Progress struct {
	Sample, RSeq uint32
	Buttons      [4]uint16     // by the browser's device; a bit for each, by X's number
	Keys         []display.Key // modifiers
	last         [3]Sample     // where each of the driver's devices was; zero where that is not known
}

// Resuming has a hand go on where another one of the same page came to.
type Resuming struct {
	// Before is how far that one came; false if it is not known. It may wait until that one has ended.
	Before func() (Progress, bool)
	// From is where the page goes on if it is not.
	From Progress
	// Answer takes where the hand goes on now, and whether that was known.
	Answer func(at Progress, known bool)
}

// Resume asks for that. It must come before the viewer does anything, or it changes nothing.
func (h *Hand) Resume(r Resuming) {
	select {
	case h.resuming <- r:
	default: // another is waiting: one page asks once
	}
}

// Progress is how far the hand came, once Run has returned.
func (h *Hand) Progress() Progress {
	return Progress{h.seq.applied, h.seq.reliable, h.seq.down, h.seq.keys, h.last}
}

func (h *Hand) resume(r Resuming) {
	at, known := r.Before()
	if !known {
		at = r.From
	}
	if h.seq.applied == 0 && h.seq.reliable == 0 {
		h.seq.applied, h.seq.reliable, h.seq.down, h.last = at.Sample, at.RSeq, at.Buttons, at.last
		h.seq.keys = slices.DeleteFunc(slices.Clone(at.Keys), func(k display.Key) bool { return !modifier(k.Sym) })
		h.lapsed = h.seq.down != [4]uint16{} || len(h.seq.keys) > 0
	}
	r.Answer(h.Progress(), known)
}

// back notes that the viewer is heard again. What is missing of its stroke is waited for from now on.
func (h *Hand) back(now time.Time) {
	if h.away {
		h.away = false
		h.seq.since = now
	}
}

// takeUp presses again what went up while the viewer was out of touch and what it holds down still: its stroke goes on where it had come to.
func (h *Hand) takeUp(m Message) {
	if !h.lapsed || m.Kind == kindRelease {
		return
	}
	if len(m.Samples) > 0 {
		h.takeUpButtons(m)
	}
	keys := h.owner.Keyboard()
	if keys == nil {
		return
	}
	for _, key := range h.seq.keys {
		goesUp := m.Kind == kindKey && key.Same(m.key())
		if goesUp || slices.ContainsFunc(h.keys, key.Same) {
			continue
		}
		h.pen.settle()
		h.keyed = true
		if err := h.press(keys, key); err != nil {
			h.log.Debug("key not delivered", "err", err)
		}
	}
}

// Bounds of how long a replayed stroke waits for the program to take the press before it.
const (
	leastPress = 30 * time.Millisecond
	mostPress  = 500 * time.Millisecond
)

// replay hands on what comes of a stroke all at once, later than it was made, and sees to it that none of it is lost on the way: X drops what its queue
// has no room for, and GTK merges motions until the program, when it takes the press, asks for each.
func (h *Hand) replay(m Message) {
	h.settlePress()
	h.move(m)
	h.pen.settle()
	h.keyed = true
	h.settleKeys()
}

// settlePress waits until a picture shows what the last press did, if that was just now.
func (h *Hand) settlePress() {
	if time.Since(h.pressed) < mostPress {
		h.pen.flush()
		h.mark(h.pressed)
		time.Sleep(leastPress - time.Since(h.pressed))
		for !h.marks.shown() && time.Since(h.pressed) < mostPress {
			time.Sleep(leastPress / 6)
		}
	}
	h.pressed = time.Time{}
}

func (h *Hand) takeUpButtons(m Message) {
	d := deviceOf(m.Device)
	at := h.last[d]
	if at == (Sample{}) {
		at = m.Samples[0]
	}
	if end := m.Samples[0]; m.Kind == kindButton && len(m.Samples) == 1 && end.X == at.X && end.Y == at.Y {
		return // nothing of the stroke is missing: pressed again there, it would leave a dot
	}
	again := false
	for b := range uint8(16) {
		if h.seq.down[m.Device]&(1<<b) == 0 || h.buttons[d][b] {
			continue
		}
		h.bringNear(d)
		h.put(recordOf(recordMotion, d, 0, at))
		h.put(recordOf(recordPress, d, b, at))
		h.buttons[d][b], h.last[d], h.pressed, again = true, at, time.Now(), true
	}
	if again { // what is pressed as it is made waits for nothing
		h.settlePress()
	}
}

// modifier tells whether a key changes what others mean: the only kind that is pressed again by itself, as others do something when pressed.
func modifier(sym display.Keysym) bool {
	const shiftL, hyperR, capsLock, shiftLock, level3Shift = 0xffe1, 0xffee, 0xffe5, 0xffe6, 0xfe03
	return sym == level3Shift || sym >= shiftL && sym <= hyperR && sym != capsLock && sym != shiftLock
}

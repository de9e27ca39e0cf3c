package input

import (
	"slices"
	"time"

	"easel/pkg/display"
)

// Bounds of what waits for a reliable message or for samples of a stroke that were lost on their way. The samples are two seconds of a pen that
// tells of itself a thousand times a second; a power of two.
const (
	maxHeldSamples = 2048
	maxHeldTime    = 2 * time.Second
)

// sequence puts what came over the two channels into one order: each sample once, no motion before the press that it followed, and while a
// button is down no sample before another that may still come (the viewer sends again what was not acknowledged). It is for one goroutine.
type sequence struct {
	applied  uint32        // number of the last sample handed on
	reliable uint32        // rseq of the last reliable message handed on
	down     [4]uint16     // by the browser's device: buttons that are down, as the viewer told
	changed  uint32        // applied when one last went up or down
	keys     []display.Key // modifiers that are
	slots    []heldSlot    // by number modulo their count; made when first needed
	held     int           // slots in use
	stuck    uint32        // applied when it first went no further
	since    time.Time     // when that was
	skipped  uint64        // samples of strokes that did not come in time
}

type heldSlot struct {
	Sample
	number, barrier uint32
	device          uint8
	used            bool
}

// take hands on what m makes ready, in order: m itself with the samples that are new, and what had waited for it. A reliable message is always
// handed on, even if none of its samples is new: it brings those of a stroke that it needs.
func (s *sequence) take(m Message, now time.Time, apply func(Message)) {
	if m.Kind == kindPointer {
		s.motion(m, now, apply)
		return
	}
	switch {
	case len(m.Samples) > 0:
		s.pass(m.First-1, apply)
		m = s.fresh(m, m.Kind == kindButton)
	case m.Kind == kindRelease:
		s.passAll(apply)
	}
	s.reliable = m.RSeq
	if m.Kind != kindStroke || len(m.Samples) > 0 {
		apply(m)
	}
	s.note(m)
	s.forget()
	s.release(now, apply)
}

// note keeps count of the buttons and modifiers that are down.
func (s *sequence) note(m Message) {
	switch {
	case m.Kind == kindRelease:
		s.down, s.keys = [4]uint16{}, nil
	case m.Kind == kindKey:
		if key := m.key(); modifier(key.Sym) {
			s.keys = slices.DeleteFunc(s.keys, key.Same)
			if m.Down && len(s.keys) < maxKeys {
				s.keys = append(s.keys, key)
			}
		}
	case m.Kind == kindButton:
		s.changed = s.applied
		s.down[m.Device] &^= 1 << m.Button
		if m.Down {
			s.down[m.Device] |= 1 << m.Button
		}
	}
}

// stroke tells whether a button is down: what is missing is waited for.
func (s *sequence) stroke() bool { return s.down != [4]uint16{} }

func (s *sequence) motion(m Message, now time.Time, apply func(Message)) {
	first := s.applied + 1
	if m = s.fresh(m, false); len(m.Samples) == 0 {
		return
	}
	if s.held == 0 && !after(m.Barrier, s.reliable) && (m.First == first || !s.stroke()) {
		apply(m)
		return
	}
	s.applied = first - 1
	s.hold(m, apply)
	s.release(now, apply)
}

// hold keeps the samples of m, of which none was handed on. Where there is no room, the oldest that is waited for is given up.
func (s *sequence) hold(m Message, apply func(Message)) {
	if s.slots == nil {
		s.slots = make([]heldSlot, maxHeldSamples)
	}
	for i, p := range m.Samples {
		n := m.First + uint32(i)
		if after(n, s.applied+maxHeldSamples) {
			s.pass(n-maxHeldSamples, apply)
		}
		if at := &s.slots[n%maxHeldSamples]; !at.used {
			*at = heldSlot{Sample: p, number: n, barrier: m.Barrier, device: m.Device, used: true}
			s.held++
		}
	}
}

// release hands on what waits no longer: what was missing has come, or was waited for too long.
func (s *sequence) release(now time.Time, apply func(Message)) {
	for s.held > 0 {
		next := s.next()
		gap := next.number != s.applied+1
		if !after(next.barrier, s.reliable) && (!gap || !s.stroke()) {
			s.passRun(next, apply)
			continue
		}
		if s.stuck != s.applied || s.since.IsZero() {
			s.stuck, s.since = s.applied, now
		}
		if now.Sub(s.since) < maxHeldTime {
			return
		}
		s.passRun(next, apply)
	}
	s.since = time.Time{}
}

// deadline says when release has something to do although nothing came; zero for never.
func (s *sequence) deadline() time.Time {
	if s.held == 0 {
		return time.Time{}
	}
	return s.since.Add(maxHeldTime)
}

// missing is the number of the first sample that is there beyond a gap; 0 if there is no gap.
func (s *sequence) missing() uint32 {
	if s.held == 0 {
		return 0
	}
	if n := s.next().number; n != s.applied+1 {
		return n
	}
	return 0
}

// next is the held sample of the lowest number. There must be one.
func (s *sequence) next() *heldSlot {
	for n := s.applied + 1; ; n++ {
		if at := &s.slots[n%maxHeldSamples]; at.used {
			return at
		}
	}
}

// passRun hands on a held sample and those that follow it without a gap, of one device and after the same message.
func (s *sequence) passRun(at *heldSlot, apply func(Message)) {
	m := Message{Kind: kindPointer, Device: at.device, First: at.number, Barrier: at.barrier}
	if s.stroke() {
		s.skipped += uint64(at.number - s.applied - 1)
	}
	for n := at.number; at.used && at.number == n && at.device == m.Device && at.barrier == m.Barrier; n++ {
		m.Samples = append(m.Samples, at.Sample)
		at.used = false
		s.held--
		s.applied = n
		at = &s.slots[(n+1)%maxHeldSamples]
	}
	apply(m)
}

// pass hands on all that is held up to a number, and counts what is missing as lost.
func (s *sequence) pass(number uint32, apply func(Message)) {
	for s.held > 0 {
		next := s.next()
		if after(next.number, number) {
			break
		}
		s.passRun(next, apply)
	}
	if after(number, s.applied) {
		if s.stroke() {
			s.skipped += uint64(number - s.applied)
		}
		s.applied = number
	}
}

func (s *sequence) passAll(apply func(Message)) {
	for s.held > 0 {
		s.passRun(s.next(), apply)
	}
}

// forget drops what is held of samples that a reliable message has brought.
func (s *sequence) forget() {
	if s.held == 0 {
		return
	}
	for i := range s.slots {
		if at := &s.slots[i]; at.used && !after(at.number, s.applied) {
			at.used = false
			s.held--
		}
	}
}

// fresh cuts off the samples that were handed on before. With keepLast the last one stays: it is where a button was pressed.
func (s *sequence) fresh(m Message, keepLast bool) Message {
	last := m.First + uint32(len(m.Samples)) - 1
	drop := 0
	if !after(m.First, s.applied) {
		drop = int(min(s.applied-m.First+1, uint32(len(m.Samples))))
	}
	if keepLast {
		drop = min(drop, len(m.Samples)-1)
	}
	m.Samples = m.Samples[drop:]
	m.First += uint32(drop)
	if after(last, s.applied) {
		s.applied = last
	}
	return m
}

// after compares numbers that wrap around.
func after(a, b uint32) bool { return int32(a-b) > 0 }

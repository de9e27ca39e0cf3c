package stream

import "time"

// Bounds of what waits for a reliable message that has not come yet.
const (
	maxHeldMessages = 256
	maxHeldTime     = time.Second
)

// sequence puts what came over the two channels into one order: each sample once, no motion before the press
// that it followed. It is for one goroutine.
type sequence struct {
	applied  uint32 // number of the last sample handed on
	reliable uint32 // rseq of the last reliable message handed on
	held     []heldMessage
}

type heldMessage struct {
	m    message
	came time.Time
}

// take hands on what m makes ready, in order: m itself with the samples that are new, and what had waited for it. A
// reliable message is always handed on, even if none of its samples is new.
func (s *sequence) take(m message, now time.Time, apply func(message)) {
	if m.Kind == kindPointer {
		if after(m.Barrier, s.reliable) {
			if len(s.held) == maxHeldMessages { // what it says is most likely repeated by a later one
				copy(s.held, s.held[1:])
				s.held = s.held[:maxHeldMessages-1]
			}
			s.held = append(s.held, heldMessage{m, now})
			return
		}
		s.motion(m, apply)
		return
	}
	s.reliable = m.RSeq
	if len(m.Samples) > 0 {
		m = s.fresh(m, true)
	}
	apply(m)
	s.release(now, apply)
}

// release hands on what waits no longer: its message has come, or it waited too long.
func (s *sequence) release(now time.Time, apply func(message)) {
	kept := s.held[:0]
	for _, h := range s.held {
		if after(h.m.Barrier, s.reliable) && now.Sub(h.came) < maxHeldTime {
			kept = append(kept, h)
			continue
		}
		s.motion(h.m, apply)
	}
	clear(s.held[len(kept):])
	s.held = kept
}

// deadline says when release has something to do although nothing came; zero for never.
func (s *sequence) deadline() time.Time {
	if len(s.held) == 0 {
		return time.Time{}
	}
	return s.held[0].came.Add(maxHeldTime)
}

func (s *sequence) motion(m message, apply func(message)) {
	if m = s.fresh(m, false); len(m.Samples) > 0 {
		apply(m)
	}
}

// fresh cuts off the samples that were handed on before. With keepLast the last one stays: it is where a button was pressed.
func (s *sequence) fresh(m message, keepLast bool) message {
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

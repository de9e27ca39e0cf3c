package input

import "time"

// How often a viewer hears what of its stroke has been applied, and how often when something is missing: it then sends that again.
const (
	ackEvery = 25 * time.Millisecond
	ackGap   = 5 * time.Millisecond
)

// acks tells the viewer how far its stroke has come, and its end, so that it sends again what was lost, or was not taken when the streamer died, and
// forgets the rest. It is for one goroutine.
type acks struct {
	send func([]byte)

	applied, next uint32 // as they were told last
	at            time.Time
	buf           []byte
}

// due says when there is something to tell; zero for never.
func (a *acks) due(s *sequence) time.Time {
	next, open := s.missing(), s.stroke() || after(s.changed, a.applied)
	if !open || (s.applied == a.applied && next == a.next) {
		return time.Time{}
	}
	if next != 0 {
		return a.at.Add(ackGap)
	}
	return a.at.Add(ackEvery)
}

func (a *acks) tell(s *sequence, now time.Time) {
	if at := a.due(s); at.IsZero() || now.Before(at) {
		return
	}
	a.applied, a.next, a.at = s.applied, s.missing(), now
	a.buf = ack(a.buf[:0], a.applied, a.next)
	a.send(a.buf)
}

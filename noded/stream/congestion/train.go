package congestion

import "time"

// A train is packets that left one close after the other: a frame, or a probe. How fast they leave and arrive says what the way carries, however
// little is sent otherwise.
const (
	trainGap     = 8 * time.Millisecond
	trainLong    = 50 * time.Millisecond
	leastTrain   = 8 // packets
	trainShort   = 4 * time.Millisecond
	trainPackets = 24 // so many say enough, however short
	// fullSpeed is the part of the speed of sending at which a train must arrive to have met no queue.
	fullSpeed = 0.9
)

// train is packets on their way.
type train struct {
	packets, bytes           int
	sent, gone, came, lastly time.Duration // first and last, on our clock and the viewer's
}

// pass is what a train said: the kbps at which it arrived, and whether the way held it up.
type pass struct {
	kbps    float64
	limited bool
}

// packet takes in a packet that arrived, in the order in which they left; ok tells that a train before it is complete and, having taken as long as short to leave, says something.
func (t *train) packet(sent, arrived time.Duration, size int, short time.Duration) (p pass, ok bool) {
	if t.packets > 0 && sent-t.gone <= trainGap && sent >= t.gone && sent-t.sent <= trainLong {
		t.packets++
		t.bytes += size
		t.gone, t.lastly = sent, max(t.lastly, arrived)
		return pass{}, false
	}
	p, ok = t.end(short)
	*t = train{packets: 1, sent: sent, gone: sent, came: arrived, lastly: arrived}
	return p, ok
}

// end says what the present train told, if it took as long as short to leave. The bytes of its first packet do not count: the times begin with it.
func (t *train) end(short time.Duration) (pass, bool) {
	left, came := t.gone-t.sent, t.lastly-t.came
	if t.packets < leastTrain || (left < short && t.packets < trainPackets) || left <= 0 {
		return pass{}, false
	}
	speed := func(d time.Duration) float64 { return float64(t.bytes) * 8 / millis(max(d, feedbackTick)) }
	out, in := speed(left), speed(came)
	return pass{min(out, in), in < out*fullSpeed}, true
}

// stretch tells by how much longer packets took to arrive than to leave, over the last reports: where that is much, they arrived as fast as the way carries.
type stretch struct {
	span [stretchReports]struct {
		sent, gone, came, lastly time.Duration
		bytes, packets           int
	}
	n int
}

const (
	stretchReports = 4
	stretchPackets = 16
	stretchSpan    = 100 * time.Millisecond
)

// add takes in a report.
func (s *stretch) add(arrived []Arrival) {
	if len(arrived) == 0 {
		return
	}
	r := &s.span[s.n%stretchReports]
	s.n++
	r.sent, r.gone, r.came, r.lastly, r.bytes, r.packets = arrived[0].Sent, arrived[0].Sent, arrived[0].At, arrived[0].At, 0, len(arrived)
	for _, a := range arrived {
		r.sent, r.gone = min(r.sent, a.Sent), max(r.gone, a.Sent)
		r.came, r.lastly = min(r.came, a.At), max(r.lastly, a.At)
		r.bytes += a.Size
	}
}

// kbps is what the way carries; ok is false where it does not show.
func (s *stretch) kbps() (kbps float64, ok bool) {
	bytes, packets := 0, 0
	last := s.span[(s.n+stretchReports-1)%stretchReports]
	first := last
	for i := 1; i <= min(s.n, stretchReports); i++ { // the newest that suffice
		first = s.span[(s.n+stretchReports-i)%stretchReports]
		bytes, packets = bytes+first.bytes, packets+first.packets
		if left, came := last.gone-first.sent, last.lastly-first.came; packets >= stretchPackets && came >= stretchSpan {
			return float64(bytes) * 8 / millis(came), float64(left) < float64(came)*fullSpeed
		}
	}
	return 0, false
}

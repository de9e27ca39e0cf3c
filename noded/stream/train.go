package stream

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

// packet takes in a packet that arrived, in the order in which they left; ok tells that a train before it is complete and says something.
func (t *train) packet(sent, arrived time.Duration, size int) (p pass, ok bool) {
	if t.packets > 0 && sent-t.gone <= trainGap && sent >= t.gone && sent-t.sent <= trainLong {
		t.packets++
		t.bytes += size
		t.gone, t.lastly = sent, max(t.lastly, arrived)
		return pass{}, false
	}
	p, ok = t.end()
	*t = train{packets: 1, sent: sent, gone: sent, came: arrived, lastly: arrived}
	return p, ok
}

// end says what the present train told. The bytes of its first packet do not count: the times begin with it.
func (t *train) end() (pass, bool) {
	left, came := t.gone-t.sent, t.lastly-t.came
	if t.packets < leastTrain || (left < trainShort && t.packets < trainPackets) || left <= 0 {
		return pass{}, false
	}
	speed := func(d time.Duration) float64 { return float64(t.bytes) * 8 / millis(max(d, feedbackTick)) }
	out, in := speed(left), speed(came)
	return pass{min(out, in), in < out*fullSpeed}, true
}

package congestion

import (
	"encoding/binary"
	"errors"
	"time"
)

// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): a header of RTCP, two SSRCs, the first number, how many, the time in
// units of 64 ms, chunks that say which arrived, and when each did after the one before, in units of 250 µs.
const (
	// MaxFeedback is how many packets one may tell of.
	MaxFeedback = 8192

	feedbackHeader  = 20
	feedbackTick    = 250 * time.Microsecond
	feedbackEpoch   = 64 * time.Millisecond
	symbolMissing   = 0
	symbolSmall     = 1
	symbolLarge     = 2
	symbolsOneBit   = 14
	symbolsTwoBits  = 7
	longestRun      = 1<<13 - 1
	feedbackTimeMod = 1 << 24
)

var (
	errFeedbackShort = errors.New("read feedback: it ends too soon")
	errFeedbackMany  = errors.New("read feedback: it tells of more packets than are remembered")
)

// feedbackChunks calls each with every symbol of a feedback's chunks, and gives what follows them.
func feedbackChunks(b []byte, count int, each func(symbol byte)) (rest []byte, err error) {
	for count > 0 {
		if len(b) < 2 {
			return nil, errFeedbackShort
		}
		chunk := binary.BigEndian.Uint16(b)
		b = b[2:]
		switch {
		case chunk>>15 == 0: // a run
			n := min(int(chunk&longestRun), count)
			for range n {
				each(byte(chunk >> 13 & 3))
			}
			if n == 0 {
				return nil, errFeedbackShort
			}
			count -= n
		case chunk>>14 == 2: // one bit each
			n := min(symbolsOneBit, count)
			for i := range n {
				each(byte(chunk >> (symbolsOneBit - 1 - i) & 1))
			}
			count -= n
		default:
			n := min(symbolsTwoBits, count)
			for i := range n {
				each(byte(chunk >> (2 * (symbolsTwoBits - 1 - i)) & 3))
			}
			count -= n
		}
	}
	return b, nil
}

// parseFeedback reads one RTCP packet of transport-wide feedback and calls each for every packet that it tells of, in order. Arrivals are told on the
// viewer's clock, from epoch, which is in units of 64 ms and wraps.
func parseFeedback(b []byte, each func(seq uint16, arrived bool, after time.Duration)) (epoch uint32, err error) {
	if len(b) < feedbackHeader {
		return 0, errFeedbackShort
	}
	first, count := binary.BigEndian.Uint16(b[12:]), int(binary.BigEndian.Uint16(b[14:]))
	if count > MaxFeedback {
		return 0, errFeedbackMany
	}
	epoch = uint32(b[16])<<16 | uint32(b[17])<<8 | uint32(b[18])
	chunks := b[feedbackHeader:]
	deltas, err := feedbackChunks(chunks, count, func(byte) {})
	if err != nil {
		return 0, err
	}
	need := 0
	_, _ = feedbackChunks(chunks, count, func(symbol byte) {
		if symbol == symbolSmall || symbol == symbolLarge {
			need += int(symbol)
		}
	})
	if need > len(deltas) {
		return 0, errFeedbackShort
	}
	seq, after := first, time.Duration(0)
	_, _ = feedbackChunks(chunks, count, func(symbol byte) {
		switch symbol {
		case symbolSmall:
			after += time.Duration(deltas[0]) * feedbackTick
			deltas = deltas[1:]
		case symbolLarge:
			after += time.Duration(int16(binary.BigEndian.Uint16(deltas))) * feedbackTick
			deltas = deltas[2:]
		}
		each(seq, symbol == symbolSmall || symbol == symbolLarge, after)
		seq++
	})
	return epoch, nil
}

// feedbackLapse is how much later one feedback's epoch is than another's: less than 0 for one that is older.
func feedbackLapse(from, to uint32) time.Duration {
	ticks := int32((to-from)%feedbackTimeMod<<8) >> 8
	return time.Duration(ticks) * feedbackEpoch
}

// clockSlip is how much a viewer's clock may run away from ours between two reports before it counts as another.
const clockSlip = 10 * time.Second

// Feedback reads what a viewer says of arrivals, and makes one time of the times in it, which are told in parts. The zero value is ready.
type Feedback struct {
	epoch uint32
	base  time.Duration
	heard time.Time
}

// at is the viewer's time at the epoch of a feedback; ok is false where the clock has jumped.
func (c *Feedback) at(epoch uint32, now time.Time) (base time.Duration, ok bool) {
	lapse := feedbackLapse(c.epoch, epoch)
	ok = !c.heard.IsZero()
	if slip := lapse - now.Sub(c.heard); slip > clockSlip || slip < -clockSlip {
		ok = false
	}
	c.epoch, c.base, c.heard = epoch, c.base+lapse, now
	return c.base, ok
}

// Read takes in one RTCP packet and calls each for every packet that it tells of, in order, arrived at a time of the viewer's clock. same is false where
// that clock is another than before.
func (c *Feedback) Read(b []byte, now time.Time, each func(seq uint16, arrived bool, at time.Duration)) (same bool, err error) {
	if len(b) < feedbackHeader {
		return false, errFeedbackShort
	}
	base, same := c.at(binary.BigEndian.Uint32(b[16:])>>8, now)
	_, err = parseFeedback(b, func(seq uint16, arrived bool, after time.Duration) { each(seq, arrived, base+after) })
	return same, err
}

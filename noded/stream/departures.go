package stream

import (
	"encoding/binary"
	"errors"
	"time"
)

// keptDepartures is how many sent packets are remembered until the viewer tells of them. It divides 65536.
const keptDepartures = 8192

// departure is one packet that went out.
type departure struct {
	at      time.Duration // since the pacer began
	size    int32
	seq     uint16 // transport-wide
	rtp     uint16 // of the video packet that it is or repeats
	video   bool
	more    bool // than the picture would take on a way without loss
	known   bool
	arrived bool
	missing bool // by a report; a later one may say otherwise
}

// departures remembers what went out by its transport-wide number, and no more than so much.
type departures struct {
	ring [keptDepartures]departure
	next uint16
}

// add notes a packet and gives its number.
func (d *departures) add(p departure) uint16 {
	p.seq, p.known = d.next, true
	d.ring[d.next%keptDepartures] = p
	d.next++
	return p.seq
}

// get is the packet of a number, nil if none is known.
func (d *departures) get(seq uint16) *departure {
	if p := &d.ring[seq%keptDepartures]; p.known && p.seq == seq {
		return p
	}
	return nil
}

// Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): a header of RTCP, two SSRCs, the first number, how many, the time in
// units of 64 ms, chunks that say which arrived, and when each did after the one before, in units of 250 µs.
const (
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
	if count > keptDepartures {
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

package contract

import (
	"fmt"
	"math"
)

// Stages of the way from the hand to the picture that it changes, in order. The node measures those from StageNode to StageSend, the viewer the
// rest. StageInput is the whole.
const (
	StageHand    = iota // the browser's event → the node
	StageNode           // → handed to the X server
	StageGIMP           // → damage
	StageDamage         // → the picture is read
	StageRead           // → it is here
	StageConvert        // → compared and converted
	StageEncode
	StageSend
	StageReceive // → all of it is at the viewer
	StageDecode
	StageShown
	StageInput
	LatencyStages
)

// StageNames are the stages' names, for people and for metrics.
func StageNames() [LatencyStages]string {
	return [LatencyStages]string{"hand", "node", "gimp", "damage", "read", "convert", "encode", "send", "receive", "decode", "shown", "input"}
}

// latencyBuckets is how many counts a stage has: one for each bound and one for what is beyond.
const latencyBuckets = 14

// LatencyBounds are the upper bounds of the counts but the last, in milliseconds.
func LatencyBounds() [latencyBuckets - 1]float64 {
	return [latencyBuckets - 1]float64{0.25, 0.5, 1, 2, 4, 8, 16, 33, 66, 133, 266, 533, 1066}
}

// maxLatencyCount bounds what a count and, in milliseconds, a sum may be.
const maxLatencyCount = 1 << 50

// Histogram counts durations by LatencyBounds.
type Histogram struct {
	N  []uint64 `json:"n"`
	MS float64  `json:"ms"` // the sum
}

// NewHistogram makes one that has counted nothing.
func NewHistogram() Histogram { return Histogram{N: make([]uint64, latencyBuckets)} }

// Observe counts a duration of so many milliseconds.
func (h *Histogram) Observe(ms float64) {
	i := 0
	for _, b := range LatencyBounds() {
		if ms <= b {
			break
		}
		i++
	}
	h.N[i]++
	h.MS += ms
}

// Count is how many durations it has counted.
func (h *Histogram) Count() (all uint64) {
	for _, n := range h.N {
		all += n
	}
	return all
}

// Add counts what another one has counted. Both must be valid.
func (h *Histogram) Add(o Histogram) {
	for i, n := range o.N {
		h.N[i] += n
	}
	h.MS += o.MS
}

// Check refuses what can be no histogram, or has a count above most.
func (h *Histogram) Check(most uint64) error {
	if len(h.N) != latencyBuckets {
		return fmt.Errorf("%d counts, want %d", len(h.N), latencyBuckets)
	}
	for _, n := range h.N {
		if n > most {
			return fmt.Errorf("a count of %d, at most %d are believed", n, most)
		}
	}
	if math.IsNaN(h.MS) || h.MS < 0 || h.MS > maxLatencyCount {
		return fmt.Errorf("a sum of %v ms", h.MS)
	}
	return nil
}

// Latency is how long each stage took since the streamer began, or nothing.
type Latency []Histogram

// NewLatency makes one that has counted nothing.
func NewLatency() Latency {
	l := make(Latency, LatencyStages)
	for i := range l {
		l[i] = NewHistogram()
	}
	return l
}

// Check refuses what no streamer tells.
func (l Latency) Check() error {
	if len(l) != 0 && len(l) != LatencyStages {
		return fmt.Errorf("%d stages, want %d", len(l), LatencyStages)
	}
	for i := range l {
		if err := l[i].Check(maxLatencyCount); err != nil {
			return fmt.Errorf("stage %s: %w", StageNames()[i], err)
		}
	}
	return nil
}

// Since is what was counted after before; ok is false where that was another streamer.
func (l Latency) Since(before Latency) (Latency, bool) {
	if len(l) != LatencyStages || len(before) != LatencyStages {
		return nil, false
	}
	out := NewLatency()
	for i := range l {
		for j, n := range l[i].N {
			if n < before[i].N[j] {
				return nil, false
			}
			out[i].N[j] = n - before[i].N[j]
		}
		if out[i].MS = l[i].MS - before[i].MS; out[i].MS < 0 {
			return nil, false
		}
	}
	return out, true
}

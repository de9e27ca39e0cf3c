package stream

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"easel/noded/stream/contract"
	"easel/noded/stream/input"
)

// latency counts how long each stage takes, of all screens and viewers since the streamer began. It is safe for several goroutines.
type latency struct {
	mu  sync.Mutex
	all contract.Latency
}

func newLatency() *latency { return &latency{all: contract.NewLatency()} }

// observe counts durations of consecutive stages.
func (l *latency) observe(first int, took ...time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, d := range took {
		l.all[first+i].Observe(d.Seconds() * 1000)
	}
}

// add counts what a viewer has measured. It must have been checked. Where that is more than can be told, as only a viewer that makes it up comes to, all is counted
// anew.
func (l *latency) add(stages map[string]contract.Histogram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, name := range contract.StageNames() {
		if h, ok := stages[name]; ok {
			l.all[i].Add(h)
		}
	}
	if l.all.Check() != nil {
		l.all = contract.NewLatency()
	}
}

// told is a copy of what was counted.
func (l *latency) told() contract.Latency {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := contract.NewLatency()
	for i := range c {
		c[i].Add(l.all[i])
	}
	return c
}

// maxStageCount is how many durations of a stage a viewer may tell at once: some seconds of the quickest hand. maxStageMS is the longest that one can be.
const (
	maxStageCount = 20_000
	maxStageMS    = 60_000
)

// checkStages refuses what a viewer cannot have measured.
func checkStages(stages map[string]contract.Histogram) error {
	names := contract.StageNames()
	left := len(stages)
	for i, name := range names {
		h, ok := stages[name]
		if !ok {
			continue
		}
		left--
		if i > contract.StageHand && i < contract.StageReceive {
			return fmt.Errorf("stage %s is not the viewer's to measure", name)
		}
		if err := h.Check(maxStageCount); err != nil {
			return fmt.Errorf("stage %s: %w", name, err)
		}
		if n := h.Count(); h.MS > float64(n)*maxStageMS {
			return fmt.Errorf("stage %s: %d durations of %v ms together", name, n, h.MS)
		}
	}
	if left > 0 {
		return fmt.Errorf("%d stages are unknown", left)
	}
	return nil
}

// kindEcho is an echo's kind of message, on the motion channel.
const kindEcho = 33

// Ways by which a picture comes to its viewer, as an ECHO names them.
const (
	byVideo = 0
	byTile  = 1
)

// echo is what a viewer is told of a picture: which input it is the first to follow, and how long the node took for what, from that input's arrival on.
type echo struct {
	way     uint8
	input   input.Mark
	picture uint32  // the frame's timestamp, or the number of the tiles' message
	arrived float64 // ms since 1970
	took    [contract.StageReceive - contract.StageNode]time.Duration
}

func (e *echo) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, kindEcho, e.way, 0, 0)
	b = le.AppendUint32(b, e.input.Sample)
	b = le.AppendUint32(b, e.input.RSeq)
	b = le.AppendUint32(b, e.picture)
	b = le.AppendUint64(b, math.Float64bits(e.arrived))
	for _, d := range e.took {
		b = le.AppendUint32(b, uint32(max(min(d, time.Hour), 0).Microseconds()))
	}
	return b
}

// echoAll tells everybody of a frame: the lead if it shows a change, guests in any case, who have by video what the lead had by tiles before.
func (p *painter) echoAll(lead *peer, changed bool, damage time.Time, took *[stages]time.Duration) {
	if changed {
		p.echo(lead, byVideo, p.stamp, damage, took)
	}
	for _, f := range p.viewers.watchedBy() {
		if f.peer != lead {
			p.echo(f.peer, byVideo, f.stamp, damage, took)
		}
	}
}

// echo tells a viewer of a picture that was sent, if some input of its hand came before the damage that it shows. took is from the damage on.
func (p *painter) echo(peer *peer, way uint8, picture uint32, damage time.Time, took *[stages]time.Duration) {
	cause, ok := peer.hand.Cause(damage)
	if !ok {
		return
	}
	e := echo{way: way, input: cause, picture: picture, arrived: peer.worker.clock.ms(cause.Came)}
	e.took[0], e.took[1] = cause.Given.Sub(cause.Came), damage.Sub(cause.Given)
	copy(e.took[2:], took[stageWait:stageTotal])
	peer.worker.latency.observe(contract.StageNode, e.took[:2]...)
	p.echoed = e.append(p.echoed[:0])
	peer.sendMotion(p.echoed)
}

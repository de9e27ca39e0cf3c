package stream

import (
	"context"
	"image"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"easel/pkg/display"
)

// maxKeys is how many keys a hand holds down at most.
const maxKeys = 32

// handQueue is how many messages may wait to be applied; beyond it the channels push back on the viewer.
const handQueue = 256

// typist is a keyboard of the present X server.
type typist interface {
	Press(k display.Key) error
	Release(k display.Key)
	Text(s string) error
	// Settle returns when the X server has had all of that.
	Settle() error
}

// farOut is how far from its screen a pointer is believed to be, in 1/256 px: a drag goes on outside the window that it began in.
const farOut = display.MaxSide * 2 * 256

// hand puts a viewer's input into the session. One goroutine, run, owns everything in it but the queue.
type hand struct {
	queue    chan message
	keyboard func() typist          // nil while there is no X server
	place    func() image.Rectangle // of the viewer's screen on the X server's
	pen      *pen
	may      func() bool // whether what the viewer does counts
	settling chan chan struct{}
	log      *slog.Logger
	acks     acks
	marks    marks
	marked   mark          // the last one
	skipped  atomic.Uint64 // the sequence's count, for who reads it elsewhere

	mine    bool // what may said last
	seq     sequence
	keys    []display.Key // that it holds down
	keyed   bool          // a key went out since the X server was last waited for
	near    [3]bool
	buttons [3]map[uint8]bool
	last    [3]sample
}

// newHand makes a hand that says by tell what has been applied.
func newHand(keyboard func() typist, place func() image.Rectangle, p *pen, tell func([]byte), log *slog.Logger) *hand {
	h := &hand{queue: make(chan message, handQueue), keyboard: keyboard, place: place, pen: p, may: func() bool { return true }, settling: make(chan chan struct{}), log: log, acks: acks{send: tell}}
	for i := range h.buttons {
		h.buttons[i] = make(map[uint8]bool)
	}
	return h
}

// push queues a message, and waits while the queue is full.
func (h *hand) push(ctx context.Context, m message) {
	m.came = time.Now()
	select {
	case h.queue <- m:
	case <-ctx.Done():
	}
}

// run applies messages until ctx ends, and then lets everything go, so that nothing stays pressed; a value on drop has it let go too.
func (h *hand) run(ctx context.Context, drop <-chan struct{}) {
	defer h.letGo()
	h.mine = h.may()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if d := sooner(h.seq.deadline(), h.acks.due(&h.seq)); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		select {
		case <-ctx.Done():
			return
		case m := <-h.queue:
			h.seq.take(m, time.Now(), h.apply)
			for range len(h.queue) { // what came together goes out together
				m = <-h.queue
				h.seq.take(m, time.Now(), h.apply)
			}
			h.pen.flush()
			h.mark(m.came)
		case <-drop:
			h.letGo()
		case done := <-h.settling:
			h.look()
			close(done)
		case now := <-timer.C:
			h.seq.release(now, h.apply)
		}
		h.pen.flush()
		h.acks.tell(&h.seq, time.Now())
		h.skipped.Store(h.seq.skipped)
	}
}

// settle has the hand look whether what it does counts, and returns when it holds nothing down if not, or when gone closes.
func (h *hand) settle(ctx context.Context, gone <-chan struct{}) {
	done := make(chan struct{})
	select {
	case h.settling <- done:
	case <-gone:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-gone:
	case <-ctx.Done():
	}
}

// look lets everything go when what the viewer does counts no longer. What it sent before that and has not been applied is dropped.
func (h *hand) look() {
	before := h.mine
	if h.mine = h.may(); before && !h.mine {
		h.letGo()
	}
}

// mark notes for the painter what X has been given by now, the last of which came at that time.
func (h *hand) mark(came time.Time) {
	if k := (mark{h.seq.applied, h.seq.reliable, came, time.Now()}); k.sample != h.marked.sample || k.rseq != h.marked.rseq {
		h.marks.note(k)
		h.marked = k
	}
}

func (h *hand) apply(m message) {
	if !h.mine {
		return
	}
	switch m.Kind {
	case kindPointer, kindStroke:
		h.move(m)
	case kindButton:
		h.button(m)
	case kindWheel:
		h.put(record{Kind: penMotion, Device: toPointer, X: m.X, Y: m.Y})
		h.put(record{Kind: penScroll, Device: toPointer, X: m.DX, Y: m.DY})
	case kindProximity:
		if d := deviceOf(m.Device); d != toPointer && h.near[d] != m.Down {
			h.proximity(d, m.Down)
		}
	case kindRelease:
		h.letGo()
	case kindKey, kindText:
		h.key(m)
	}
}

func (h *hand) key(m message) {
	k := h.keyboard()
	if k == nil {
		return
	}
	h.pen.settle() // pointer and keys go to X by ways of their own, and keep their order
	h.keyed = true
	key := display.Key{Sym: display.Keysym(m.Sym), Code: m.Code}
	var err error
	switch {
	case m.Kind == kindText:
		err = k.Text(m.Text)
	case m.Down:
		if len(h.keys) >= maxKeys { // nobody has so many fingers
			k.Release(h.keys[0])
			h.keys = h.keys[1:]
		}
		h.keys = append(slices.DeleteFunc(h.keys, key.Same), key)
		err = k.Press(key)
	default:
		k.Release(key)
		h.keys = slices.DeleteFunc(h.keys, key.Same)
	}
	if err != nil {
		h.log.Debug("key not delivered", "err", err)
	}
}

func (h *hand) move(m message) {
	d := deviceOf(m.Device)
	h.bringNear(d)
	for _, s := range m.Samples {
		h.put(recordOf(penMotion, d, 0, s))
		h.last[d] = s
	}
}

func (h *hand) button(m message) {
	d := deviceOf(m.Device)
	h.bringNear(d)
	s := m.Samples[len(m.Samples)-1]
	for _, s := range m.Samples {
		h.put(recordOf(penMotion, d, 0, s))
	}
	h.last[d] = s
	if h.buttons[d][m.Button] == m.Down {
		return
	}
	kind := uint8(penRelease)
	if m.Down {
		kind = penPress
		h.buttons[d][m.Button] = true
	} else {
		delete(h.buttons[d], m.Button)
	}
	h.put(recordOf(kind, d, m.Button, s))
}

// bringNear says that a pen or eraser is there before it first moves, and that the other one is not.
func (h *hand) bringNear(d uint8) {
	if d == toPointer || h.near[d] {
		return
	}
	if other := toPen + toEraser - d; h.near[other] {
		h.proximity(other, false)
	}
	h.proximity(d, true)
}

func (h *hand) proximity(d uint8, in bool) {
	kind := uint8(penOut)
	if in {
		kind = penIn
	} else {
		h.lift(d)
	}
	h.near[d] = in
	h.put(recordOf(kind, d, 0, h.last[d]))
}

// lift lets a device's buttons up.
func (h *hand) lift(d uint8) {
	for b := range h.buttons[d] {
		h.put(recordOf(penRelease, d, b, h.last[d]))
		delete(h.buttons[d], b)
	}
}

// letGo lets every key and button up and takes pens away.
func (h *hand) letGo() {
	for d := range uint8(len(h.near)) {
		h.lift(d)
		if h.near[d] {
			h.proximity(d, false)
		}
	}
	h.pen.settle()
	if k := h.keyboard(); k != nil && len(h.keys) > 0 {
		for _, key := range slices.Backward(h.keys) { // another hand's stay down
			k.Release(key)
		}
		h.keyed = true
	}
	h.keys = h.keys[:0]
}

// put has the pen driver do something at a place of the viewer's screen. The X server keeps it within its own.
func (h *hand) put(r record) {
	h.settleKeys()
	if r.Kind != penScroll {
		at := h.place().Min
		r.X = max(-farOut, min(r.X, farOut)) + int32(at.X)*256
		r.Y = max(-farOut, min(r.Y, farOut)) + int32(at.Y)*256
	}
	h.pen.add(r)
}

// settleKeys waits until X has had the keys that were sent before what a pointer does now.
func (h *hand) settleKeys() {
	if !h.keyed {
		return
	}
	h.keyed = false
	if k := h.keyboard(); k != nil {
		if err := k.Settle(); err != nil {
			h.log.Debug("pointer and keys may be out of order", "err", err)
		}
	}
}

func deviceOf(browser uint8) uint8 {
	switch browser {
	case devicePen:
		return toPen
	case deviceEraser:
		return toEraser
	}
	return toPointer // mouse and touch
}

func recordOf(kind, device, button uint8, s sample) record {
	return record{
		Kind: kind, Device: device, Button: button, X: s.X, Y: s.Y, Pressure: s.Pressure,
		TiltX: s.TiltX, TiltY: s.TiltY, Twist: s.Twist, TimeMS: s.Time / 10,
	}
}

package input

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

// Keyboard is a keyboard of the present X server.
type Keyboard interface {
	Press(k display.Key) error
	Release(k display.Key)
	Text(s string) error
	// Settle returns when the X server has had all of that.
	Settle() error
}

// farOut is how far from its screen a pointer is believed to be, in 1/256 px: a drag goes on outside the window that it began in.
const farOut = display.MaxSide * 2 * 256

// Hand puts a viewer's input into the session. One goroutine, Run, owns everything in it but the queue.
type Hand struct {
	queue    chan Message
	owner    Owner
	pen      pen
	settling chan chan struct{}
	resuming chan Resuming
	log      *slog.Logger
	acks     acks
	marks    marks
	marked   Mark          // the last one
	skipped  atomic.Uint64 // the sequence's count, for who reads it elsewhere

	mine    bool // what may said last
	seq     sequence
	away    bool          // the viewer is out of touch
	lapsed  bool          // what it holds down went up meanwhile
	pressed time.Time     // when a button last went down, until a stroke was replayed after it
	keys    []display.Key // that it holds down
	keyed   bool          // a key went out since the X server was last waited for
	near    [3]bool
	buttons [3]map[uint8]bool
	last    [3]Sample
}

// Owner is what a hand needs of whose it is.
type Owner struct {
	Keyboard func() Keyboard           // nil while there is no X server
	Place    func() image.Rectangle    // of the viewer's screen on the X server's
	May      func() bool               // whether what the viewer does counts
	Tell     func([]byte)              // the viewer, by its motion channel, what has been applied
	Pressed  func(display.Key, uint32) // nil, or told of each key that was pressed, and of its message's number
}

// New makes a hand of a viewer, whose pointers go by the driver.
func New(o Owner, d *Driver, log *slog.Logger) *Hand {
	h := &Hand{queue: make(chan Message, handQueue), owner: o, pen: pen{driver: d}, settling: make(chan chan struct{}), resuming: make(chan Resuming, 1), log: log, acks: acks{send: o.Tell}}
	for i := range h.buttons {
		h.buttons[i] = make(map[uint8]bool)
	}
	return h
}

// Push queues a message, and waits while the queue is full.
func (h *Hand) Push(ctx context.Context, m Message) {
	m.came = time.Now()
	select {
	case h.queue <- m:
	case <-ctx.Done():
	}
}

// Run applies messages until ctx ends, and then lets everything go, so that nothing stays pressed; a value on drop has it let go too.
func (h *Hand) Run(ctx context.Context, drop <-chan struct{}) {
	defer h.letGo()
	h.mine = h.owner.May()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if d := h.due(); !d.IsZero() {
			timer.Reset(time.Until(d))
		}
		select {
		case <-ctx.Done():
			return
		case m := <-h.queue:
			h.back(time.Now())
			h.seq.take(m, time.Now(), h.apply)
			h.takeQueued(m.came) // what came together goes out together
		case <-drop:
			h.takeQueued(time.Now()) // or what the viewer pressed before stays down after
			h.letGo()
			h.away, h.lapsed = true, true
		case r := <-h.resuming:
			h.resume(r)
		case done := <-h.settling:
			h.look()
			close(done)
		case now := <-timer.C:
			if !h.away {
				h.seq.release(now, h.apply)
			}
		}
		h.pen.flush()
		h.acks.tell(&h.seq, time.Now())
		h.skipped.Store(h.seq.skipped)
	}
}

// takeQueued takes what waits in the queue, after something that came at that time.
func (h *Hand) takeQueued(came time.Time) {
	for range len(h.queue) {
		m := <-h.queue
		h.seq.take(m, time.Now(), h.apply)
		came = m.came
	}
	h.pen.flush()
	h.mark(came)
}

// due is when there is something to do although nothing comes: zero for never.
func (h *Hand) due() time.Time {
	if h.away {
		return time.Time{}
	}
	at, tell := h.seq.deadline(), h.acks.due(&h.seq)
	if at.IsZero() || (!tell.IsZero() && tell.Before(at)) {
		return tell
	}
	return at
}

// Skipped is how many samples of strokes did not come in time.
func (h *Hand) Skipped() uint64 { return h.skipped.Load() }

// Cause is the newest input that X was given before a damage, if no picture was made of it yet and it is recent enough to be its cause.
func (h *Hand) Cause(damage time.Time) (Mark, bool) { return h.marks.take(damage) }

// Settle has the hand look whether what it does counts, and returns when it holds nothing down if not, or when gone closes.
func (h *Hand) Settle(ctx context.Context, gone <-chan struct{}) {
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
func (h *Hand) look() {
	before := h.mine
	if h.mine = h.owner.May(); before && !h.mine {
		h.letGo()
		h.lapsed = false
	}
}

// mark notes for the painter what X has been given by now, the last of which came at that time. What did not count causes no picture.
func (h *Hand) mark(came time.Time) {
	if !h.mine {
		return
	}
	if k := (Mark{h.seq.applied, h.seq.reliable, came, time.Now()}); k.Sample != h.marked.Sample || k.RSeq != h.marked.RSeq {
		h.marks.note(k)
		h.marked = k
	}
}

func (h *Hand) apply(m Message) {
	if !h.mine {
		return
	}
	h.takeUp(m)
	switch m.Kind {
	case kindPointer:
		h.move(m)
	case kindStroke:
		h.replay(m)
	case kindButton:
		h.button(m)
	case kindWheel:
		h.put(record{Kind: recordMotion, Device: toPointer, X: m.X, Y: m.Y})
		for range int(m.Again) + 1 {
			h.put(record{Kind: recordScroll, Device: toPointer, X: m.DX, Y: m.DY})
		}
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

func (h *Hand) key(m Message) {
	k := h.owner.Keyboard()
	if k == nil {
		return
	}
	h.pen.settle() // pointer and keys go to X by ways of their own, and keep their order
	h.keyed = true
	key := m.key()
	var err error
	switch {
	case m.Kind == kindText:
		err = k.Text(m.Text)
	case m.Down:
		if err = h.press(k, key); h.owner.Pressed != nil {
			h.owner.Pressed(key, m.RSeq)
		}
	default:
		k.Release(key)
		h.keys = slices.DeleteFunc(h.keys, key.Same)
	}
	if err != nil {
		h.log.Debug("key not delivered", "err", err)
	}
}

func (h *Hand) press(k Keyboard, key display.Key) error {
	if len(h.keys) >= maxKeys { // nobody has so many fingers
		k.Release(h.keys[0])
		h.keys = h.keys[1:]
	}
	h.keys = append(slices.DeleteFunc(h.keys, key.Same), key)
	return k.Press(key)
}

func (h *Hand) move(m Message) {
	d := deviceOf(m.Device)
	h.bringNear(d)
	for _, s := range m.Samples {
		h.put(recordOf(recordMotion, d, 0, s))
		h.last[d] = s
	}
}

func (h *Hand) button(m Message) {
	d := deviceOf(m.Device)
	h.bringNear(d)
	s := m.Samples[len(m.Samples)-1]
	for _, s := range m.Samples {
		h.put(recordOf(recordMotion, d, 0, s))
	}
	h.last[d] = s
	if h.buttons[d][m.Button] == m.Down {
		return
	}
	kind := uint8(recordRelease)
	if m.Down {
		kind = recordPress
		h.buttons[d][m.Button] = true
		h.pressed = time.Now()
	} else {
		delete(h.buttons[d], m.Button)
	}
	h.put(recordOf(kind, d, m.Button, s))
}

// bringNear says that a pen or eraser is there before it first moves, and that the other one is not.
func (h *Hand) bringNear(d uint8) {
	if d == toPointer || h.near[d] {
		return
	}
	if other := toPen + toEraser - d; h.near[other] {
		h.proximity(other, false)
	}
	h.proximity(d, true)
}

func (h *Hand) proximity(d uint8, in bool) {
	kind := uint8(recordOut)
	if in {
		kind = recordIn
	} else {
		h.lift(d)
	}
	h.near[d] = in
	h.put(recordOf(kind, d, 0, h.last[d]))
}

// lift lets a device's buttons up.
func (h *Hand) lift(d uint8) {
	for b := range h.buttons[d] {
		h.put(recordOf(recordRelease, d, b, h.last[d]))
		delete(h.buttons[d], b)
	}
}

// letGo lets every key and button up and takes pens away.
func (h *Hand) letGo() {
	for d := range uint8(len(h.near)) {
		h.lift(d)
		if h.near[d] {
			h.proximity(d, false)
		}
	}
	h.pen.settle()
	if k := h.owner.Keyboard(); k != nil && len(h.keys) > 0 {
		for _, key := range slices.Backward(h.keys) { // another hand's stay down
			k.Release(key)
		}
		h.keyed = true
	}
	h.keys = h.keys[:0]
}

// put has the pen driver do something at a place of the viewer's screen. The X server keeps it within its own.
func (h *Hand) put(r record) {
	h.settleKeys()
	if r.Kind != recordScroll {
		at := h.owner.Place().Min
		r.X = max(-farOut, min(r.X, farOut)) + int32(at.X)*256
		r.Y = max(-farOut, min(r.Y, farOut)) + int32(at.Y)*256
	}
	h.pen.add(r)
}

// settleKeys waits until X has had the keys that were sent before what a pointer does now.
func (h *Hand) settleKeys() {
	if !h.keyed {
		return
	}
	h.keyed = false
	if k := h.owner.Keyboard(); k != nil {
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

func recordOf(kind, device, button uint8, s Sample) record {
	return record{
		Kind: kind, Device: device, Button: button, X: s.X, Y: s.Y, Pressure: s.Pressure,
		TiltX: s.TiltX, TiltY: s.TiltY, Twist: s.Twist, TimeMS: s.Time / 10,
	}
}

package clipboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"easel/pkg/display"

	"github.com/pion/webrtc/v4"
	"golang.org/x/time/rate"
)

const (
	// offersRate and offersBurst bound how often a viewer may offer, or fetch, in a second and at once.
	offersRate  = 4
	offersBurst = 16
	// minWindow and maxWindow bound how many bytes are on their way to a viewer: what it sees goes the same way.
	minWindow = 8 << 10
	maxWindow = 512 << 10
	// maxUnread is how much may wait for a viewer that reads nothing before it is told no more.
	maxUnread = 1<<20 + maxWindow
	// readingTime is how long a viewer may take none of what it fetched.
	readingTime = 10 * time.Second
)

var errUnread = errors.New("the viewer does not read what it fetched")

// Flow is the clipboard channel of one viewer.
type Flow struct {
	clipboard *Clipboard
	log       *slog.Logger
	ctx       context.Context // the viewer's life
	work      sync.WaitGroup
	viewer    Viewer
	limit     *rate.Limiter
	channel   atomic.Pointer[webrtc.DataChannel]
	drained   chan struct{}

	mu       sync.Mutex
	closed   bool
	serial   uint32 // of the viewer's offer
	asked    int
	told     uint8              // what the viewer knows of what becomes of its offer: whose contents somebody has, by format, and toldAsked
	number   uint8              // of the last fetch
	pressed  context.CancelFunc // gives up what is waited for behind the last key that pastes; nil before the first
	arrivals map[display.Format]*arrival
	sending  map[display.Format]*delivery
}

// toldAsked is that somebody asks.
const toldAsked = 1 << 7

// delivery is one content on its way to the viewer.
type delivery struct {
	number uint8
	cancel context.CancelCauseFunc
}

// Viewer is what a flow needs of whose it is.
type Viewer struct {
	Refuse func(error) // counts what the viewer should not have sent
	May    func() bool // the clipboard is for who has the hand
	Window func() int  // bytes that the line carries at once, beside the picture
	// Keyed returns when the X server has had the keys so far.
	Keyed func() error
}

// NewFlow makes the clipboard's flow of a viewer whose life is ctx.
func (c *Clipboard) NewFlow(ctx context.Context, v Viewer, log *slog.Logger) *Flow {
	return &Flow{
		clipboard: c, log: log, ctx: ctx, viewer: v, limit: rate.NewLimiter(offersRate, offersBurst), drained: make(chan struct{}, 1),
		arrivals: make(map[display.Format]*arrival), sending: make(map[display.Format]*delivery),
	}
}

// Open takes up the channel.
func (f *Flow) Open(d *webrtc.DataChannel) {
	if !f.channel.CompareAndSwap(nil, d) {
		_ = d.Close()
		return
	}
	d.OnBufferedAmountLow(func() {
		select {
		case f.drained <- struct{}{}:
		default:
		}
	})
	d.OnOpen(f.join)
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		in, err := Parse(m.Data)
		if err == nil && m.IsString {
			err = errors.New("a clipboard message of text")
		}
		if err == nil {
			err = f.take(in)
		}
		if err != nil {
			f.viewer.Refuse(err)
		}
	})
}

// join has the viewer be told of the clipboard from now on, unless its life is over already.
func (f *Flow) join() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.clipboard.join(f)
	}
}

// Close ends what is under way once the viewer's life is over, and gives up what it had on the session's clipboard.
func (f *Flow) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.work.Wait()
	if f.channel.Load() == nil {
		return
	}
	f.offered(0)
	f.clipboard.leave(f)
}

// say sends a message that is not a content's. A viewer that does not read is told no more.
func (f *Flow) say(m Message) {
	c := f.channel.Load()
	if c == nil || c.ReadyState() != webrtc.DataChannelStateOpen || c.BufferedAmount() > maxUnread {
		return
	}
	_ = c.Send(m.Append(nil))
}

// take does what a message asks.
func (f *Flow) take(m Message) error {
	switch m.Kind {
	case Offer, Fetch:
		if !f.limit.Allow() {
			return errors.New("too many clipboard messages")
		}
		if m.Kind == Offer {
			f.put(m)
			return nil
		}
		return f.fetch(m)
	case Stop:
		f.mu.Lock()
		defer f.mu.Unlock()
		if d := f.sending[m.Format()]; d != nil && (m.Number == 0 || m.Number == d.number) {
			d.cancel(nil)
		}
		return nil
	}
	return f.arrive(m)
}

// put puts the viewer's offer on the session's clipboard, and says whether it is there.
func (f *Flow) put(m Message) {
	f.offered(m.Serial)
	answer := Message{Kind: Taken, Serial: m.Serial}
	err := f.clipboard.put(f.ctx, f, display.Formats(m.What), &deskContent{f, m.Serial})
	if err != nil {
		f.log.Debug("clipboard not taken", "err", err)
	} else {
		answer.What = m.What
	}
	f.say(answer)
}

// offered begins a new offer: what comes of the one before is wanted no more.
func (f *Flow) offered(serial uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.arrivals {
		a.end(display.ErrNoContent)
	}
	clear(f.arrivals)
	f.serial, f.asked, f.told = serial, 0, 0
}

// tell tells the viewer what becomes of its offer, once: the session's applications may ask without end.
func (f *Flow) tell(what uint8, m Message) {
	f.mu.Lock()
	fresh := f.serial == m.Serial && f.told&what == 0
	f.told |= what
	f.mu.Unlock()
	if fresh {
		f.say(m)
	}
}

// deskContent is an offer of a viewer's as the session's applications fetch it.
type deskContent struct {
	flow   *Flow
	serial uint32
}

// Asked implements display.Source.
func (d *deskContent) Asked() { d.flow.tell(toldAsked, Message{Kind: Asked, Serial: d.serial}) }

// Fetch implements display.Source.
func (d *deskContent) Fetch(ctx context.Context, format display.Format) (io.ReadCloser, error) {
	f := d.flow
	if !f.clipboard.takesIn() || !f.viewer.May() {
		return nil, errRefused
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serial != d.serial || f.ctx.Err() != nil {
		return nil, display.ErrNoContent
	}
	a := f.arrivals[format]
	if a != nil {
		if done, err := a.state(); done && err != nil {
			a = nil
		}
	}
	if a == nil {
		if f.asked++; f.asked > maxArrivals {
			return nil, fmt.Errorf("%w: it was asked for %d times", display.ErrNoContent, maxArrivals)
		}
		if f.number++; f.number == 0 {
			f.number = 1
		}
		a = newArrival(format, f.number)
		f.arrivals[format] = a
		f.say(Message{Kind: Fetch, What: uint8(format), Number: a.number, Serial: d.serial})
	}
	return a.reader(ctx, func(whole, last bool) {
		if whole {
			f.tell(1<<format, Message{Kind: Has, What: uint8(format), Serial: d.serial})
		}
		if last {
			f.forget(format, a)
		}
	}), nil
}

// forget drops a large content, or one that is not wanted any more, when nobody reads it.
func (f *Flow) forget(format display.Format, a *arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.mu.Lock()
	done, size, unread := a.done, a.content.size, a.readers == 0
	a.mu.Unlock()
	if f.arrivals[format] != a || !unread || done && size <= keptArrival {
		return
	}
	delete(f.arrivals, format)
	if !done {
		f.say(Message{Kind: Stop, What: uint8(format), Number: a.number, Serial: f.serial})
	}
}

// arrive takes a part of a content, or its end. What nobody waits for is left: it may have been on its way when it was stopped.
func (f *Flow) arrive(m Message) error {
	if m.Kind == Data {
		f.say(Message{Kind: Got, What: m.What, Serial: m.Serial})
	}
	f.mu.Lock()
	a := f.arrivals[m.Format()]
	if f.serial != m.Serial || a != nil && !a.is(m) {
		a = nil
	}
	f.mu.Unlock()
	if a == nil {
		return nil
	}
	if m.Kind == Data {
		done, _ := a.state()
		if done {
			return nil
		}
		if err := a.add(m.Data); err != nil {
			f.say(Message{Kind: Stop, What: m.What, Number: a.number, Serial: m.Serial})
			return err
		}
		return nil
	}
	if done, _ := a.state(); done {
		return nil
	}
	if m.How != Whole {
		a.end(fmt.Errorf("%w: the viewer says %d", errBroken, m.How))
		return nil
	}
	n := a.end(nil)
	if _, err := a.state(); err != nil {
		return err
	}
	f.clipboard.crossed(true, m.Format(), n)
	return nil
}

// fetch begins to send the viewer one content of the session's offer. It ends a fetch of another number that is under way.
func (f *Flow) fetch(m Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	if before := f.sending[m.Format()]; before != nil {
		if m.Number == 0 || m.Number == before.number {
			return fmt.Errorf("a second request for the clipboard's %s", m.Format())
		}
		before.cancel(display.ErrNoContent)
	}
	ctx, cancel := context.WithCancelCause(f.ctx)
	d := &delivery{m.Number, cancel}
	f.sending[m.Format()] = d
	f.work.Go(func() {
		err := f.deliver(ctx, m)
		if errors.Is(err, context.Canceled) {
			err = context.Cause(ctx)
		}
		cancel(nil)
		f.mu.Lock()
		if f.sending[m.Format()] == d {
			delete(f.sending, m.Format())
		}
		f.mu.Unlock()
		if err != nil {
			f.log.Debug("clipboard not sent", "err", err)
		}
		f.say(Message{Kind: End, What: m.What, How: outcomeOf(err), Number: m.Number, Serial: m.Serial})
	})
	return nil
}

func (f *Flow) deliver(ctx context.Context, m Message) error {
	leave, err := f.clipboard.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	all, err := f.clipboard.read(ctx, f, m.Serial, m.Format())
	if err != nil {
		return err
	}
	buf := make([]byte, 0, MaxMessage)
	for at := 0; at < all.size; {
		b := all.from(at)
		part := Message{Kind: Data, What: m.What, Number: m.Number, Serial: m.Serial, Data: b[:min(len(b), f.window()/2, MaxMessage-HeaderBytes)]}
		at += len(part.Data)
		if err := f.send(ctx, part.Append(buf[:0])); err != nil {
			return err
		}
	}
	f.clipboard.crossed(false, m.Format(), all.size)
	return nil
}

// pastingTime is how long an application may take for a key that pastes: longer than a viewer waits for it.
const pastingTime = 5 * time.Second

// Pressed is told of each key that the viewer's hand has pressed, and of the number of the message that it came by. Of one that pastes what the viewer has
// on the session's clipboard, the viewer is told when that is done.
func (f *Flow) Pressed(key display.Key, number uint32) {
	if !pastes(key) {
		return
	}
	x := f.clipboard.held(f)
	if x == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.pressed != nil {
		f.pressed() // the next key's answer is the one that counts
	}
	ctx, cancel := context.WithTimeout(f.ctx, pastingTime)
	f.pressed = cancel
	f.work.Go(func() {
		defer cancel()
		err := f.viewer.Keyed()
		if err == nil {
			err = x.Taken(ctx)
		}
		if err != nil {
			f.log.Debug("it is not known when a key has pasted", "err", err)
			return
		}
		f.say(Message{Kind: Past, Serial: number})
	})
}

// pastes tells whether a key may be what has applications paste, whatever is held with it: Ctrl+V, Shift+Insert.
func pastes(key display.Key) bool {
	const (
		letterV, capitalV, insert = 0x76, 0x56, 0xff63 // keysyms
		placeV                    = 47                 // KEY_V of Linux
	)
	return key.Sym == letterV || key.Sym == capitalV || key.Sym == insert || key.Code == placeV
}

// stop ends what is on its way to the viewer.
func (f *Flow) stop(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.sending {
		d.cancel(why)
	}
}

// window is how many bytes may be on their way to the viewer.
func (f *Flow) window() int { return min(max(f.viewer.Window(), minWindow), maxWindow) }

// send sends a part of a content when there is room for it.
func (f *Flow) send(ctx context.Context, b []byte) error {
	c := f.channel.Load()
	timer := time.NewTimer(readingTime)
	defer timer.Stop()
	for last := c.BufferedAmount(); ; {
		window := f.window()
		c.SetBufferedAmountLowThreshold(uint64(window / 2))
		now := c.BufferedAmount()
		if int(now) <= window {
			return c.Send(b)
		}
		if now < last {
			last = now
			timer.Reset(readingTime)
		}
		select {
		case <-f.drained:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return errUnread
		}
	}
}

// outcomeOf says to a viewer how a content ended.
func outcomeOf(err error) uint8 {
	switch {
	case err == nil:
		return Whole
	case errors.Is(err, display.ErrTooLarge), errors.Is(err, errPixels):
		return TooLarge
	case errors.Is(err, errRefused):
		return Refused
	case errors.Is(err, display.ErrOwnerSilent), errors.Is(err, errUnread):
		return Late
	case errors.Is(err, errPicture), errors.Is(err, errBroken):
		return Broken
	}
	return Gone
}

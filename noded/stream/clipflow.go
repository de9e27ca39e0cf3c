package stream

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
	// clipRate and clipBurst bound how often a viewer may offer, or fetch, in a second and at once.
	clipRate  = 4
	clipBurst = 16
	// minClipWindow and maxClipWindow bound how many bytes are on their way to a viewer: what it types and sees goes the same way.
	minClipWindow = 32 << 10
	maxClipWindow = 512 << 10
	// clipReading is how long a viewer may take none of what it fetched.
	clipReading = 10 * time.Second
)

var errClipUnread = errors.New("the viewer does not read what it fetched")

// clipFlow is the clipboard channel of one viewer.
type clipFlow struct {
	clipboard *clipboard
	log       *slog.Logger
	ctx       context.Context // the viewer's life
	work      sync.WaitGroup
	refuse    func(error)
	may       func() bool // the clipboard is for who has the hand
	window    func() int  // bytes that may be on their way
	limit     *rate.Limiter
	channel   atomic.Pointer[webrtc.DataChannel]
	drained   chan struct{}

	mu       sync.Mutex
	closed   bool
	serial   uint32 // of the viewer's offer
	asked    int
	arrivals map[display.Format]*arrival
	sending  map[display.Format]context.CancelFunc
}

func (p *peer) newClipFlow() *clipFlow {
	window := func() int { // half of what the line carries in a round trip
		return min(max(int(float64(p.rate.Kbps())*125*p.rtt().Seconds()/2), minClipWindow), maxClipWindow)
	}
	return &clipFlow{
		clipboard: p.worker.clipboard, log: p.log, ctx: p.ctx, refuse: p.refuse, may: p.hasHand, window: window,
		limit: rate.NewLimiter(clipRate, clipBurst), drained: make(chan struct{}, 1),
		arrivals: make(map[display.Format]*arrival), sending: make(map[display.Format]context.CancelFunc),
	}
}

// open takes up the channel.
func (f *clipFlow) open(d *webrtc.DataChannel) {
	if !f.channel.CompareAndSwap(nil, d) {
		_ = d.Close()
		return
	}
	d.OnBufferedAmountLow(func() { poke(f.drained) })
	d.OnOpen(func() { f.clipboard.join(f) })
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		in, err := parseClip(m.Data)
		if err == nil && m.IsString {
			err = errors.New("a clipboard message of text")
		}
		if err == nil {
			err = f.take(in)
		}
		if err != nil {
			f.refuse(err)
		}
	})
}

// close ends what is under way once the viewer's life is over, and gives up what it had on the session's clipboard.
func (f *clipFlow) close() {
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
func (f *clipFlow) say(m clipMessage) {
	c := f.channel.Load()
	if c == nil || c.ReadyState() != webrtc.DataChannelStateOpen || c.BufferedAmount() > maxClipWindow+maxBuffered {
		return
	}
	_ = c.Send(m.append(nil))
}

// take does what a message asks.
func (f *clipFlow) take(m clipMessage) error {
	switch m.Kind {
	case clipOffer, clipFetch:
		if !f.limit.Allow() {
			return errors.New("too many clipboard messages")
		}
		if m.Kind == clipOffer {
			f.put(m)
			return nil
		}
		return f.fetch(m)
	case clipStop:
		f.mu.Lock()
		stop := f.sending[m.format()]
		f.mu.Unlock()
		if stop != nil {
			stop()
		}
		return nil
	}
	return f.arrive(m)
}

// put puts the viewer's offer on the session's clipboard, and says whether it is there.
func (f *clipFlow) put(m clipMessage) {
	f.offered(m.Serial)
	answer := clipMessage{Kind: clipTaken, Serial: m.Serial}
	err := f.clipboard.put(f.ctx, f, display.Formats(m.What), &deskContent{f, m.Serial})
	if err != nil {
		f.log.Debug("clipboard not taken", "err", err)
	} else {
		answer.What = m.What
	}
	f.say(answer)
}

// offered begins a new offer: what comes of the one before is wanted no more.
func (f *clipFlow) offered(serial uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.arrivals {
		a.end(display.ErrNoContent)
	}
	clear(f.arrivals)
	f.serial, f.asked = serial, 0
}

// deskContent is an offer of a viewer's as the session's applications fetch it.
type deskContent struct {
	flow   *clipFlow
	serial uint32
}

// Fetch implements display.Source.
func (d *deskContent) Fetch(ctx context.Context, format display.Format) (io.ReadCloser, error) {
	f := d.flow
	if !f.clipboard.takesIn() || !f.may() {
		return nil, errClipRefused
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
		a = newArrival(format)
		f.arrivals[format] = a
		f.say(clipMessage{Kind: clipFetch, What: uint8(format), Serial: d.serial})
	}
	return a.reader(ctx, func() { f.forget(format, a) }), nil
}

// forget drops a large content, or one that is not wanted any more, when nobody reads it.
func (f *clipFlow) forget(format display.Format, a *arrival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a.mu.Lock()
	done, size, unread := a.done, len(a.buf), a.readers == 0
	a.mu.Unlock()
	if f.arrivals[format] != a || !unread || done && size <= keptArrival {
		return
	}
	delete(f.arrivals, format)
	if !done {
		f.say(clipMessage{Kind: clipStop, What: uint8(format), Serial: f.serial})
	}
}

// arrive takes a part of a content, or its end. What nobody waits for is left: it may have been on its way when it was stopped.
func (f *clipFlow) arrive(m clipMessage) error {
	f.mu.Lock()
	a := f.arrivals[m.format()]
	if f.serial != m.Serial {
		a = nil
	}
	f.mu.Unlock()
	if a == nil {
		return nil
	}
	if m.Kind == clipData {
		done, _ := a.state()
		if done {
			return nil
		}
		if err := a.add(m.Data); err != nil {
			f.say(clipMessage{Kind: clipStop, What: m.What, Serial: m.Serial})
			return err
		}
		return nil
	}
	if done, _ := a.state(); done {
		return nil
	}
	if m.How != clipWhole {
		a.end(fmt.Errorf("%w: the viewer says %d", errClipBroken, m.How))
		return nil
	}
	n := a.end(nil)
	if _, err := a.state(); err != nil {
		return err
	}
	f.clipboard.crossed(true, m.format(), n)
	return nil
}

// fetch begins to send the viewer one content of the session's offer.
func (f *clipFlow) fetch(m clipMessage) error {
	ctx, cancel := context.WithCancel(f.ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sending[m.format()] != nil || f.closed {
		cancel()
		return fmt.Errorf("a second request for the clipboard's %s", m.format())
	}
	f.sending[m.format()] = cancel
	f.work.Go(func() {
		err := f.deliver(ctx, m)
		cancel()
		f.mu.Lock()
		delete(f.sending, m.format())
		f.mu.Unlock()
		if err != nil {
			f.log.Debug("clipboard not sent", "err", err)
		}
		f.say(clipMessage{Kind: clipEnd, What: m.What, How: outcomeOf(err), Serial: m.Serial})
	})
	return nil
}

func (f *clipFlow) deliver(ctx context.Context, m clipMessage) error {
	b, err := f.clipboard.read(ctx, f, m.Serial, m.format())
	if err != nil {
		return err
	}
	n := len(b)
	buf := make([]byte, 0, maxClipMessage)
	for len(b) > 0 {
		part := clipMessage{Kind: clipData, What: m.What, Serial: m.Serial, Data: b[:min(len(b), maxClipMessage-clipHeader)]}
		b = b[len(part.Data):]
		if err := f.send(ctx, part.append(buf[:0])); err != nil {
			return err
		}
	}
	f.clipboard.crossed(false, m.format(), n)
	return nil
}

// send sends a part of a content when there is room for it.
func (f *clipFlow) send(ctx context.Context, b []byte) error {
	c := f.channel.Load()
	timer := time.NewTimer(clipReading)
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
			timer.Reset(clipReading)
		}
		select {
		case <-f.drained:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return errClipUnread
		}
	}
}

// outcomeOf says to a viewer how a content ended.
func outcomeOf(err error) uint8 {
	switch {
	case err == nil:
		return clipWhole
	case errors.Is(err, display.ErrTooLarge), errors.Is(err, errClipPixels):
		return clipTooLarge
	case errors.Is(err, errClipRefused):
		return clipRefused
	case errors.Is(err, display.ErrOwnerSilent), errors.Is(err, errClipUnread):
		return clipLate
	case errors.Is(err, errClipPicture), errors.Is(err, errClipBroken):
		return clipBroken
	}
	return clipGone
}

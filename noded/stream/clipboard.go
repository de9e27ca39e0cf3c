package stream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"easel/noded/stream/contract"
	"easel/pkg/display"
)

const (
	// clipPause is the shortest time between two offers of the session's: what is copied faster is offered once.
	clipPause = 200 * time.Millisecond
	// clipDearTime is how long a picture takes to make that is not fetched unasked the next time: the application does nothing else meanwhile.
	clipDearTime = 500 * time.Millisecond
	// clipReads is how many contents may be on their way out at once.
	clipReads = 2
	// clipLost is what the session's status says then.
	clipLost = "the clipboard does not work"
)

var errClipRefused = errors.New("the operator does not let the clipboard cross this way")

// selection is the present X server's clipboard.
type selection interface {
	Done() <-chan struct{}
	Changed() <-chan struct{}
	Formats(ctx context.Context) (display.Formats, error)
	Read(ctx context.Context, f display.Format, take func([]byte) error) error
	Own(ctx context.Context, formats display.Formats, source display.Source) error
}

// clipboard joins the session's clipboard and its viewers': what one side copies is offered to the other, and fetched when it is wanted.
// It is safe for several goroutines.
type clipboard struct {
	board *board
	log   *slog.Logger
	reads chan struct{}

	owning sync.Mutex // one change of what the session's clipboard holds at a time

	mu      sync.Mutex
	policy  contract.Policy
	x       selection // nil while there is no X server
	serial  uint32    // of the session's newest offer
	formats display.Formats
	dear    bool
	flows   map[*clipFlow]bool
	holder  *clipFlow // whose content the session's clipboard holds
}

func newClipboard(p contract.Policy, b *board, log *slog.Logger) *clipboard {
	return &clipboard{board: b, log: log, policy: p, reads: make(chan struct{}, clipReads), flows: make(map[*clipFlow]bool)}
}

// run follows an X server's clipboard until ctx ends or the server does.
func (c *clipboard) run(ctx context.Context, x selection) error {
	c.mu.Lock()
	c.x = x
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.x = nil
		c.mu.Unlock()
		c.offer(0)
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-x.Done():
			return display.ErrClosed
		case <-x.Changed():
		}
		formats, err := x.Formats(ctx)
		switch {
		case errors.Is(err, display.ErrUnresponsive), errors.Is(err, display.ErrClosed):
			return err
		case errors.Is(err, display.ErrOwnContent): // a viewer was quicker
		default:
			if err != nil {
				c.log.Debug("clipboard not looked at", "err", err)
			}
			c.offer(formats)
		}
		if !pause(ctx, clipPause) {
			return nil
		}
	}
}

// clipboards works with a display's clipboard until ctx ends. Without one the session goes on.
func (w *Worker) clipboards(ctx context.Context, d *display.Display) error {
	defer w.board.degrade(clipLost, false)
	for {
		err := w.clipboardOf(ctx, d)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, display.ErrUnresponsive) {
			return err
		}
		w.log.Warn("clipboard lost", "err", err)
		w.board.degrade(clipLost, true)
		if !pause(ctx, displayRetryMax) {
			return nil
		}
	}
}

func (w *Worker) clipboardOf(ctx context.Context, d *display.Display) error {
	x, err := d.OpenClipboard(ctx, display.Config{Dial: w.dialX, Cookie: w.cfg.Cookie(), Log: w.log})
	if err != nil {
		return err
	}
	defer x.Close()
	w.board.degrade(clipLost, false)
	return w.clipboard.run(ctx, x)
}

// offer tells the viewers what was copied in the session; 0 says that what they know of its clipboard, or put there, is gone.
func (c *clipboard) offer(formats display.Formats) {
	c.mu.Lock()
	if !c.policy.LetsOut() {
		formats = 0
	}
	if formats == 0 && c.formats == 0 && c.holder == nil {
		c.mu.Unlock()
		return
	}
	c.serial++
	c.formats, c.holder = formats, nil
	m := clipMessage{Kind: clipOffer, What: uint8(formats), Serial: c.serial}
	if c.dear && formats.Has(display.ClipPNG) {
		m.How = clipDear
	}
	flows := c.open()
	c.mu.Unlock()
	for _, f := range flows {
		f.say(m)
	}
}

func (c *clipboard) open() []*clipFlow {
	flows := make([]*clipFlow, 0, len(c.flows))
	for f := range c.flows {
		flows = append(flows, f)
	}
	return flows
}

// setPolicy brings another policy into force, for what is on its way too.
func (c *clipboard) setPolicy(ctx context.Context, p contract.Policy) {
	c.mu.Lock()
	c.policy = p
	flows := c.open()
	holder := c.holder
	c.mu.Unlock()
	for _, f := range flows {
		f.say(c.policyMessage(f))
	}
	if holder != nil && !p.TakesIn() {
		c.release(ctx, holder)
	}
	if !p.LetsOut() && holder == nil {
		c.offer(0)
	}
}

func (c *clipboard) policyMessage(f *clipFlow) clipMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := clipMessage{Kind: clipPolicy}
	if c.policy.TakesIn() && f.may() {
		m.What |= clipInOpen
	}
	if c.policy.LetsOut() && f.may() {
		m.What |= clipOutOpen
	}
	return m
}

// look brings into force for a viewer that it has the hand now, or has it no longer.
func (c *clipboard) look(ctx context.Context, f *clipFlow) {
	f.say(c.policyMessage(f))
	c.mu.Lock()
	holds := c.holder == f
	c.mu.Unlock()
	if holds && !f.may() {
		c.release(ctx, f)
	}
}

// join adds a viewer, leave takes it away with what it put on the session's clipboard.
func (c *clipboard) join(f *clipFlow) {
	c.mu.Lock()
	c.flows[f] = true
	c.mu.Unlock()
	f.say(c.policyMessage(f))
}

func (c *clipboard) leave(f *clipFlow) {
	c.mu.Lock()
	delete(c.flows, f)
	c.mu.Unlock()
	c.release(context.Background(), f) // display bounds it
}

// put puts what a viewer offers on the session's clipboard.
func (c *clipboard) put(ctx context.Context, f *clipFlow, formats display.Formats, from display.Source) error {
	c.owning.Lock()
	defer c.owning.Unlock()
	c.mu.Lock()
	x, open := c.x, c.policy.TakesIn() && f.may()
	c.mu.Unlock()
	switch {
	case !open:
		return errClipRefused
	case x == nil:
		return display.ErrNoContent
	}
	if err := x.Own(ctx, formats, from); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holder, c.formats = f, 0 // what the session offered is not on its clipboard any more
	return nil
}

// release takes what a viewer put on the session's clipboard away.
func (c *clipboard) release(ctx context.Context, f *clipFlow) {
	c.owning.Lock()
	defer c.owning.Unlock()
	c.mu.Lock()
	x, mine := c.x, c.holder == f
	if mine {
		c.holder = nil
	}
	c.mu.Unlock()
	if x == nil || !mine {
		return
	}
	if err := x.Own(ctx, 0, nil); err != nil {
		c.log.Debug("clipboard not given up", "err", err)
	}
}

// takesIn tells whether a viewer's content may reach the session now.
func (c *clipboard) takesIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy.TakesIn()
}

// read reads one content of the session's offer, whole: the application has handed it over then, however slow a viewer's line is.
func (c *clipboard) read(ctx context.Context, f *clipFlow, serial uint32, format display.Format) ([]byte, error) {
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.mu.Lock()
	x, open, now := c.x, c.policy.LetsOut() && f.may(), c.serial == serial && c.formats.Has(format)
	c.mu.Unlock()
	switch {
	case !open:
		return nil, errClipRefused
	case x == nil || !now:
		return nil, display.ErrNoContent
	}
	var all []byte
	began := time.Now()
	err := x.Read(ctx, format, func(b []byte) error {
		all = append(all, b...)
		if format == display.ClipPNG {
			return checkPicture(all[:min(len(all), pngHead)])
		}
		return nil
	})
	if format == display.ClipPNG {
		c.mu.Lock()
		c.dear = err != nil || time.Since(began) > clipDearTime
		c.mu.Unlock()
	}
	switch {
	case err != nil:
		return nil, err
	case format == display.ClipPNG && len(all) < pngHead:
		return nil, errClipPicture
	case format != display.ClipPNG && !utf8.Valid(all):
		return nil, errClipBroken
	}
	return all, nil
}

// crossed notes that a content reached the other side. noded writes the audit from the health's counts: the session cannot drown its log.
func (c *clipboard) crossed(in bool, format display.Format, n int) {
	c.board.update(func(h *contract.Health) {
		way := &h.Clipboard.Out
		if in {
			way = &h.Clipboard.In
		}
		count := map[display.Format]*contract.Count{display.ClipText: &way.Text, display.ClipHTML: &way.HTML, display.ClipPNG: &way.PNG}[format]
		count.N++
		count.Bytes += int64(n)
	})
}

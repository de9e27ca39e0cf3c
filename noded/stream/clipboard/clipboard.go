// Package clipboard joins the session's clipboard and those of its viewers. ARCHITECTURE.md, "Clipboard", is the contract with the browser.
package clipboard

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
	// offerPause is the shortest time between two offers of the session's: what is copied faster is offered once.
	offerPause = 200 * time.Millisecond
	// dearTime is how long a picture takes to make that is not fetched unasked the next time: the application does nothing else meanwhile.
	dearTime = 500 * time.Millisecond
	// readsAtOnce is how many contents may be on their way out at once.
	readsAtOnce = 2
)

var errRefused = errors.New("the operator does not let the clipboard cross this way")

// Selection is the present X server's clipboard.
type Selection interface {
	Done() <-chan struct{}
	Changed() <-chan struct{}
	Formats(ctx context.Context) (display.Formats, error)
	Read(ctx context.Context, f display.Format, take func([]byte) error) error
	Own(ctx context.Context, formats display.Formats, source display.Source) error
	Taken(ctx context.Context) error
}

// Clipboard joins the session's clipboard and its viewers': what one side copies is offered to the other, and fetched when it is wanted.
// It is safe for several goroutines.
type Clipboard struct {
	crossed Crossed
	log     *slog.Logger
	reads   chan struct{}

	owning sync.Mutex // one change of what the session's clipboard holds at a time

	mu      sync.Mutex
	policy  contract.Policy
	x       Selection // nil while there is no X server
	serial  uint32    // of the session's newest offer
	formats display.Formats
	dear    bool
	flows   map[*Flow]bool
	holder  *Flow // whose content the session's clipboard holds
}

// Crossed is told of a content that reached the other side: the session, with in.
type Crossed func(in bool, format display.Format, bytes int)

// New makes a clipboard that follows no X server yet.
func New(p contract.Policy, crossed Crossed, log *slog.Logger) *Clipboard {
	return &Clipboard{crossed: crossed, log: log, policy: p, reads: make(chan struct{}, readsAtOnce), flows: make(map[*Flow]bool)}
}

// Run follows an X server's clipboard until ctx ends or the server does.
func (c *Clipboard) Run(ctx context.Context, x Selection) error {
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
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(offerPause):
		}
	}
}

// offer tells the viewers what was copied in the session; 0 says that what they know of its clipboard, or put there, is gone.
func (c *Clipboard) offer(formats display.Formats) {
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
	m := Message{Kind: Offer, What: uint8(formats), Serial: c.serial}
	if c.dear && formats.Has(display.ClipPNG) {
		m.How = Dear
	}
	flows := c.open()
	c.mu.Unlock()
	for _, f := range flows {
		f.say(m)
	}
}

func (c *Clipboard) open() []*Flow {
	flows := make([]*Flow, 0, len(c.flows))
	for f := range c.flows {
		flows = append(flows, f)
	}
	return flows
}

// SetPolicy brings another policy into force, for what is on its way too.
func (c *Clipboard) SetPolicy(ctx context.Context, p contract.Policy) {
	c.mu.Lock()
	c.policy = p
	flows := c.open()
	holder := c.holder
	c.mu.Unlock()
	for _, f := range flows {
		f.say(c.policyMessage(f))
		if !p.LetsOut() {
			f.stop(errRefused)
		}
	}
	if holder != nil && !p.TakesIn() {
		c.release(ctx, holder)
	}
	if !p.LetsOut() && holder == nil {
		c.offer(0)
	}
}

func (c *Clipboard) policyMessage(f *Flow) Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := Message{Kind: Ways, How: Answers | Numbers}
	if c.policy.TakesIn() && f.viewer.May() {
		m.What |= InOpen
	}
	if c.policy.LetsOut() && f.viewer.May() {
		m.What |= OutOpen
	}
	return m
}

// Look brings into force for a viewer that it has the hand now, or has it no longer.
func (c *Clipboard) Look(ctx context.Context, f *Flow) {
	f.say(c.policyMessage(f))
	c.mu.Lock()
	holds := c.holder == f
	c.mu.Unlock()
	if f.viewer.May() {
		return
	}
	f.stop(errRefused)
	if holds {
		c.release(ctx, f)
	}
}

// join adds a viewer, leave takes it away with what it put on the session's clipboard.
func (c *Clipboard) join(f *Flow) {
	c.mu.Lock()
	c.flows[f] = true
	c.mu.Unlock()
	f.say(c.policyMessage(f))
}

func (c *Clipboard) leave(f *Flow) {
	c.mu.Lock()
	delete(c.flows, f)
	c.mu.Unlock()
	c.release(context.Background(), f) // display bounds it
}

// put puts what a viewer offers on the session's clipboard.
func (c *Clipboard) put(ctx context.Context, f *Flow, formats display.Formats, from display.Source) error {
	c.owning.Lock()
	defer c.owning.Unlock()
	c.mu.Lock()
	x, open := c.x, c.policy.TakesIn() && f.viewer.May()
	c.mu.Unlock()
	switch {
	case !open:
		return errRefused
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
func (c *Clipboard) release(ctx context.Context, f *Flow) {
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

// held is the present X server's clipboard where it holds what the viewer put there; else nil.
func (c *Clipboard) held(f *Flow) Selection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holder != f {
		return nil
	}
	return c.x
}

// takesIn tells whether a viewer's content may reach the session now.
func (c *Clipboard) takesIn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy.TakesIn()
}

// enter waits until fewer than readsAtOnce contents are on their way out: all of them are in memory. leave ends that.
func (c *Clipboard) enter(ctx context.Context) (leave func(), err error) {
	select {
	case c.reads <- struct{}{}:
		return func() { <-c.reads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read reads one content of the session's offer, whole: the application has handed it over then, however slow a viewer's line is.
func (c *Clipboard) read(ctx context.Context, f *Flow, serial uint32, format display.Format) (*content, error) {
	c.mu.Lock()
	x, open, now := c.x, c.policy.LetsOut() && f.viewer.May(), c.serial == serial && c.formats.Has(format)
	c.mu.Unlock()
	switch {
	case !open:
		return nil, errRefused
	case x == nil || !now:
		return nil, display.ErrNoContent
	}
	all := &content{}
	began := time.Now()
	err := x.Read(ctx, format, func(b []byte) error {
		all.add(b)
		if format == display.ClipPNG {
			return checkPicture(all.head())
		}
		return nil
	})
	if format == display.ClipPNG {
		c.mu.Lock()
		c.dear = err != nil || time.Since(began) > dearTime
		c.mu.Unlock()
	}
	switch {
	case err != nil:
		return nil, err
	case format == display.ClipPNG && all.size < pngHead:
		return nil, errPicture
	case format != display.ClipPNG && !utf8.Valid(all.whole()):
		return nil, errBroken
	}
	return all, nil
}

package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jezek/xgb/xfixes"
	"github.com/jezek/xgb/xproto"
)

// Format is a kind of clipboard content that may cross.
type Format uint8

// Formats of the clipboard.
const (
	ClipText Format = iota
	ClipHTML
	ClipPNG
	clipFormats
)

// Limits of one content, in bytes.
const (
	MaxClipText = 1 << 20 // plain or HTML
	MaxClipPNG  = 32 << 20
)

// Limit is how many bytes a content of this format may have.
func (f Format) Limit() int {
	if f == ClipPNG {
		return MaxClipPNG
	}
	return MaxClipText
}

// Valid tells whether there is such a format.
func (f Format) Valid() bool { return f < clipFormats }

func (f Format) String() string {
	if !f.Valid() {
		return fmt.Sprintf("format %d", uint8(f))
	}
	return [...]string{"text", "html", "png"}[f]
}

// Formats is a set of formats: bit f for format f.
type Formats uint8

// Has tells whether f is in the set.
func (s Formats) Has(f Format) bool { return f.Valid() && s&(1<<f) != 0 }

// Valid tells whether the set holds nothing but formats.
func (s Formats) Valid() bool { return s < 1<<clipFormats }

// FormatsOf makes a set.
func FormatsOf(all ...Format) (s Formats) {
	for _, f := range all {
		s |= 1 << f
	}
	return s
}

// Errors of the clipboard.
var (
	ErrNoContent   = errors.New("the clipboard holds nothing of that kind")
	ErrTooLarge    = errors.New("the clipboard's content is larger than what may cross")
	ErrOwnContent  = errors.New("the clipboard holds what this client put there")
	ErrOwnerSilent = errors.New("who put something on the clipboard does not hand it over")
)

// patience is how long other clients of the X server, any of which may be hostile, may take.
type patience struct {
	answer time.Duration // an owner to begin: GIMP encodes a whole image first
	idle   time.Duration // between two pieces, in both directions
	whole  time.Duration // one content
}

var usualPatience = patience{answer: 20 * time.Second, idle: 10 * time.Second, whole: 2 * time.Minute}

// Bounds of what is done for other clients at once.
const (
	maxAnswers  = 4
	maxRequests = 32
)

// Source has what this client put on the clipboard.
type Source interface {
	// Asked is told that somebody asks about it, whatever for.
	Asked()
	// Fetch begins to read one content. ctx ends with the reading.
	Fetch(ctx context.Context, f Format) (io.ReadCloser, error)
}

// Clipboard is a client's part in the X server's CLIPBOARD selection (ICCCM, section 2): it reads what others put there, and
// can put something there itself. It has a connection of its own, so that nothing of the picture or the hand waits for it.
// It is safe for several goroutines.
type Clipboard struct {
	connection
	atoms    clipAtoms
	window   xproto.Window
	patience patience
	changed  chan struct{}

	// What is read of others, one content at a time.
	reading  chan struct{}
	turn     int
	expect   expectation
	answered chan xproto.SelectionNotifyEvent
	written  chan struct{}
	clock    chan xproto.Timestamp
	owning   sync.Mutex // one change of ownership at a time

	// What others ask of us.
	requests  chan asking
	following sync.Mutex // one change of whose properties are followed at a time
	cancel    context.CancelFunc
	work      sync.WaitGroup

	// Whether an application has taken what it was given; one looks at a time.
	pinging chan struct{}
	pings   uint32
	pinged  expectation // the number of the ping that an answer is wanted for
	ponged  chan struct{}

	mu      sync.Mutex
	asks    requests
	own     *ownership
	offered [clipFormats]xproto.Atom // by which name the present owner hands a format over
	taken   map[takenKey]chan struct{}
	// ownerGone ends what is read of the owner before.
	ownerGone context.CancelCauseFunc
}

// asking is another client's request, and what we had then.
type asking struct {
	xproto.SelectionRequestEvent
	own *ownership
}

// ownership is what we put on the clipboard.
type ownership struct {
	formats Formats
	source  Source
	since   xproto.Timestamp
}

// OpenClipboard connects to the display's server once more. It must be closed before the display is: what the X library knows
// of the server's extensions is the display's.
func (d *Display) OpenClipboard(ctx context.Context, cfg Config) (*Clipboard, error) {
	return d.openClipboard(ctx, cfg, usualPatience)
}

func (d *Display) openClipboard(ctx context.Context, cfg Config, p patience) (*Clipboard, error) {
	c := &Clipboard{
		patience: p, changed: make(chan struct{}, 1), reading: make(chan struct{}, 1),
		answered: make(chan xproto.SelectionNotifyEvent, 1), written: make(chan struct{}, 1), clock: make(chan xproto.Timestamp, 1),
		requests: make(chan asking, maxRequests), taken: make(map[takenKey]chan struct{}),
		pinging: make(chan struct{}, 1), ponged: make(chan struct{}, 1), asks: requests{met: make(chan struct{}, 1)},
	}
	g, err := c.dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	go c.events()
	// The library keeps one table for all connections; setting it up again would race with who reads it.
	d.xc.ExtLock.RLock()
	opcode, ok := d.xc.Extensions["XFIXES"]
	d.xc.ExtLock.RUnlock()
	if ok {
		c.xc.ExtLock.Lock()
		c.xc.Extensions["XFIXES"] = opcode
		c.xc.ExtLock.Unlock()
	}
	g.open.Store(true)
	if err := c.call("watch the clipboard", c.prepare); err != nil {
		c.abandon(g)
		return nil, err
	}
	work, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.work.Go(func() { c.serve(work) })
	return c, nil
}

func (c *Clipboard) prepare() error {
	if _, err := c.screen(); err != nil {
		return err
	}
	if err := c.atoms.intern(c.xc); err != nil {
		return err
	}
	if _, err := xfixes.QueryVersion(c.xc, 5, 0).Reply(); err != nil {
		return err
	}
	w, err := xproto.NewWindowId(c.xc)
	if err != nil {
		return err
	}
	err = xproto.CreateWindowChecked(c.xc, 0, w, c.root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0,
		xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange}).Check()
	if err != nil {
		return err
	}
	c.window = w
	const mask = xfixes.SelectionEventMaskSetSelectionOwner | xfixes.SelectionEventMaskSelectionWindowDestroy | xfixes.SelectionEventMaskSelectionClientClose
	return xfixes.SelectSelectionInputChecked(c.xc, c.window, c.atoms.clipboard, mask).Check()
}

// Close ends the connection, and everything that goes through it.
func (c *Clipboard) Close() {
	c.cancel()
	c.connection.Close()
	c.work.Wait()
}

// Changed receives when another client put something on the clipboard, or took it away.
func (c *Clipboard) Changed() <-chan struct{} { return c.changed }

// events sorts what the server tells, until the connection ends. It never waits for anything else.
func (c *Clipboard) events() {
	defer close(c.done)
	for {
		ev, xerr := c.xc.WaitForEvent()
		if ev == nil && xerr == nil {
			return
		}
		switch ev := ev.(type) {
		case xfixes.SelectionNotifyEvent:
			if ev.Selection == c.atoms.clipboard && ev.Owner != c.window && c.disowned(ev.SelectionTimestamp) {
				poke(c.changed)
			}
		case xproto.SelectionNotifyEvent:
			if ev.Requestor == c.window && c.expect.is(ev.Target) {
				select {
				case c.answered <- ev:
				default:
				}
			}
		case xproto.PropertyNotifyEvent:
			c.property(ev)
		case xproto.SelectionRequestEvent:
			c.mu.Lock()
			select {
			case c.requests <- asking{ev, c.own}: // who copies next does not take back what was ours when it was asked for
				c.asksNow()
			default: // who floods us is not answered
			}
			c.mu.Unlock()
		case xproto.ClientMessageEvent:
			c.pong(ev)
		}
	}
}

func (c *Clipboard) property(ev xproto.PropertyNotifyEvent) {
	switch {
	case ev.Window == c.window && ev.Atom == c.atoms.clock:
		select {
		case <-c.clock:
		default:
		}
		c.clock <- ev.Time
	case ev.Window == c.window && ev.State == xproto.PropertyNewValue:
		poke(c.written)
	case ev.State == xproto.PropertyDelete:
		c.mu.Lock()
		if t, ok := c.taken[takenKey{ev.Window, ev.Atom}]; ok {
			poke(t)
		}
		c.mu.Unlock()
	}
}

// disowned notes that somebody else owns the clipboard since the given time. False means that we took it afterwards.
func (c *Clipboard) disowned(since xproto.Timestamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil && int32(since-c.own.since) < 0 {
		return false
	}
	c.own, c.offered = nil, [clipFormats]xproto.Atom{}
	if c.ownerGone != nil {
		c.ownerGone(ErrNoContent)
	}
	return true
}

// Own puts something on the clipboard; an empty set takes what we put there away.
func (c *Clipboard) Own(ctx context.Context, formats Formats, source Source) error {
	c.owning.Lock()
	defer c.owning.Unlock()
	now, err := c.now(ctx)
	if err != nil {
		return err
	}
	owner := c.window
	own := &ownership{formats: formats, source: source, since: now}
	if formats == 0 {
		if owner, own = 0, nil; !c.owns() {
			return nil
		}
	}
	c.mu.Lock()
	c.own = own
	c.mu.Unlock()
	return c.call("take the clipboard", func() error {
		if err := xproto.SetSelectionOwnerChecked(c.xc, owner, c.atoms.clipboard, now).Check(); err != nil {
			return err
		}
		got, err := xproto.GetSelectionOwner(c.xc, c.atoms.clipboard).Reply()
		if err == nil && got.Owner != owner {
			err = errors.New("somebody else took it at the same moment")
		}
		return err
	})
}

func (c *Clipboard) owns() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own != nil
}

// now is the server's time: ICCCM wants ownership to begin at one.
func (c *Clipboard) now(ctx context.Context) (xproto.Timestamp, error) {
	select {
	case <-c.clock:
	default:
	}
	err := c.call("ask the X server for its time", func() error {
		return xproto.ChangePropertyChecked(c.xc, xproto.PropModeAppend, c.window, c.atoms.clock, xproto.AtomInteger, 8, 0, nil).Check()
	})
	if err != nil {
		return 0, err
	}
	timer := time.NewTimer(replyTimeout)
	defer timer.Stop()
	select {
	case t := <-c.clock:
		return t, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-c.done:
		return 0, ErrClosed
	case <-timer.C:
		return 0, fmt.Errorf("ask the X server for its time: %w", ErrUnresponsive)
	}
}

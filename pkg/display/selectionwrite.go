package display

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jezek/xgb/xproto"
)

const (
	// pieceBytes is the most that is put into a property at once: a request holds 256 KiB.
	pieceBytes = 64 << 10
	// maxPairs bounds how many conversions one request may ask for (MULTIPLE).
	maxPairs = 16
)

// errRefused is a request that is not met.
var errRefused = errors.New("the request for the clipboard is not met")

// takenKey is a property of another client's, which it removes to ask for the next piece.
type takenKey struct {
	window   xproto.Window
	property xproto.Atom
}

// serve answers who asks for what we put on the clipboard, until ctx ends.
func (c *Clipboard) serve(ctx context.Context) {
	var answers sync.WaitGroup
	defer answers.Wait()
	slots := make(chan struct{}, maxAnswers)
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-c.requests:
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			default:
				c.answer(r.SelectionRequestEvent, 0)
				c.askedFor()
				continue
			}
			answers.Go(func() {
				defer func() { <-slots; c.askedFor() }()
				if err := c.meet(ctx, r.own, r.SelectionRequestEvent); err != nil {
					c.log.Debug("clipboard not handed over", "err", err)
				}
			})
		}
	}
}

// answer tells who asked where the content is; 0 refuses it.
func (c *Clipboard) answer(r xproto.SelectionRequestEvent, in xproto.Atom) {
	ev := xproto.SelectionNotifyEvent{Time: r.Time, Requestor: r.Requestor, Selection: r.Selection, Target: r.Target, Property: in}
	xproto.SendEvent(c.xc, false, r.Requestor, 0, string(ev.Bytes()))
}

// meet does what a request asks.
func (c *Clipboard) meet(ctx context.Context, own *ownership, r xproto.SelectionRequestEvent) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience.whole)
	defer cancel()
	if r.Property == 0 { // an old client's way
		r.Property = r.Target
	}
	tooOld := own != nil && r.Time != xproto.TimeCurrentTime && int32(r.Time-own.since) < 0
	if own == nil || tooOld || r.Selection != c.atoms.clipboard || r.Requestor == c.window {
		c.answer(r, 0)
		return errRefused
	}
	own.source.Asked()
	rest, err := c.hand(ctx, own, r)
	if err != nil {
		c.answer(r, 0)
		return err
	}
	if rest == nil {
		c.answer(r, r.Property)
		return nil
	}
	defer rest.Close()
	if rest.whole {
		return c.tell(r)
	}
	return c.sendPieces(ctx, r, rest)
}

// tell tells who asked that the content is in its property, and waits until the server has passed that on: what happens in the session from here on comes
// after it there.
func (c *Clipboard) tell(r xproto.SelectionRequestEvent) error {
	ev := xproto.SelectionNotifyEvent{Time: r.Time, Requestor: r.Requestor, Selection: r.Selection, Target: r.Target, Property: r.Property}
	return c.call("hand over the clipboard", func() error {
		return xproto.SendEventChecked(c.xc, false, r.Requestor, 0, string(ev.Bytes())).Check()
	})
}

// hand puts what is asked for into the requestor's property. A content is returned, to be closed once the requestor knows of it; what does not fit into a
// property is to be sent piece by piece.
func (c *Clipboard) hand(ctx context.Context, own *ownership, r xproto.SelectionRequestEvent) (rest *resumed, err error) {
	served := c.atoms.served(own.formats)
	switch f, ok := served[r.Target]; {
	case r.Target == c.atoms.targets:
		list := []xproto.Atom{c.atoms.targets, c.atoms.timestamp, c.atoms.multiple}
		for name := range served {
			list = append(list, name)
		}
		return nil, c.put32(r, xproto.AtomAtom, list)
	case r.Target == c.atoms.timestamp:
		return nil, c.put32(r, xproto.AtomInteger, []xproto.Atom{xproto.Atom(own.since)})
	case r.Target == c.atoms.multiple:
		return nil, c.handAll(ctx, own, r)
	case ok:
		return c.handContent(ctx, own, r, f)
	}
	return nil, errRefused
}

// handContent puts a content into the requestor's property if it is small.
func (c *Clipboard) handContent(ctx context.Context, own *ownership, r xproto.SelectionRequestEvent, f Format) (*resumed, error) {
	from, err := own.source.Fetch(ctx, f)
	if err != nil {
		return nil, err
	}
	first := make([]byte, pieceBytes+1)
	n, err := io.ReadFull(from, first)
	if err == nil {
		return &resumed{first: first, ReadCloser: from}, nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = c.put(r, c.atoms.kindOf(r.Target), 8, first[:n])
	}
	if err != nil {
		_ = from.Close()
		return nil, err
	}
	return &resumed{whole: true, ReadCloser: from}, nil
}

// resumed is a content whose beginning has been read, or all of it.
type resumed struct {
	first []byte
	whole bool
	io.ReadCloser
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.first) == 0 {
		return r.ReadCloser.Read(p)
	}
	n := copy(p, r.first)
	r.first = r.first[n:]
	return n, nil
}

// handAll meets several requests in one (MULTIPLE). Those that can't be met, or would have to go by pieces, are marked.
func (c *Clipboard) handAll(ctx context.Context, own *ownership, r xproto.SelectionRequestEvent) error {
	var p *xproto.GetPropertyReply
	err := c.call("read what is asked for", func() (err error) {
		p, err = xproto.GetProperty(c.xc, false, r.Requestor, r.Property, xproto.GetPropertyTypeAny, 0, maxPairs*2).Reply()
		return err
	})
	if err != nil {
		return err
	}
	var pairs []xproto.Atom
	for b := p.Value; len(b) >= 4; b = b[4:] {
		pairs = append(pairs, xproto.Atom(binary.LittleEndian.Uint32(b)))
	}
	if p.BytesAfter > 0 || len(pairs)%2 != 0 {
		return fmt.Errorf("%w: at most %d in one", errRefused, maxPairs)
	}
	for i := 0; i < len(pairs); i += 2 {
		one := r
		if one.Target, one.Property = pairs[i], pairs[i+1]; one.Target == c.atoms.multiple || one.Property == 0 {
			pairs[i+1] = 0
			continue
		}
		rest, err := c.hand(ctx, own, one)
		if rest != nil {
			_ = rest.Close()
		}
		if rest != nil && !rest.whole || err != nil {
			pairs[i+1] = 0
		}
	}
	return c.put32(r, c.atoms.atomPair, pairs)
}

// sendPieces sends a content piece by piece (INCR): the requestor removes the property when it wants the next.
func (c *Clipboard) sendPieces(ctx context.Context, r xproto.SelectionRequestEvent, from io.Reader) error {
	key := takenKey{r.Requestor, r.Property}
	taken, err := c.watch(key)
	if err != nil {
		c.answer(r, 0)
		return err
	}
	defer c.unwatch(key)
	if err := c.put32(r, c.atoms.incr, []xproto.Atom{pieceBytes}); err != nil {
		c.answer(r, 0)
		return err
	}
	c.answer(r, r.Property)
	piece := make([]byte, pieceBytes)
	for {
		var again struct{}
		if err := await(ctx, c, taken, c.patience.idle, &again); err != nil {
			return fmt.Errorf("hand over the clipboard: %w", err)
		}
		n, err := io.ReadFull(from, piece)
		if err := c.put(r, c.atoms.kindOf(r.Target), 8, piece[:n]); err != nil {
			return err
		}
		if n == 0 { // the end; a content that broke off ends too, for there is no way to say more
			if err == io.EOF {
				err = nil
			}
			return err
		}
	}
}

// watch asks for word of another client's property.
func (c *Clipboard) watch(key takenKey) (<-chan struct{}, error) {
	c.following.Lock()
	defer c.following.Unlock()
	taken := make(chan struct{}, 1)
	c.mu.Lock()
	_, busy := c.taken[key]
	if !busy {
		c.taken[key] = taken
	}
	c.mu.Unlock()
	if busy {
		return nil, fmt.Errorf("%w: its property takes another content still", errRefused)
	}
	err := c.follow(key.window, xproto.EventMaskPropertyChange)
	if err != nil {
		c.mu.Lock()
		delete(c.taken, key)
		c.mu.Unlock()
	}
	return taken, err
}

func (c *Clipboard) unwatch(key takenKey) {
	c.following.Lock()
	defer c.following.Unlock()
	c.mu.Lock()
	delete(c.taken, key)
	last := true
	for k := range c.taken {
		last = last && k.window != key.window
	}
	c.mu.Unlock()
	if last {
		_ = c.follow(key.window, 0) // it may be gone
	}
}

func (c *Clipboard) follow(w xproto.Window, mask uint32) error {
	return c.call("follow who takes the clipboard", func() error {
		return xproto.ChangeWindowAttributesChecked(c.xc, w, xproto.CwEventMask, []uint32{mask}).Check()
	})
}

func (c *Clipboard) put32(r xproto.SelectionRequestEvent, kind xproto.Atom, values []xproto.Atom) error {
	b := make([]byte, 0, len(values)*4)
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	return c.put(r, kind, 32, b)
}

// put writes the requestor's property. One that has gone is an error.
func (c *Clipboard) put(r xproto.SelectionRequestEvent, kind xproto.Atom, bits byte, b []byte) error {
	return c.call("hand over the clipboard", func() error {
		return xproto.ChangePropertyChecked(c.xc, xproto.PropModeReplace, r.Requestor, r.Property, kind, bits, uint32(len(b)*8/int(bits)), b).Check()
	})
}

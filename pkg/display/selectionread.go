package display

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jezek/xgb/xproto"
)

const (
	// sliceBytes is how much of a property is read by one request.
	sliceBytes = 128 << 10
	// maxTargets bounds how many names of formats an owner may have.
	maxTargets = 1024
)

// Formats asks who owns the clipboard what it can hand over. None is no error; ErrOwnContent says that it is this client.
func (c *Clipboard) Formats(ctx context.Context) (Formats, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	defer c.end()
	var owner xproto.Window
	err := c.call("ask who owns the clipboard", func() error {
		r, err := xproto.GetSelectionOwner(c.xc, c.atoms.clipboard).Reply()
		if err == nil {
			owner = r.Owner
		}
		return err
	})
	switch {
	case err != nil || owner == 0:
		return 0, err
	case owner == c.window:
		return 0, ErrOwnContent
	}
	var list []byte
	err = c.convert(ctx, c.atoms.targets, maxTargets*4, func(b []byte) error {
		list = append(list, b...)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("ask what is on the clipboard: %w", err)
	}
	return c.noteTargets(list), nil
}

// noteTargets keeps by which names the formats can be had that an owner names.
func (c *Clipboard) noteTargets(list []byte) (s Formats) {
	named := make(map[xproto.Atom]bool, len(list)/4)
	for ; len(list) >= 4; list = list[4:] {
		named[xproto.Atom(binary.LittleEndian.Uint32(list))] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered = [clipFormats]xproto.Atom{}
	for f := range clipFormats {
		for _, name := range c.atoms.names(f) {
			if named[name] && c.offered[f] == 0 {
				c.offered[f] = name
				s |= 1 << f
			}
		}
	}
	return s
}

// Read has the owner hand over one of the formats that Formats told last, and gives it to take piece by piece. An error of take's ends it.
func (c *Clipboard) Read(ctx context.Context, f Format, take func([]byte) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	c.mu.Lock()
	name := c.offered[f]
	c.mu.Unlock()
	if name == 0 {
		return fmt.Errorf("read the clipboard's %s: %w", f, ErrNoContent)
	}
	if err := c.convert(ctx, name, f.Limit(), take); err != nil {
		return fmt.Errorf("read the clipboard's %s: %w", f, err)
	}
	return nil
}

// begin waits until nothing else is read.
func (c *Clipboard) begin(ctx context.Context) error {
	select {
	case c.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrClosed
	}
}

func (c *Clipboard) end() { <-c.reading }

// convert asks the owner for the selection under the name of a target.
func (c *Clipboard) convert(ctx context.Context, target xproto.Atom, limit int, take func([]byte) error) error {
	ctx, late := context.WithTimeoutCause(ctx, c.patience.whole, ErrOwnerSilent)
	defer late()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.ownerGone = cancel
	c.mu.Unlock()
	c.turn++
	in := c.atoms.read[c.turn%readTurns]
	for len(c.answered) > 0 {
		<-c.answered
	}
	c.expect.set(target)
	defer c.expect.set(0)
	err := c.call("ask for the clipboard", func() error {
		xproto.DeleteProperty(c.xc, c.window, in)
		return xproto.ConvertSelectionChecked(c.xc, c.window, c.atoms.clipboard, target, in, xproto.TimeCurrentTime).Check()
	})
	if err != nil {
		return err
	}
	defer xproto.DeleteProperty(c.xc, c.window, in) // what is too large is left in the server otherwise
	var answer xproto.SelectionNotifyEvent
	if err := await(ctx, c, c.answered, c.patience.answer, &answer); err != nil {
		return err
	}
	switch answer.Property {
	case in:
	case 0:
		return ErrNoContent
	default:
		return ErrOwnerSilent
	}
	r := &reader{c: c, in: in, left: limit, take: take}
	kind, _, err := r.property(ctx)
	if err != nil || kind != c.atoms.incr {
		return err
	}
	return r.pieces(ctx)
}

// await waits for a value on a channel that another client's doing fills.
func await[T any](ctx context.Context, c *Clipboard, from <-chan T, limit time.Duration, into *T) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case *into = <-from:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return ErrClosed
	case <-timer.C:
		return ErrOwnerSilent
	}
}

// reader takes one content out of a property.
type reader struct {
	c    *Clipboard
	in   xproto.Atom
	left int // bytes that may still come
	take func([]byte) error
}

// property hands on what the property holds, and removes it. The kind is 0 when there is none; of an INCR nothing is handed on.
func (r *reader) property(ctx context.Context) (kind xproto.Atom, n int, err error) {
	for {
		var p *xproto.GetPropertyReply
		err := r.c.call("read the clipboard", func() (err error) {
			p, err = xproto.GetProperty(r.c.xc, true, r.c.window, r.in, xproto.GetPropertyTypeAny, uint32(n/4), sliceBytes/4).Reply()
			return err
		})
		switch {
		case err != nil:
			return 0, 0, err
		case p.Type == 0 || p.Type == r.c.atoms.incr:
			return p.Type, 0, nil
		case len(p.Value)+int(p.BytesAfter) > r.left:
			return 0, 0, ErrTooLarge
		case p.BytesAfter > 0 && len(p.Value) != sliceBytes:
			return 0, 0, fmt.Errorf("%w: a part of a property of %d bytes", errHostile, len(p.Value))
		}
		n += len(p.Value)
		r.left -= len(p.Value)
		if len(p.Value) > 0 {
			if err := r.take(p.Value); err != nil {
				return 0, 0, err
			}
		}
		if p.BytesAfter == 0 {
			return p.Type, n, nil
		}
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
	}
}

// pieces reads what comes bit by bit (INCR): each piece is removed to ask for the next, and an empty one is the last.
func (r *reader) pieces(ctx context.Context) error {
	for {
		var written struct{}
		if err := await(ctx, r.c, r.c.written, r.c.patience.idle, &written); err != nil {
			return err
		}
		for more := true; more; { // one event may stand for several pieces
			kind, n, err := r.property(ctx)
			switch {
			case err != nil:
				return err
			case kind == r.c.atoms.incr:
				return fmt.Errorf("%w: a piece that says that pieces come", errHostile)
			case kind != 0 && n == 0:
				return nil
			case ctx.Err() != nil:
				return context.Cause(ctx)
			}
			more = kind != 0
		}
	}
}

package display

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jezek/xgb/xproto"
)

// calmTurns is how often in a row an application must have taken its turn without asking for the clipboard, until it is believed to want nothing of it: GTK
// may answer once while what it was given before waits for its next frame.
const calmTurns = 2

// errNoApplication is that nobody can be asked.
var errNoApplication = errors.New("no application has the keyboard")

// requests counts what others ask of us. Its fields are the clipboard's, and its lock's.
type requests struct {
	begun uint64
	open  int
	met   chan struct{} // poked when none is open
}

// asksNow notes a request that will be met; askedFor that it was.
func (c *Clipboard) asksNow() {
	c.asks.begun++
	c.asks.open++
}

func (c *Clipboard) askedFor() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asks.open--; c.asks.open == 0 {
		poke(c.asks.met)
	}
}

func (c *Clipboard) asked() requests {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asks
}

// Taken returns when the application that has the keyboard has taken all that the X server had for it, and has what it asked of the clipboard for that: a
// key that pastes has pasted what it will. The application tells by answering a ping (EWMH, _NET_WM_PING), which it does in its turn. One that does not is
// waited for until ctx ends.
func (c *Clipboard) Taken(ctx context.Context) error {
	select {
	case c.pinging <- struct{}{}:
		defer func() { <-c.pinging }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// Answers are sent to the root window.
	if err := c.follow(c.root, xproto.EventMaskSubstructureNotify); err != nil {
		return err
	}
	defer func() { _ = c.follow(c.root, 0) }()
	for calm := 0; calm < calmTurns; {
		before := c.asked().begun
		if err := c.ping(ctx); err != nil {
			return err
		}
		calm++
		if c.asked().begun != before {
			calm = 0
		}
		for c.asked().open > 0 {
			calm = 0
			if err := c.until(ctx, c.asks.met); err != nil {
				return err
			}
		}
	}
	return nil
}

// ping asks the application that has the keyboard for an answer, and waits for it.
func (c *Clipboard) ping(ctx context.Context) error {
	c.pings++
	ping := c.pings
	c.pinged.set(xproto.Atom(ping))
	defer c.pinged.set(0)
	select {
	case <-c.ponged:
	default:
	}
	err := c.call("ask whether an application is done", func() error {
		p, err := xproto.GetProperty(c.xc, false, c.root, c.atoms.active, xproto.AtomWindow, 0, 1).Reply()
		if err != nil {
			return err
		}
		if len(p.Value) < 4 || binary.LittleEndian.Uint32(p.Value) == 0 {
			return errNoApplication
		}
		w := xproto.Window(binary.LittleEndian.Uint32(p.Value))
		ev := xproto.ClientMessageEvent{Format: 32, Window: w, Type: c.atoms.protocols, Data: xproto.ClientMessageDataUnionData32New([]uint32{uint32(c.atoms.ping), ping, uint32(w), 0, 0})}
		return xproto.SendEventChecked(c.xc, false, w, 0, string(ev.Bytes())).Check()
	})
	if err != nil {
		return err
	}
	return c.until(ctx, c.ponged)
}

// until waits for a poke.
func (c *Clipboard) until(ctx context.Context, poked <-chan struct{}) error {
	select {
	case <-poked:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for an application: %w", ctx.Err())
	case <-c.done:
		return ErrClosed
	}
}

// pong takes an answer to a ping.
func (c *Clipboard) pong(ev xproto.ClientMessageEvent) {
	if d := ev.Data.Data32; ev.Type == c.atoms.protocols && len(d) > 1 && d[0] == uint32(c.atoms.ping) && c.pinged.is(xproto.Atom(d[1])) {
		poke(c.ponged)
	}
}

package main

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// frame is the time between two pictures of the stand-in for GIMP: slow, because many sessions share a test's two cores.
const frame = 500 * time.Millisecond

// display is a connection to the session's X server.
type display struct {
	*xgb.Conn
	screen *xproto.ScreenInfo
}

func open() (*display, error) {
	xgb.Logger.SetOutput(io.Discard)
	c, err := xgb.NewConn()
	if err != nil {
		return nil, err
	}
	return &display{Conn: c, screen: xproto.Setup(c).DefaultScreen(c)}, nil
}

func (d *display) atom(name string) (xproto.Atom, error) {
	r, err := xproto.InternAtom(d.Conn, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0, err
	}
	return r.Atom, nil
}

func (d *display) set(w xproto.Window, name string, kind xproto.Atom, format byte, value []byte) error {
	a, err := d.atom(name)
	if err != nil {
		return err
	}
	n := len(value) / int(format/8)
	return xproto.ChangePropertyChecked(d.Conn, xproto.PropModeReplace, w, a, kind, format, uint32(n), value).Check()
}

func (d *display) window(width, height uint16, events uint32) (xproto.Window, error) {
	w, err := xproto.NewWindowId(d.Conn)
	if err != nil {
		return 0, err
	}
	return w, xproto.CreateWindowChecked(d.Conn, d.screen.RootDepth, w, d.screen.Root, 0, 0, width, height, 0,
		xproto.WindowClassInputOutput, d.screen.RootVisual, xproto.CwBackPixel|xproto.CwEventMask, []uint32{d.screen.WhitePixel, events}).Check()
}

// openbox names itself as EWMH wants of a window manager, and lets windows be as they are.
func openbox() error {
	d, err := open()
	if err != nil {
		return err
	}
	defer d.Close()
	w, err := d.window(1, 1, 0)
	if err != nil {
		return err
	}
	for _, on := range []xproto.Window{w, d.screen.Root} {
		if err := d.set(on, "_NET_SUPPORTING_WM_CHECK", xproto.AtomWindow, 32, word(uint32(w))); err != nil {
			return err
		}
	}
	return d.until(nil, nil)
}

// gimp shows a window that easel-init takes for GIMP's and draws in it until it is asked to close.
func gimp() error {
	d, err := open()
	if err != nil {
		return err
	}
	defer d.Close()
	w, err := d.window(d.screen.WidthInPixels, d.screen.HeightInPixels, xproto.EventMaskStructureNotify|xproto.EventMaskPropertyChange)
	if err != nil {
		return err
	}
	deleted, err := d.atom("WM_DELETE_WINDOW")
	if err != nil {
		return err
	}
	if err := errors.Join(
		d.set(w, "WM_CLASS", xproto.AtomString, 8, []byte("gimp\x00Gimp\x00")),
		d.set(w, "WM_WINDOW_ROLE", xproto.AtomString, 8, []byte("gimp-image-window-1")),
		d.set(w, "WM_PROTOCOLS", xproto.AtomAtom, 32, word(uint32(deleted))),
		d.set(d.screen.Root, "_NET_CLIENT_LIST", xproto.AtomWindow, 32, word(uint32(w))),
		xproto.MapWindowChecked(d.Conn, w).Check(),
	); err != nil {
		return err
	}
	hungry, err := d.atom("EASEL_TEST_EAT")
	if err != nil {
		return err
	}
	p, err := d.painter(w)
	if err != nil {
		return err
	}
	return d.until(p, func(event xgb.Event) bool {
		switch e := event.(type) {
		case xproto.ClientMessageEvent:
			return e.Type != 0 && len(e.Data.Data32) > 0 && e.Data.Data32[0] == uint32(deleted)
		case xproto.PropertyNotifyEvent:
			if e.Atom == hungry {
				eat()
			}
		}
		return false
	})
}

// until serves events and draws until SIGTERM, the server's end or an event that means the end.
func (d *display) until(draw func() error, ends func(xgb.Event) bool) error {
	events := make(chan xgb.Event)
	go func() {
		defer close(events)
		for {
			e, err := d.WaitForEvent()
			if e == nil && err == nil {
				return
			}
			if e != nil {
				events <- e
			}
		}
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	tick := time.NewTicker(frame)
	defer tick.Stop()
	for {
		select {
		case <-term:
			return nil
		case e, ok := <-events:
			if !ok {
				return errors.New("the X server went")
			}
			if ends != nil && ends(e) {
				return nil
			}
		case <-tick.C:
			if draw != nil {
				if err := draw(); err != nil {
					return err
				}
			}
		}
	}
}

// painter returns what draws the next picture: a square that wanders and changes its colour.
func (d *display) painter(w xproto.Window) (func() error, error) {
	gc, err := xproto.NewGcontextId(d.Conn)
	if err != nil {
		return nil, err
	}
	if err := xproto.CreateGCChecked(d.Conn, gc, xproto.Drawable(w), 0, nil).Check(); err != nil {
		return nil, err
	}
	n := uint32(0)
	return func() error {
		n++
		colour := n * 2654435761 & 0xffffff
		at := int16(n % 16 * 40)
		if err := xproto.ChangeGCChecked(d.Conn, gc, xproto.GcForeground, []uint32{colour}).Check(); err != nil {
			return err
		}
		return xproto.PolyFillRectangleChecked(d.Conn, xproto.Drawable(w), gc, []xproto.Rectangle{{X: at, Y: at / 2, Width: 64, Height: 64}}).Check()
	}, nil
}

// eat takes memory until the kernel ends this process.
func eat() {
	var kept [][]byte
	for {
		block := make([]byte, 16<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		kept = append(kept, block)
		_ = kept
	}
}

func word(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }

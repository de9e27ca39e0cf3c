package xclient

import (
	"context"
	"fmt"
	"image"
	"image/color"

	"github.com/jezek/xgb/xproto"
)

// Palette is what Click fills its area with, in turn: far apart, so that no codec confuses two.
var Palette = []color.RGBA{
	{255, 255, 255, 255}, {200, 0, 0, 255}, {0, 160, 0, 255}, {0, 0, 200, 255}, {230, 200, 0, 255}, {0, 0, 0, 255},
}

// Press is a button press that the X server delivered.
type Press struct {
	At     image.Point // screen pixels
	Button int         // X numbering
}

// Click covers the screen and, at each button press, fills area with the next colour of Palette (the first press gives
// Palette[1]) until ctx ends. ready is called when the window is up and holds Palette[0]; pressed, when not nil, after
// each fill.
func (s *Screen) Click(ctx context.Context, area image.Rectangle, ready func(), pressed func(n int, p Press)) error {
	w, err := s.coverAll(xproto.EventMaskButtonPress)
	if err != nil {
		return fmt.Errorf("click target: %w", err)
	}
	defer w.close()
	rect := xproto.Rectangle{X: int16(area.Min.X), Y: int16(area.Min.Y), Width: uint16(area.Dx()), Height: uint16(area.Dy())}
	w.fill(xproto.Drawable(w.id), w.gc, Palette[0], rect)
	if err := w.sync(); err != nil {
		return err
	}
	ready()
	n := 0
	return s.events(ctx, func(ev any) error {
		e, ok := ev.(xproto.ButtonPressEvent)
		if !ok {
			return nil
		}
		n++
		w.fill(xproto.Drawable(w.id), w.gc, Palette[n%len(Palette)], rect)
		if pressed != nil {
			pressed(n, Press{At: image.Pt(int(e.RootX), int(e.RootY)), Button: int(e.Detail)})
		}
		return nil
	})
}

// events hands every event to f until ctx ends, which is no error, or f or the connection fails.
func (s *Screen) events(ctx context.Context, f func(any) error) error {
	type item struct {
		ev  any
		err error
	}
	ch := make(chan item)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			ev, err := s.conn.WaitForEvent()
			it := item{ev: ev}
			if err != nil {
				it.err = err
			} else if ev == nil {
				it.err = fmt.Errorf("X connection ended")
			}
			select {
			case ch <- it:
			case <-stop:
				return
			}
			if ev == nil && err == nil {
				return
			}
		}
	}()
	defer func() {
		close(stop)
		// An event of our own wakes the reader, which owns WaitForEvent until it returns.
		s.wakeReader()
		<-done
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case it := <-ch:
			if it.err != nil {
				return it.err
			}
			if err := f(it.ev); err != nil {
				return err
			}
		}
	}
}

// wakeReader makes the server send this client one event.
func (s *Screen) wakeReader() {
	id, err := xproto.NewWindowId(s.conn)
	if err != nil {
		return
	}
	xproto.CreateWindow(s.conn, 0, id, s.info.Root, 0, 0, 1, 1, 0, xproto.WindowClassInputOnly, 0, xproto.CwEventMask, []uint32{xproto.EventMaskStructureNotify})
	xproto.DestroyWindow(s.conn, id)
	_ = s.sync()
}

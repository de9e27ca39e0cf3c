package xclient

import (
	"context"
	"errors"

	"github.com/jezek/xgb/xproto"
)

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
			it := item{ev: ev, err: err}
			ended := ev == nil && err == nil
			if ended {
				it.err = errors.New("the X connection ended")
			}
			select {
			case ch <- it:
			case <-stop:
				return
			}
			if ended {
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

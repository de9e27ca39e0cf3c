package xclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jezek/xgb/xproto"
)

// Clipboard asks the owner of the X clipboard for its text (ICCCM section 2).
func (s *Screen) Clipboard(ctx context.Context) (string, error) {
	clipboard, err := s.atom("CLIPBOARD")
	if err != nil {
		return "", err
	}
	utf8, err := s.atom("UTF8_STRING")
	if err != nil {
		return "", err
	}
	w, err := xproto.NewWindowId(s.conn)
	if err != nil {
		return "", fmt.Errorf("ask for the clipboard: %w", err)
	}
	err = xproto.CreateWindowChecked(s.conn, 0, w, s.info.Root, 0, 0, 1, 1, 0, xproto.WindowClassInputOnly, 0, 0, nil).Check()
	if err != nil {
		return "", fmt.Errorf("ask for the clipboard: %w", err)
	}
	defer xproto.DestroyWindow(s.conn, w)
	xproto.ConvertSelection(s.conn, w, clipboard, utf8, utf8, xproto.TimeCurrentTime)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var text string
	answered := errors.New("answered")
	err = s.events(ctx, func(ev any) error {
		e, ok := ev.(xproto.SelectionNotifyEvent)
		if !ok || e.Requestor != w {
			return nil
		}
		if e.Property == 0 {
			return errors.New("the clipboard holds no text")
		}
		p, err := xproto.GetProperty(s.conn, true, w, e.Property, xproto.GetPropertyTypeAny, 0, 1<<20).Reply()
		if err != nil {
			return fmt.Errorf("read the clipboard: %w", err)
		}
		text = string(p.Value)
		return answered
	})
	if errors.Is(err, answered) {
		return text, nil
	}
	if err == nil {
		err = errors.New("nobody owns the clipboard, or its owner does not answer")
	}
	return "", err
}

func (s *Screen) atom(name string) (xproto.Atom, error) {
	r, err := xproto.InternAtom(s.conn, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0, fmt.Errorf("atom %s: %w", name, err)
	}
	return r.Atom, nil
}

// HeldKeys are the keycodes that the X server believes to be down.
func (s *Screen) HeldKeys() ([]int, error) {
	r, err := xproto.QueryKeymap(s.conn).Reply()
	if err != nil {
		return nil, fmt.Errorf("ask which keys are down: %w", err)
	}
	var held []int
	for i, b := range r.Keys {
		for bit := range 8 {
			if b>>bit&1 == 1 {
				held = append(held, i*8+bit)
			}
		}
	}
	return held, nil
}

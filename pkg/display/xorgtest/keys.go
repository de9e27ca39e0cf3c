package xorgtest

import (
	"errors"
	"fmt"
	"image"
	"testing"

	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
)

// Keysyms of keys that make no character.
const (
	KeyReturn xproto.Keysym = 0xff0d
	KeyEscape xproto.Keysym = 0xff1b
)

// Type presses and lifts keys of the desk's keyboard, one after the other. Its layout is US.
func (a *Application) Type(t testing.TB, keys ...xproto.Keysym) {
	t.Helper()
	for _, k := range keys {
		if err := a.tap(k); err != nil {
			t.Fatalf("type %#x: %v", k, err)
		}
	}
}

func (a *Application) tap(k xproto.Keysym) error {
	if err := Use(a.xc, "XTEST"); err != nil {
		return err
	}
	code, err := a.keycode(k)
	if err != nil {
		return err
	}
	for _, kind := range []byte{xproto.KeyPress, xproto.KeyRelease} {
		if err := xtest.FakeInputChecked(a.xc, kind, code, 0, 0, 0, 0, 0).Check(); err != nil {
			return err
		}
	}
	return nil
}

// keycode is the key that means this without a modifier.
func (a *Application) keycode(k xproto.Keysym) (byte, error) {
	s := xproto.Setup(a.xc)
	m, err := xproto.GetKeyboardMapping(a.xc, s.MinKeycode, byte(s.MaxKeycode-s.MinKeycode+1)).Reply()
	if err != nil {
		return 0, fmt.Errorf("read the keyboard's layout: %w", err)
	}
	for i := 0; i < len(m.Keysyms); i += int(m.KeysymsPerKeycode) {
		if m.Keysyms[i] == k {
			return byte(int(s.MinKeycode) + i/int(m.KeysymsPerKeycode)), nil
		}
	}
	return 0, errors.New("the keyboard has no such key")
}

// Shown says where the largest visible window of a program is, by its WM_CLASS.
func (a *Application) Shown(class string) (image.Rectangle, error) {
	_, at, err := a.largest(xproto.Setup(a.xc).Roots[0].Root, class)
	if err != nil {
		return image.Rectangle{}, err
	}
	return image.Rect(int(at.X), int(at.Y), int(at.X)+int(at.Width), int(at.Y)+int(at.Height)), nil
}

package xclient

import (
	"context"
	"fmt"

	"github.com/jezek/xgb/xproto"
)

// Key is a key press or release as an application sees it.
type Key struct {
	Down   bool
	Keysym uint32 // after the server's keyboard mapping, group and shift level
	State  uint16 // modifiers held before it
}

// Keys covers the screen with a window that holds the keyboard focus and hands over every key until ctx ends.
func (s *Screen) Keys(ctx context.Context, ready func(), each func(Key)) error {
	w, err := s.coverAll(xproto.EventMaskKeyPress | xproto.EventMaskKeyRelease)
	if err != nil {
		return fmt.Errorf("key window: %w", err)
	}
	defer w.close()
	if err := xproto.SetInputFocusChecked(s.conn, xproto.InputFocusPointerRoot, w.id, xproto.TimeCurrentTime).Check(); err != nil {
		return fmt.Errorf("focus key window: %w", err)
	}
	ready()
	return s.events(ctx, func(ev any) error {
		var k Key
		var code xproto.Keycode
		switch e := ev.(type) {
		case xproto.KeyPressEvent:
			k, code = Key{Down: true, State: e.State}, e.Detail
		case xproto.KeyReleaseEvent:
			k, code = Key{State: e.State}, e.Detail
		default:
			return nil
		}
		// Asked at each key, since a remote keyboard changes the mapping as it types.
		m, err := xproto.GetKeyboardMapping(s.conn, code, 1).Reply()
		if err != nil && ctx.Err() != nil { // the end of ctx closed the connection under the question
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask keyboard mapping: %w", err)
		}
		k.Keysym = pick(m.Keysyms, k.State)
		each(k)
		return nil
	})
}

// pick chooses the keysym of a key by the modifier state: group from bits 13 and 14 (XKB's core mapping lays out group 1
// levels 1 and 2, group 2 levels 1 and 2, then levels 3 and 4), level 3 by Mod5, and shift or caps lock.
func pick(syms []xproto.Keysym, state uint16) uint32 {
	at := func(i int) uint32 {
		if i < len(syms) {
			return uint32(syms[i])
		}
		return 0
	}
	base := 0
	if state>>13&3 != 0 {
		base = 2
	} else if state&xproto.ModMask5 != 0 && at(4) != 0 {
		base = 4
	}
	low, high := at(base), at(base+1)
	shift, caps := state&xproto.ModMaskShift != 0, state&xproto.ModMaskLock != 0
	letter := low >= 'a' && low <= 'z' || low >= 0xe0 && low <= 0xfe && low != 0xf7
	if (shift != (caps && letter)) && high != 0 {
		return high
	}
	return low
}

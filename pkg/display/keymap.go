package display

import "unicode"

// Keysym is X's number for what a key means (X Window System Protocol, appendix A): Latin-1 as is, other characters
// as 0x01000000 + code point or by an older number, function keys from 0xfd00.
type Keysym uint32

const (
	noSymbol = Keysym(0)

	keyTab       = Keysym(0xff09)
	keyShiftL    = Keysym(0xffe1)
	keyHyperR    = Keysym(0xffee)
	keyCapsLock  = Keysym(0xffe5)
	keyShiftLock = Keysym(0xffe6)
	keyNumLock   = Keysym(0xff7f)
	keyControlL  = Keysym(0xffe3)
	keyControlR  = Keysym(0xffe4)
	keyAltL      = Keysym(0xffe9)
	keyAltR      = Keysym(0xffea)
	keyShiftR    = Keysym(0xffe2)
	keyLevel3    = Keysym(0xfe03)
	keyLevel5    = Keysym(0xfe11)

	functionKeys    = Keysym(0xff00)
	functionKeysEnd = Keysym(0xffff)
	keypad          = Keysym(0xff80)
	keypadEnd       = Keysym(0xffbd)
	unicodeKeysyms  = Keysym(0x01000000)
	unicodeEnd      = Keysym(0x0110ffff)
)

// KeysymOf gives the keysym of a character; ok is false for what no key can mean.
func KeysymOf(r rune) (k Keysym, ok bool) {
	switch {
	case r >= 0x20 && r <= 0x7e, r >= 0xa0 && r <= 0xff:
		return Keysym(r), true
	case r == '\n' || r == '\r':
		return 0xff0d, true
	case r == '\t':
		return keyTab, true
	case r < 0x100 || r > unicode.MaxRune || (r >= 0xd800 && r < 0xe000):
		return 0, false
	}
	return unicodeKeysyms + Keysym(r), true
}

// valid tells whether a keysym from outside is one that a key may have.
func (k Keysym) valid() bool {
	return (k > 0 && k <= 0xffff) || (k > unicodeKeysyms && k <= unicodeEnd) || (k >= 0x10000000 && k <= 0x1fffffff)
}

func (k Keysym) modifier() bool {
	return (k >= keyShiftL && k <= keyHyperR) || (k >= 0xfe01 && k <= 0xfe13) || k == 0xff7e
}

// lock tells whether the key toggles a state. Such states are never kept on our side: what a key means is settled in the browser.
func (k Keysym) lock() bool { return k == keyCapsLock || k == keyShiftLock || k == keyNumLock }

func (k Keysym) keypad() bool { return k >= keypad && k <= keypadEnd }

// keymap is the X server's table from keycodes to keysyms, with the levels that we need.
type keymap struct {
	first byte
	width int // keysyms a keycode
	syms  []Keysym
}

// levels are the modifiers held that choose among a key's meanings.
type levels struct{ shift, level3 bool }

func (m *keymap) row(code byte) []Keysym {
	if m.width == 0 || code < m.first {
		return nil
	}
	at := int(code-m.first) * m.width
	if at+m.width > len(m.syms) {
		return nil
	}
	return m.syms[at : at+m.width]
}

// means gives what a key means at these levels with no lock on. Columns of the core protocol's table are, by the XKB
// specification (section 17): first group's levels 1 and 2, second group's 1 and 2, first group's 3 and 4.
func (m *keymap) means(code byte, l levels) Keysym {
	row := m.row(code)
	at := func(i int) Keysym {
		if i < len(row) {
			return row[i]
		}
		return noSymbol
	}
	base, shifted := at(0), at(1)
	if l.level3 && at(4) != noSymbol {
		base, shifted = at(4), at(5)
	}
	if !l.shift {
		return base
	}
	if shifted != noSymbol {
		return shifted
	}
	if base > 0 && base < 0x100 && unicode.IsLower(rune(base)) {
		if up := unicode.ToUpper(rune(base)); up < 0x100 {
			return Keysym(up)
		}
	}
	return base
}

// find gives a keycode that means sym at these levels.
func (m *keymap) find(sym Keysym, l levels) (byte, bool) {
	if m.width == 0 {
		return 0, false
	}
	for i := range len(m.syms) / m.width {
		code := m.first + byte(i)
		if m.means(code, l) == sym {
			return code, true
		}
		// A function key stays itself whatever is held (Shift+Tab is ISO_Left_Tab by the table).
		if sym >= functionKeys && sym <= functionKeysEnd && !sym.keypad() && m.syms[i*m.width] == sym {
			return code, true
		}
		if sym.modifier() && m.syms[i*m.width] == sym {
			return code, true
		}
	}
	return 0, false
}

// spares are the keycodes that mean nothing.
func (m *keymap) spares() []byte {
	var out []byte
	if m.width == 0 {
		return nil
	}
next:
	for i := range len(m.syms) / m.width {
		for _, s := range m.syms[i*m.width : (i+1)*m.width] {
			if s != noSymbol {
				continue next
			}
		}
		out = append(out, m.first+byte(i))
	}
	return out
}

// latinKey is what the key of an evdev code means on a US keyboard, for shortcuts typed in another script.
func latinKey(code uint16) (Keysym, bool) {
	for _, row := range []struct {
		first uint16
		keys  string
	}{{2, "1234567890-="}, {16, "qwertyuiop[]"}, {30, "asdfghjkl;'`"}, {43, "\\zxcvbnm,./"}} {
		if i := int(code) - int(row.first); i >= 0 && i < len(row.keys) {
			return Keysym(row.keys[i]), true
		}
	}
	return 0, false
}

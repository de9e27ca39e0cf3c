package display

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
)

// reuseAfter is how long a borrowed keycode keeps its meaning after use, so that the application has read the table before
// it changes again. There are some two hundred to lend, so only long texts ever wait.
const reuseAfter = 500 * time.Millisecond

// Key is one key as the browser saw it.
type Key struct {
	// Sym is what the key means there, the layout and all locks applied.
	Sym Keysym
	// Code is the physical key as an evdev code, 0 if unknown: the same key comes up by it whatever it means by then.
	Code uint16
}

// Same tells whether both are one key: the physical one if it is known.
func (k Key) Same(other Key) bool {
	if k.Code != 0 || other.Code != 0 {
		return k.Code == other.Code
	}
	return k.Sym == other.Sym
}

// Keyboard types on a display. What a key means is settled in the browser: where the X server's table has no key with that meaning
// at present, a keycode that means nothing is lent to it. It is safe for several goroutines.
type Keyboard struct {
	d *Display

	mu     sync.Mutex
	keys   keymap
	down   []heldKey
	borrow []borrowed
	sleep  func(time.Duration)
}

type heldKey struct {
	key  Key
	code byte
	sym  Keysym
}

type borrowed struct {
	code byte
	sym  Keysym
	used time.Time
}

// maxHeld bounds how many keys may be down at once.
const maxHeld = 32

// NewKeyboard reads the display's keyboard, lets up what an earlier user of it held when it was killed, and switches its locks off.
func (d *Display) NewKeyboard() (*Keyboard, error) {
	k := &Keyboard{d: d, sleep: time.Sleep}
	if err := k.load(); err != nil {
		return nil, err
	}
	if err := k.clearHeld(); err != nil {
		return k, err
	}
	return k, k.clearLocks()
}

// load reads the table anew. What was lent before by us is lent still.
func (k *Keyboard) load() error {
	k.d.keymapStale.Store(false)
	return k.d.call("read the keyboard's table", func() error {
		s := xproto.Setup(k.d.xc)
		first, last := byte(s.MinKeycode), byte(s.MaxKeycode)
		if first < 8 || last < first {
			return fmt.Errorf("%w: keycodes from %d to %d", errHostile, first, last)
		}
		n := last - first + 1
		m, err := xproto.GetKeyboardMapping(k.d.xc, s.MinKeycode, n).Reply()
		if err != nil {
			return err
		}
		width := int(m.KeysymsPerKeycode)
		if width == 0 || len(m.Keysyms) < width*int(n) {
			return fmt.Errorf("%w: %d keysyms for %d keys", errHostile, len(m.Keysyms), n)
		}
		k.keys = keymap{first: first, width: width, syms: make([]Keysym, width*int(n))}
		for i := range k.keys.syms {
			k.keys.syms[i] = Keysym(m.Keysyms[i])
		}
		for _, b := range k.borrow {
			if b.sym != noSymbol {
				k.keys.set(b.code, b.sym)
			}
		}
		for _, code := range k.keys.spares() {
			if !slices.ContainsFunc(k.borrow, func(b borrowed) bool { return b.code == code }) {
				k.borrow = append(k.borrow, borrowed{code: code})
			}
		}
		return nil
	})
}

// set notes a lent keycode's meaning.
func (m *keymap) set(code byte, sym Keysym) {
	for i := range m.row(code) {
		m.row(code)[i] = noSymbol
		if i < 2 {
			m.row(code)[i] = sym
		}
	}
}

// Press takes a key down. A key that is down stays down: the X server repeats it by itself.
func (k *Keyboard) Press(key Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !key.Sym.valid() {
		return fmt.Errorf("press a key: %#x is no keysym", uint32(key.Sym))
	}
	if key.Sym.lock() || k.held(key) >= 0 {
		return nil
	}
	if len(k.down) >= maxHeld {
		return fmt.Errorf("press a key: %d are down already", maxHeld)
	}
	sym := key.Sym
	if latin, ok := latinKey(key.Code); ok && k.shortcut() && sym > 0xff && !sym.modifier() && (sym < functionKeys || sym > functionKeysEnd) {
		sym = latin
	}
	code, ok, err := k.code(sym)
	if err != nil || !ok {
		return err
	}
	k.fake(xproto.KeyPress, code)
	k.down = append(k.down, heldKey{key: key, code: code, sym: sym})
	return nil
}

// Release lets a key up. One that is not down is left alone.
func (k *Keyboard) Release(key Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := k.held(key); i >= 0 {
		k.fake(xproto.KeyRelease, k.down[i].code)
		k.down = slices.Delete(k.down, i, i+1)
	}
}

func (k *Keyboard) releaseAll() {
	for _, h := range slices.Backward(k.down) {
		k.fake(xproto.KeyRelease, h.code)
	}
	k.down = k.down[:0]
}

// Text types characters one by one, with no modifier held.
func (k *Keyboard) Text(s string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.releaseAll()
	for _, r := range s {
		sym, ok := KeysymOf(r)
		if !ok {
			continue
		}
		code, ok, err := k.code(sym)
		if err != nil {
			return fmt.Errorf("type %d characters: %w", len(s), err)
		}
		if ok {
			k.fake(xproto.KeyPress, code)
			k.fake(xproto.KeyRelease, code)
		}
	}
	return nil
}

// Settle returns when the X server has had all keys so far: what a pointer does then comes after.
func (k *Keyboard) Settle() error {
	return k.d.call("wait for the keys", func() error {
		_, err := xproto.GetInputFocus(k.d.xc).Reply()
		return err
	})
}

func (k *Keyboard) held(key Key) int {
	return slices.IndexFunc(k.down, func(h heldKey) bool { return key.Same(h.key) })
}

// shortcut tells whether a modifier is held that makes keys commands instead of letters.
func (k *Keyboard) shortcut() bool {
	return slices.ContainsFunc(k.down, func(h heldKey) bool {
		return h.sym == keyControlL || h.sym == keyControlR || h.sym == keyAltL || h.sym == keyAltR
	})
}

func (k *Keyboard) levels() (l levels) {
	for _, h := range k.down {
		l.shift = l.shift || h.sym == keyShiftL || h.sym == keyShiftR
		l.level3 = l.level3 || h.sym == keyLevel3
	}
	return l
}

// code finds a keycode that means sym while what is down is down. ok is false when the X server has no use for the key.
func (k *Keyboard) code(sym Keysym) (code byte, ok bool, err error) {
	if k.d.keymapStale.Load() {
		if err := k.load(); err != nil {
			return 0, false, err
		}
	}
	if code, ok := k.keys.find(sym, k.levels()); ok {
		k.touch(code)
		return code, true, nil
	}
	if sym.modifier() { // a meaning alone does not make a modifier
		return 0, false, nil
	}
	code, err = k.lend(sym)
	return code, err == nil, err
}

func (k *Keyboard) touch(code byte) {
	for i := range k.borrow {
		if k.borrow[i].code == code {
			k.borrow[i].used = time.Now()
		}
	}
}

// lend gives the keycode that went unused longest the meaning sym.
func (k *Keyboard) lend(sym Keysym) (byte, error) {
	at := -1
	for i, b := range k.borrow {
		free := !slices.ContainsFunc(k.down, func(h heldKey) bool { return h.code == b.code })
		if free && (at < 0 || b.used.Before(k.borrow[at].used)) {
			at = i
		}
	}
	if at < 0 {
		return 0, errors.New("press a key: the X server's keyboard has no keycode to spare")
	}
	b := &k.borrow[at]
	if wait := reuseAfter - time.Since(b.used); wait > 0 && !b.used.IsZero() {
		k.sleep(wait)
	}
	err := k.d.call("lend a keycode", func() error {
		return xproto.ChangeKeyboardMappingChecked(k.d.xc, 1, xproto.Keycode(b.code), 2, []xproto.Keysym{xproto.Keysym(sym), xproto.Keysym(sym)}).Check()
	})
	if err != nil {
		return 0, err
	}
	b.sym, b.used = sym, time.Now()
	k.keys.set(b.code, sym)
	return b.code, nil
}

// clearHeld lets up every key that is down: the X server keeps what a client pressed down when that client is gone.
func (k *Keyboard) clearHeld() error {
	return k.d.call("read which keys are down", func() error {
		m, err := xproto.QueryKeymap(k.d.xc).Reply()
		if err != nil {
			return err
		}
		for code := range len(m.Keys) * 8 {
			if m.Keys[code/8]>>(code%8)&1 == 1 {
				k.fake(xproto.KeyRelease, byte(code))
			}
		}
		return nil
	})
}

// clearLocks switches Caps Lock and Num Lock off, which an earlier user of the display may have left on.
func (k *Keyboard) clearLocks() error {
	var on uint16
	var mods []xproto.Keycode
	var width int
	err := k.d.call("read the keyboard's locks", func() error {
		p, err := xproto.QueryPointer(k.d.xc, k.d.root).Reply()
		if err != nil {
			return err
		}
		m, err := xproto.GetModifierMapping(k.d.xc).Reply()
		if err != nil {
			return err
		}
		on, mods, width = p.Mask, m.Keycodes, int(m.KeycodesPerModifier)
		return nil
	})
	if err != nil {
		return err
	}
	for _, sym := range []Keysym{keyCapsLock, keyNumLock} {
		code, ok := k.keys.find(sym, levels{})
		if at := slices.Index(mods, xproto.Keycode(code)); ok && at >= 0 && on&(1<<(at/width)) != 0 {
			k.fake(xproto.KeyPress, code)
			k.fake(xproto.KeyRelease, code)
		}
	}
	return nil
}

// fake sends a key event. It waits for no answer: a key that could not be sent shows when the connection ends.
func (k *Keyboard) fake(kind byte, code byte) {
	xtest.FakeInput(k.d.xc, kind, code, xproto.TimeCurrentTime, xproto.WindowNone, 0, 0, 0)
}

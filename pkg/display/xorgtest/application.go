package xorgtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// Application is a client of the X server that copies and pastes by the CLIPBOARD selection as GTK does, or badly on purpose.
type Application struct {
	xc     *xgb.Conn
	window xproto.Window
	events chan any // of the present Paste

	mu      sync.Mutex
	names   map[string]xproto.Atom
	copied  map[xproto.Atom][]byte
	habit   Habit
	sending map[xproto.Atom]rest // of contents that go by pieces, by the requestor's property
	asked   map[string]int
	pinged  int
	busy    bool
}

// rest is what is left of a content, and its kind, which each piece has: a text of another one would be taken for Latin-1.
type rest struct {
	kind xproto.Atom
	left []byte
}

// Habit is how an application hands over what it copied.
type Habit int

// Habits. Those but the first are bad.
const (
	Honest   Habit = iota
	Silent         // never answers
	Endless        // pieces without an end
	Stuck          // one piece, and never another
	ByteWise       // pieces of a byte
	Whole          // all in one property, however large
)

// piece is the most that goes at once.
const piece = 64 << 10

// Application starts one. It ends with the test.
func (s *Server) Application(t testing.TB) *Application {
	t.Helper()
	t.Setenv("XAUTHORITY", s.XAuthority)
	xc, err := xgb.NewConnDisplay(fmt.Sprintf(":%d", s.Display))
	if err != nil {
		t.Fatal(err)
	}
	a := &Application{xc: xc, events: make(chan any, 256), names: map[string]xproto.Atom{}, sending: map[xproto.Atom]rest{}, asked: map[string]int{}}
	a.window = a.Window(t)
	ended := make(chan struct{})
	go func() { defer close(ended); a.run() }()
	t.Cleanup(func() { xc.Close(); <-ended })
	return a
}

// Activate makes the application the one that has the keyboard, as a window manager says it.
func (a *Application) Activate(t testing.TB) {
	t.Helper()
	root := xproto.Setup(a.xc).Roots[0].Root
	window := binary.LittleEndian.AppendUint32(nil, uint32(a.window))
	err := xproto.ChangePropertyChecked(a.xc, xproto.PropModeReplace, root, a.Atom("_NET_ACTIVE_WINDOW"), xproto.AtomWindow, 32, 1, window).Check()
	if err != nil {
		t.Fatal(err)
	}
}

// Busy has the application answer no more whether it is done.
func (a *Application) Busy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = true
}

// Pinged is how often the application was asked whether it is done (_NET_WM_PING).
func (a *Application) Pinged() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pinged
}

// pong answers if a message is a ping.
func (a *Application) pong(ev xproto.ClientMessageEvent) bool {
	if ev.Type != a.Atom("WM_PROTOCOLS") || ev.Data.Data32[0] != uint32(a.Atom("_NET_WM_PING")) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pinged++
	if !a.busy {
		ev.Window = xproto.Setup(a.xc).Roots[0].Root
		xproto.SendEvent(a.xc, false, ev.Window, xproto.EventMaskSubstructureNotify|xproto.EventMaskSubstructureRedirect, string(ev.Bytes()))
	}
	return true
}

// Window makes a window that hears of its properties.
func (a *Application) Window(t testing.TB) xproto.Window {
	t.Helper()
	w, err := xproto.NewWindowId(a.xc)
	if err == nil {
		err = xproto.CreateWindowChecked(a.xc, 0, w, xproto.Setup(a.xc).Roots[0].Root, 0, 0, 1, 1, 0, xproto.WindowClassInputOnly, 0,
			xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange}).Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Atom is the number of a name.
func (a *Application) Atom(name string) xproto.Atom {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n, ok := a.names[name]; ok {
		return n
	}
	r, err := xproto.InternAtom(a.xc, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0
	}
	a.names[name] = r.Atom
	return r.Atom
}

// Copy puts contents on the clipboard, by their targets.
func (a *Application) Copy(t testing.TB, habit Habit, contents map[string][]byte) {
	t.Helper()
	copied := make(map[xproto.Atom][]byte)
	for name, b := range contents {
		copied[a.Atom(name)] = b
	}
	clipboard := a.Atom("CLIPBOARD")
	a.mu.Lock()
	a.copied, a.habit = copied, habit
	a.mu.Unlock()
	if err := xproto.SetSelectionOwnerChecked(a.xc, a.window, clipboard, xproto.TimeCurrentTime).Check(); err != nil {
		t.Fatal(err)
	}
}

// Asked is how often a target was asked for.
func (a *Application) Asked(target string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[target]
}

func (a *Application) run() {
	for {
		ev, err := a.xc.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		switch ev := ev.(type) {
		case xproto.SelectionRequestEvent:
			a.hand(ev)
		case xproto.PropertyNotifyEvent:
			if ev.Window != a.window && ev.State == xproto.PropertyDelete {
				a.next(ev.Window, ev.Atom)
				continue
			}
			a.tell(ev)
		case xproto.ClientMessageEvent:
			if !a.pong(ev) {
				a.tell(ev)
			}
		case xproto.SelectionNotifyEvent:
			a.tell(ev)
		}
	}
}

func (a *Application) tell(ev any) {
	select {
	case a.events <- ev:
	default:
	}
}

// hand answers who asks for what was copied.
func (a *Application) hand(r xproto.SelectionRequestEvent) {
	targets, incr := a.Atom("TARGETS"), a.Atom("INCR")
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, n := range a.names {
		if n == r.Target {
			a.asked[name]++
		}
	}
	content, ok := a.copied[r.Target]
	switch {
	case a.habit == Silent && r.Target != targets:
		return
	case r.Target == targets:
		var list []byte
		for n := range a.copied {
			list = binary.LittleEndian.AppendUint32(list, uint32(n))
		}
		a.put(r.Requestor, r.Property, xproto.AtomAtom, 32, list)
	case !ok:
		r.Property = 0
	case a.habit == Whole:
		a.put(r.Requestor, r.Property, r.Target, 8, nil)
		for ; len(content) > 0; content = content[min(piece, len(content)):] {
			part := content[:min(piece, len(content))]
			xproto.ChangeProperty(a.xc, xproto.PropModeAppend, r.Requestor, r.Property, r.Target, 8, uint32(len(part)), part)
		}
	case len(content) > piece || a.habit != Honest:
		xproto.ChangeWindowAttributes(a.xc, r.Requestor, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange})
		a.sending[r.Property] = rest{r.Target, content}
		a.put(r.Requestor, r.Property, incr, 32, binary.LittleEndian.AppendUint32(nil, uint32(len(content))))
	default:
		a.put(r.Requestor, r.Property, r.Target, 8, content)
	}
	ev := xproto.SelectionNotifyEvent{Time: r.Time, Requestor: r.Requestor, Selection: r.Selection, Target: r.Target, Property: r.Property}
	xproto.SendEvent(a.xc, false, r.Requestor, 0, string(ev.Bytes()))
}

// next sends the next piece.
func (a *Application) next(w xproto.Window, in xproto.Atom) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.sending[in]
	if !ok {
		return
	}
	switch a.habit {
	case Endless:
		a.put(w, in, r.kind, 8, make([]byte, piece))
		return
	case Stuck:
		delete(a.sending, in)
		a.put(w, in, r.kind, 8, make([]byte, 10))
		return
	}
	n := min(len(r.left), piece)
	if a.habit == ByteWise {
		n = min(n, 1)
	}
	a.put(w, in, r.kind, 8, r.left[:n])
	a.sending[in] = rest{r.kind, r.left[n:]}
	if n == 0 {
		delete(a.sending, in)
	}
}

func (a *Application) put(w xproto.Window, in, kind xproto.Atom, bits byte, b []byte) {
	xproto.ChangeProperty(a.xc, xproto.PropModeReplace, w, in, kind, bits, uint32(len(b)*8/int(bits)), b)
}

// errNothing means that what was asked for is refused.
var errNothing = errors.New("the clipboard holds nothing of that kind")

// Paste asks for what is on the clipboard. One at a time.
func (a *Application) Paste(ctx context.Context, target string) ([]byte, error) {
	in, want := a.Atom("XORGTEST"), a.Atom(target)
	incr := a.Atom("INCR")
	for len(a.events) > 0 {
		<-a.events
	}
	xproto.DeleteProperty(a.xc, a.window, in)
	xproto.ConvertSelection(a.xc, a.window, a.Atom("CLIPBOARD"), want, in, xproto.TimeCurrentTime)
	answer, err := next(ctx, a, func(ev xproto.SelectionNotifyEvent) bool { return ev.Target == want })
	if err != nil {
		return nil, err
	}
	if answer.Property == 0 {
		return nil, errNothing
	}
	b, kind, err := a.take(in)
	if err != nil || kind != incr {
		return b, err
	}
	var all []byte
	for {
		if _, err := next(ctx, a, func(ev xproto.PropertyNotifyEvent) bool { return ev.Atom == in && ev.State == xproto.PropertyNewValue }); err != nil {
			return nil, fmt.Errorf("after %d bytes: %w", len(all), err)
		}
		b, kind, err := a.take(in)
		if err != nil {
			return nil, err
		}
		if kind != 0 && len(b) == 0 {
			return all, nil
		}
		all = append(all, b...)
	}
}

// Targets is what can be asked for.
func (a *Application) Targets(ctx context.Context) ([]string, error) {
	b, err := a.Paste(ctx, "TARGETS")
	if err != nil {
		return nil, err
	}
	var names []string
	for ; len(b) >= 4; b = b[4:] {
		r, err := xproto.GetAtomName(a.xc, xproto.Atom(binary.LittleEndian.Uint32(b))).Reply()
		if err != nil {
			return nil, err
		}
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return names, nil
}

func (a *Application) take(in xproto.Atom) ([]byte, xproto.Atom, error) {
	p, err := xproto.GetProperty(a.xc, true, a.window, in, xproto.GetPropertyTypeAny, 0, 1<<22).Reply()
	if err != nil {
		return nil, 0, err
	}
	if p.Type == a.Atom("INCR") {
		return nil, p.Type, nil
	}
	return p.Value, p.Type, nil
}

// Ask asks for a target and takes nothing of what comes.
func (a *Application) Ask(target string) {
	xproto.ConvertSelection(a.xc, a.window, a.Atom("CLIPBOARD"), a.Atom(target), a.Atom("XORGTEST_IGNORED"), xproto.TimeCurrentTime)
}

// next waits for an event of a kind that fits.
func next[E any](ctx context.Context, a *Application, fits func(E) bool) (E, error) {
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	for {
		select {
		case ev := <-a.events:
			if e, ok := ev.(E); ok && fits(e) {
				return e, nil
			}
		case <-ctx.Done():
			var none E
			return none, ctx.Err()
		case <-timer.C:
			var none E
			return none, errors.New("nobody hands over the clipboard")
		}
	}
}

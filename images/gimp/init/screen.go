package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// screen is init's own look at the X server: whether the window manager is there, and where GIMP's window is. One belongs to one life of the server.
type screen struct {
	conn  *xgb.Conn
	root  xproto.Window
	atoms map[string]xproto.Atom
	done  chan struct{} // closed when the connection has ended

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each event
}

// atomNames are the properties that screen looks at (ICCCM and EWMH).
var atomNames = []string{
	"_NET_SUPPORTING_WM_CHECK", "_NET_CLIENT_LIST", "WM_WINDOW_ROLE", "WM_PROTOCOLS", "WM_DELETE_WINDOW",
	"_NET_WM_STATE", "_NET_WM_STATE_MAXIMIZED_HORZ", "_NET_WM_STATE_MAXIMIZED_VERT",
}

// openScreen connects to the X server of display, with the cookie in the file that XAUTHORITY names.
func openScreen(display string) (*screen, error) {
	conn, err := xgb.NewConnDisplay(display)
	if err != nil {
		return nil, fmt.Errorf("connect to X server %s: %w", display, err)
	}
	s := &screen{
		conn: conn, root: xproto.Setup(conn).DefaultScreen(conn).Root, atoms: map[string]xproto.Atom{},
		done: make(chan struct{}), changed: make(chan struct{}),
	}
	if err := s.setUp(); err != nil {
		conn.Close()
		return nil, err
	}
	go s.listen()
	return s, nil
}

func (s *screen) setUp() error {
	for _, name := range atomNames {
		a, err := xproto.InternAtom(s.conn, false, uint16(len(name)), name).Reply()
		if err != nil {
			return fmt.Errorf("ask X server for %s: %w", name, err)
		}
		s.atoms[name] = a.Atom
	}
	return s.watch(s.root, xproto.EventMaskPropertyChange)
}

// watch asks for events of a window.
func (s *screen) watch(w xproto.Window, events uint32) error {
	if err := xproto.ChangeWindowAttributesChecked(s.conn, w, xproto.CwEventMask, []uint32{events}).Check(); err != nil {
		return fmt.Errorf("ask X server for events: %w", err)
	}
	return nil
}

// listen turns events into changes, until the server goes.
func (s *screen) listen() {
	defer close(s.done)
	for {
		event, err := s.conn.WaitForEvent()
		if event == nil && err == nil {
			return
		}
		s.mu.Lock()
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// close ends the connection and waits for its listener.
func (s *screen) close() {
	s.conn.Close()
	<-s.done
}

// await returns when condition holds; it is asked again after each event.
func (s *screen) await(ctx context.Context, condition func() (bool, error)) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		holds, err := condition()
		if err != nil || holds {
			return err
		}
		select {
		case <-changed:
		case <-s.done:
			return errors.New("the X server went")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// property is a property's value, nil when the window has none or is gone.
func (s *screen) property(w xproto.Window, name xproto.Atom) []byte {
	const longest = 1024 // in units of four bytes
	p, err := xproto.GetProperty(s.conn, false, w, name, xproto.GetPropertyTypeAny, 0, longest).Reply()
	if err != nil {
		return nil
	}
	return p.Value
}

// windows is a property's value as window numbers.
func (s *screen) windows(w xproto.Window, name xproto.Atom) []xproto.Window {
	value := s.property(w, name)
	var found []xproto.Window
	for ; len(value) >= 4; value = value[4:] {
		found = append(found, xproto.Window(xgb.Get32(value)))
	}
	return found
}

// hasManager says whether a window manager runs: the root names a window that names itself (EWMH, _NET_SUPPORTING_WM_CHECK).
func (s *screen) hasManager() (bool, error) {
	check := s.atoms["_NET_SUPPORTING_WM_CHECK"]
	for _, w := range s.windows(s.root, check) {
		for _, self := range s.windows(w, check) {
			if self == w {
				return true, nil
			}
		}
	}
	return false, nil
}

// hasGIMP says whether one of GIMP's main windows is to be seen.
func (s *screen) hasGIMP() (bool, error) {
	for _, w := range s.gimpWindows() {
		// First the wish to hear of its mapping, then the look: so the mapping cannot fall between.
		if err := s.watch(w, xproto.EventMaskStructureNotify); err != nil {
			continue // gone meanwhile
		}
		a, err := xproto.GetWindowAttributes(s.conn, w).Reply()
		if err == nil && a.MapState == xproto.MapStateViewable {
			return true, nil
		}
	}
	return false, nil
}

// gimpWindows are GIMP's main windows, as far as the window manager knows them.
func (s *screen) gimpWindows() []xproto.Window {
	var found []xproto.Window
	for _, w := range s.windows(s.root, s.atoms["_NET_CLIENT_LIST"]) {
		class := strings.ToLower(string(s.property(w, xproto.AtomWmClass)))
		role := string(s.property(w, s.atoms["WM_WINDOW_ROLE"]))
		if strings.Contains(class, "gimp") && strings.HasPrefix(role, "gimp-image-window") {
			found = append(found, w)
		}
	}
	return found
}

// closeGIMP does what a click on the main windows' close buttons would (ICCCM 4.2.8.1).
func (s *screen) closeGIMP() error {
	windows := s.gimpWindows()
	if len(windows) == 0 {
		return errors.New("GIMP has no window")
	}
	for _, w := range windows {
		if err := s.send(w, w, 0, "WM_PROTOCOLS", uint32(s.atoms["WM_DELETE_WINDOW"])); err != nil {
			return fmt.Errorf("ask GIMP to close: %w", err)
		}
	}
	return nil
}

// maximizeGIMP lets GIMP's main windows fill the screen and go on doing so when it changes size, whatever size GIMP remembers of another
// session (EWMH, _NET_WM_STATE).
func (s *screen) maximizeGIMP() error {
	const add = 1
	const toManager = xproto.EventMaskSubstructureNotify | xproto.EventMaskSubstructureRedirect
	for _, w := range s.gimpWindows() {
		horizontal, vertical := uint32(s.atoms["_NET_WM_STATE_MAXIMIZED_HORZ"]), uint32(s.atoms["_NET_WM_STATE_MAXIMIZED_VERT"])
		if err := s.send(s.root, w, toManager, "_NET_WM_STATE", add, horizontal, vertical); err != nil {
			return fmt.Errorf("maximise GIMP: %w", err)
		}
	}
	return nil
}

// send sends a client message about a window.
func (s *screen) send(to, about xproto.Window, mask uint32, kind string, data ...uint32) error {
	words := make([]uint32, 5)
	copy(words, data)
	event := xproto.ClientMessageEvent{Format: 32, Window: about, Type: s.atoms[kind], Data: xproto.ClientMessageDataUnionData32New(words)}
	return xproto.SendEventChecked(s.conn, false, to, mask, string(event.Bytes())).Check()
}

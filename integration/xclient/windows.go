package xclient

import (
	"encoding/binary"
	"fmt"
	"image"

	"github.com/jezek/xgb/xproto"
)

// Window is one of the windows that the window manager knows.
type Window struct {
	ID    xproto.Window
	Title string
	Area  image.Rectangle // of what the application draws, without the manager's frame
	Bar   int             // height of the frame above it
}

// Grip is where a hand takes hold of the window's title bar, near its left end.
func (w Window) Grip() image.Point { return image.Pt(w.Area.Min.X+30, w.Area.Min.Y-w.Bar/2) }

// Windows lists the windows that applications have, by _NET_CLIENT_LIST.
func (s *Screen) Windows() ([]Window, error) {
	ids, err := s.property(s.info.Root, "_NET_CLIENT_LIST")
	if err != nil {
		return nil, err
	}
	var found []Window
	for ; len(ids) >= 4; ids = ids[4:] {
		w := Window{ID: xproto.Window(binary.LittleEndian.Uint32(ids))}
		g, err := xproto.GetGeometry(s.conn, xproto.Drawable(w.ID)).Reply()
		if err != nil {
			continue // gone meanwhile
		}
		at, err := xproto.TranslateCoordinates(s.conn, w.ID, s.info.Root, 0, 0).Reply()
		if err != nil {
			continue
		}
		w.Area = image.Rect(0, 0, int(g.Width), int(g.Height)).Add(image.Pt(int(at.DstX), int(at.DstY)))
		title, err := s.property(w.ID, "_NET_WM_NAME")
		if err != nil {
			continue
		}
		w.Title = string(title)
		const top = 2 // left, right, top, bottom
		if frame, err := s.property(w.ID, "_NET_FRAME_EXTENTS"); err == nil && len(frame) == 16 {
			w.Bar = int(binary.LittleEndian.Uint32(frame[top*4:]))
		}
		found = append(found, w)
	}
	return found, nil
}

// Popups counts the windows in sight that no window manager sees to, such as menus, and that are larger than a tool tip's.
func (s *Screen) Popups() (int, error) {
	const tip = 100 // pixels high
	tree, err := xproto.QueryTree(s.conn, s.info.Root).Reply()
	if err != nil {
		return 0, fmt.Errorf("ask for the windows: %w", err)
	}
	n := 0
	for _, w := range tree.Children {
		a, err := xproto.GetWindowAttributes(s.conn, w).Reply()
		if err != nil {
			continue // gone meanwhile
		}
		g, err := xproto.GetGeometry(s.conn, xproto.Drawable(w)).Reply()
		if err == nil && a.OverrideRedirect && a.MapState == xproto.MapStateViewable && a.Class == xproto.WindowClassInputOutput && g.Height > tip {
			n++
		}
	}
	return n, nil
}

// Place has the window manager move a window, whose upper left corner is to lie there. One that is maximised fills the monitor that it comes to.
func (s *Screen) Place(w Window, at image.Point) error {
	atom, err := s.atom("_NET_MOVERESIZE_WINDOW")
	if err != nil {
		return err
	}
	const hasXY, fromUser = 3 << 8, 2 << 12
	e := xproto.ClientMessageEvent{Format: 32, Window: w.ID, Type: atom, Data: xproto.ClientMessageDataUnionData32New(
		[]uint32{hasXY | fromUser, uint32(at.X), uint32(at.Y), 0, 0},
	)}
	const toManager = xproto.EventMaskSubstructureNotify | xproto.EventMaskSubstructureRedirect
	if err := xproto.SendEventChecked(s.conn, false, s.info.Root, toManager, string(e.Bytes())).Check(); err != nil {
		return fmt.Errorf("move the window %q: %w", w.Title, err)
	}
	return nil
}

// Titles are the windows' titles.
func (s *Screen) Titles() ([]string, error) {
	all, err := s.Windows()
	titles := make([]string, len(all))
	for i, w := range all {
		titles[i] = w.Title
	}
	return titles, err
}

func (s *Screen) property(w xproto.Window, name string) ([]byte, error) {
	atom, err := s.atom(name)
	if err != nil {
		return nil, err
	}
	p, err := xproto.GetProperty(s.conn, false, w, atom, xproto.GetPropertyTypeAny, 0, 1024).Reply()
	if err != nil {
		return nil, fmt.Errorf("read %s of a window: %w", name, err)
	}
	return p.Value, nil
}

package display

import (
	"image"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// maxFollowing bounds how many windows are moved with their outputs.
const maxFollowing = 64

// placed is an application's window where it is, as the window manager knows it.
type placed struct {
	window xproto.Window
	area   image.Rectangle // without the manager's frame
	frame  insets
}

// insets is what a frame adds on each side.
type insets struct{ left, right, top, bottom int }

// windowAtoms are the names of what window managers and others tell each other (EWMH).
type windowAtoms struct{ list, frame, move xproto.Atom }

func (d *Display) windowAtoms() (a windowAtoms, err error) {
	for name, into := range map[string]*xproto.Atom{
		"_NET_CLIENT_LIST": &a.list, "_NET_FRAME_EXTENTS": &a.frame, "_NET_MOVERESIZE_WINDOW": &a.move,
	} {
		if *into, err = atom(d.xc, name); err != nil {
			return a, err
		}
	}
	return a, nil
}

// windows are the windows that applications have.
func (d *Display) windows(a windowAtoms) ([]placed, error) {
	p, err := xproto.GetProperty(d.xc, false, d.root, a.list, xproto.AtomWindow, 0, maxFollowing).Reply()
	if err != nil {
		return nil, err
	}
	var found []placed
	for ids := p.Value; len(ids) >= 4 && len(found) < maxFollowing; ids = ids[4:] {
		w := xproto.Window(xgb.Get32(ids))
		size := xproto.GetGeometry(d.xc, xproto.Drawable(w))
		at := xproto.TranslateCoordinates(d.xc, w, d.root, 0, 0)
		frame := xproto.GetProperty(d.xc, false, w, a.frame, xproto.AtomCardinal, 0, 4)
		g, gerr := size.Reply()
		c, cerr := at.Reply()
		f, ferr := frame.Reply()
		if gerr != nil || cerr != nil {
			continue // gone meanwhile
		}
		win := placed{window: w, area: image.Rect(0, 0, int(g.Width), int(g.Height)).Add(image.Pt(int(c.DstX), int(c.DstY)))}
		if ferr == nil && f.Format == 32 && len(f.Value) == 16 {
			win.frame = insetsOf(f.Value)
		}
		found = append(found, win)
	}
	return found, nil
}

func insetsOf(b []byte) insets {
	const most = 256
	side := func(i int) int { return int(min(xgb.Get32(b[i*4:]), most)) }
	return insets{side(0), side(1), side(2), side(3)}
}

// follow has windows keep their places on the outputs that moved or shrank, and brings those of an output that is off to the first. A window
// manager alone leaves them where they were, and no more than a corner of them in sight.
func (d *Display) follow(all []placed, a windowAtoms, was, is [Outputs]image.Rectangle) {
	for _, w := range all {
		if to, moves := w.follows(was, is); moves {
			const (
				staticGravity = 10 // the place is that of the application's part, not of the frame
				hasX, hasY    = 1 << 8, 1 << 9
				fromUser      = 2 << 12
			)
			e := xproto.ClientMessageEvent{Format: 32, Window: w.window, Type: a.move, Data: xproto.ClientMessageDataUnionData32New(
				[]uint32{staticGravity | hasX | hasY | fromUser, uint32(int32(to.X)), uint32(int32(to.Y)), 0, 0},
			)}
			const toManager = xproto.EventMaskSubstructureNotify | xproto.EventMaskSubstructureRedirect
			xproto.SendEvent(d.xc, false, d.root, toManager, string(e.Bytes()))
		}
	}
}

// follows tells where a window belongs after its output changed.
func (w placed) follows(was, is [Outputs]image.Rectangle) (to image.Point, moves bool) {
	on, most := -1, 0
	for i, r := range was {
		if part := area(w.area.Intersect(r)); part > most {
			on, most = i, part
		}
	}
	if on < 0 || is[on] == was[on] {
		return to, false
	}
	target := is[on]
	if target.Empty() {
		target = is[0]
	}
	if target.Min == was[on].Min && was[on].In(target) { // it grew
		return to, false
	}
	to = w.area.Min.Sub(was[on].Min).Add(target.Min)
	to.X = within(to.X, target.Min.X+w.frame.left, target.Max.X-w.area.Dx()-w.frame.right)
	to.Y = within(to.Y, target.Min.Y+w.frame.top, target.Max.Y-w.area.Dy()-w.frame.bottom)
	return to, to != w.area.Min
}

// within is v between two bounds; the lower one counts where both can't.
func within(v, low, high int) int { return max(low, min(v, high)) }

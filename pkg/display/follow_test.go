package display

import (
	"image"
	"testing"
	"time"

	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

func TestWindowsFollowTheirOutputs(t *testing.T) {
	one, two := image.Rect(0, 0, 1000, 700), image.Rect(1000, 0, 1800, 600)
	frame := insets{left: 1, right: 1, top: 18, bottom: 4}
	for name, c := range map[string]struct {
		area  image.Rectangle
		is    [Outputs]image.Rectangle
		want  image.Point
		moves bool
	}{
		"the second goes":                   {image.Rect(1120, 109, 1553, 397), [Outputs]image.Rectangle{one}, image.Pt(120, 109), true},
		"the second goes, its corner full":  {image.Rect(1500, 500, 1790, 590), [Outputs]image.Rectangle{one}, image.Pt(500, 500), true},
		"the second goes from beyond":       {image.Rect(1100, -300, 1300, 400), [Outputs]image.Rectangle{one}, image.Pt(100, 18), true},
		"the first grows":                   {image.Rect(1120, 109, 1553, 397), [Outputs]image.Rectangle{image.Rect(0, 0, 1200, 800), image.Rect(1200, 0, 2000, 600)}, image.Pt(1320, 109), true},
		"the first grows around its own":    {image.Rect(900, 100, 1050, 200), [Outputs]image.Rectangle{image.Rect(0, 0, 1200, 800), image.Rect(1200, 0, 2000, 600)}, image.Point{}, false},
		"the first shrinks":                 {image.Rect(600, 500, 900, 650), [Outputs]image.Rectangle{image.Rect(0, 0, 640, 480), image.Rect(640, 0, 1440, 600)}, image.Pt(339, 326), true},
		"a window larger than what is left": {image.Rect(0, 0, 1000, 700), [Outputs]image.Rectangle{image.Rect(0, 0, 640, 480)}, image.Pt(1, 18), true},
		"nothing changes for it":            {image.Rect(100, 100, 200, 200), [Outputs]image.Rectangle{one}, image.Point{}, false},
		"it is nowhere":                     {image.Rect(5000, 0, 5100, 100), [Outputs]image.Rectangle{one}, image.Point{}, false},
	} {
		to, moves := placed{area: c.area, frame: frame}.follows([Outputs]image.Rectangle{one, two}, c.is)
		if moves != c.moves || (moves && to != c.want) {
			t.Errorf("%s: %v goes to %v (%v), want %v (%v)", name, c.area, to, moves, c.want, c.moves)
		}
	}
}

// The window manager is asked to bring back what was on an output that goes.
func TestWindowManagerIsAskedToMoveWindows(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	arrange(t, d, image.Pt(1000, 700), image.Pt(800, 600))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.guard.open.Store(true)
	const manager = xproto.EventMaskSubstructureRedirect | xproto.EventMaskSubstructureNotify
	must(xproto.ChangeWindowAttributesChecked(c.xc, c.root, xproto.CwEventMask, []uint32{manager}).Check())
	list, err := atom(c.xc, "_NET_CLIENT_LIST")
	must(err)
	move, err := atom(c.xc, "_NET_MOVERESIZE_WINDOW")
	must(err)
	var ids []byte
	for _, x := range []int16{100, 1200} {
		w, err := xproto.NewWindowId(c.xc)
		must(err)
		must(xproto.CreateWindowChecked(c.xc, 24, w, c.root, x, 50, 300, 200, 0, xproto.WindowClassInputOutput, 0, 0, nil).Check())
		ids = append(ids, 0, 0, 0, 0)
		xgb.Put32(ids[len(ids)-4:], uint32(w))
	}
	ids = append(ids, 1, 2, 3, 4) // and one that is no window
	must(xproto.ChangePropertyChecked(c.xc, xproto.PropModeReplace, c.root, list, xproto.AtomWindow, 32, 3, ids).Check())

	told := make(chan xproto.ClientMessageEvent, 16)
	go func() {
		defer close(told)
		for {
			e, err := c.xc.WaitForEvent()
			if e == nil && err == nil {
				return
			}
			if m, ok := e.(xproto.ClientMessageEvent); ok && m.Type == move {
				told <- m
			}
		}
	}()
	arrange(t, d, image.Pt(1000, 700))
	select {
	case m := <-told:
		if data := m.Data.Data32; uint32(m.Window) != xgb.Get32(ids[4:]) || data[1] != 200 || data[2] != 50 {
			t.Fatalf("window %#x is moved by %v, want %#x to 200,50", m.Window, data, xgb.Get32(ids[4:]))
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no window was moved in 30 s")
	}
	arrange(t, d, image.Pt(1000, 600)) // asks for no move, and the next answer comes after any
	if _, err := xproto.GetInputFocus(c.xc).Reply(); err != nil {
		t.Fatal(err)
	}
	if len(told) > 0 {
		t.Fatalf("another window was moved: %+v", <-told)
	}
}

package xorgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
)

// Enter clicks into the middle of a program's window, by its WM_CLASS, and gives it the keyboard, as a person with a window manager would. It waits
// until there is such a window, and returns it.
func (a *Application) Enter(t testing.TB, class string) xproto.Window {
	t.Helper()
	root := xproto.Setup(a.xc).Roots[0].Root
	var w xproto.Window
	var at *xproto.GetGeometryReply
	for deadline := time.Now().Add(30 * time.Second); at == nil; time.Sleep(20 * time.Millisecond) {
		var err error
		if w, at, err = a.largest(root, class); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	// Without a window manager it has the keyboard already, since the pointer lies in it, and would not be told of it.
	err := xproto.SetInputFocusChecked(a.xc, xproto.InputFocusNone, xproto.InputFocusNone, xproto.TimeCurrentTime).Check()
	if err == nil {
		err = xproto.SetInputFocusChecked(a.xc, xproto.InputFocusNone, w, xproto.TimeCurrentTime).Check()
	}
	if err == nil {
		err = Use(a.xc, "XTEST")
	}
	x, y := at.X+int16(at.Width/2), at.Y+int16(at.Height/2)
	for _, kind := range []byte{xproto.MotionNotify, xproto.ButtonPress, xproto.ButtonRelease} {
		button := byte(1)
		if kind == xproto.MotionNotify {
			button = 0 // to a place, not by a way
		}
		if err == nil {
			err = xtest.FakeInputChecked(a.xc, kind, button, 0, root, x, y, 0).Check()
		}
	}
	if err != nil {
		t.Fatalf("click into the window of %s: %v", class, err)
	}
	return w
}

// largest is the largest window of a program that can be seen, and where it is. There is no window manager: all lie below the root.
func (a *Application) largest(root xproto.Window, class string) (found xproto.Window, at *xproto.GetGeometryReply, err error) {
	tree, err := xproto.QueryTree(a.xc, root).Reply()
	if err != nil {
		return 0, nil, err
	}
	most := 1 // pixels
	for _, w := range tree.Children {
		// A window may go while it is looked at.
		name, err := xproto.GetProperty(a.xc, false, w, xproto.AtomWmClass, xproto.AtomString, 0, 256).Reply()
		if err != nil || !strings.Contains(strings.ToLower(string(name.Value)), class) {
			continue
		}
		state, err := xproto.GetWindowAttributes(a.xc, w).Reply()
		if err != nil || state.MapState != xproto.MapStateViewable {
			continue
		}
		size, err := xproto.GetGeometry(a.xc, xproto.Drawable(w)).Reply()
		if n := 0; err == nil {
			if n = int(size.Width) * int(size.Height); n > most {
				found, at, most = w, size, n
			}
		}
	}
	if found == 0 {
		return 0, nil, fmt.Errorf("no window of %s is to be seen", class)
	}
	return found, at, nil
}

// Drop drags files onto a place of the screen in a window, and lets them go there, as a file manager does (XDND, version 5).
func (a *Application) Drop(ctx context.Context, onto xproto.Window, x, y int, files ...string) error {
	var list strings.Builder
	for _, f := range files {
		list.WriteString((&url.URL{Scheme: "file", Path: f}).String() + "\r\n")
	}
	a.mu.Lock()
	a.habit = Honest
	a.mu.Unlock()
	kind := a.Atom("text/uri-list")
	a.mu.Lock()
	a.copied = map[xproto.Atom][]byte{kind: []byte(list.String())}
	a.mu.Unlock()
	if err := xproto.SetSelectionOwnerChecked(a.xc, a.window, a.Atom("XdndSelection"), xproto.TimeCurrentTime).Check(); err != nil {
		return fmt.Errorf("begin to drag: %w", err)
	}
	for len(a.events) > 0 {
		<-a.events
	}
	say := func(what string, data ...uint32) {
		data = append([]uint32{uint32(a.window)}, data...)
		ev := xproto.ClientMessageEvent{Format: 32, Window: onto, Type: a.Atom(what), Data: xproto.ClientMessageDataUnionData32New(append(data, 0, 0, 0, 0)[:5])}
		xproto.SendEvent(a.xc, false, onto, 0, string(ev.Bytes()))
	}
	heard := func(what string) (xproto.ClientMessageEvent, error) {
		is := a.Atom(what)
		return next(ctx, a, func(ev xproto.ClientMessageEvent) bool { return ev.Type == is })
	}
	const version, asked, accepted = 5 << 24, 200, 1
	say("XdndEnter", version, uint32(kind))
	// A browser asks its page first whether it wants the files: its first answers may be no.
	for i := 0; ; i++ {
		say("XdndPosition", 0, uint32(x)<<16|uint32(y), uint32(xproto.TimeCurrentTime), uint32(a.Atom("XdndActionCopy")))
		status, err := heard("XdndStatus")
		if err != nil {
			return fmt.Errorf("drag files to %d,%d: %w", x, y, err)
		}
		if status.Data.Data32[1]&accepted != 0 {
			break
		}
		if i == asked {
			say("XdndLeave", 0)
			return errors.New("what lies there takes no files")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	say("XdndDrop", 0, uint32(xproto.TimeCurrentTime))
	if _, err := heard("XdndFinished"); err != nil {
		return fmt.Errorf("let files go at %d,%d: %w", x, y, err)
	}
	return nil
}

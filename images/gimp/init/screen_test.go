package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"easel/pkg/display/xorgtest"
)

// actor plays the window manager and GIMP on a real X server.
type actor struct {
	t     *testing.T
	conn  *xgb.Conn
	root  xproto.Window
	atoms map[string]xproto.Atom
}

func onServer(t *testing.T) (*screen, actor) {
	t.Helper()
	server := xorgtest.Start(t)
	t.Setenv("XAUTHORITY", server.XAuthority)
	display := fmt.Sprintf(":%d", server.Display)
	s, err := openScreen(display)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	conn, err := xgb.NewConnDisplay(display)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return s, actor{t: t, conn: conn, root: s.root, atoms: s.atoms}
}

func (a actor) window() xproto.Window {
	a.t.Helper()
	w, err := xproto.NewWindowId(a.conn)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := xproto.CreateWindowChecked(a.conn, 0, w, a.root, 0, 0, 10, 10, 0, xproto.WindowClassInputOutput, 0, 0, nil).Check(); err != nil {
		a.t.Fatal(err)
	}
	return w
}

func (a actor) set(w xproto.Window, property, kind xproto.Atom, format byte, data []byte) {
	a.t.Helper()
	n := uint32(len(data)) / uint32(format/8)
	if err := xproto.ChangePropertyChecked(a.conn, xproto.PropModeReplace, w, property, kind, format, n, data).Check(); err != nil {
		a.t.Fatal(err)
	}
}

func (a actor) name(w xproto.Window, property string, windows ...xproto.Window) {
	var data []byte
	for _, v := range windows {
		data = binary.NativeEndian.AppendUint32(data, uint32(v))
	}
	a.set(w, a.atoms[property], xproto.AtomWindow, 32, data)
}

func awaiting(t *testing.T, s *screen, condition func() (bool, error)) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	result := make(chan error, 1)
	go func() { result <- s.await(ctx, condition) }()
	return result
}

func notYet(t *testing.T, what string, result <-chan error) {
	t.Helper()
	select {
	case err := <-result:
		t.Fatalf("%s: came too early (%v)", what, err)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestWindowManagerIsSeenWhenItIsThere(t *testing.T) {
	s, a := onServer(t)
	result := awaiting(t, s, s.hasManager)
	w := a.window()
	a.name(a.root, "_NET_SUPPORTING_WM_CHECK", w)
	notYet(t, "a root that names a window which does not name itself", result)
	a.name(w, "_NET_SUPPORTING_WM_CHECK", w)
	a.name(a.root, "_NET_SUPPORTING_WM_CHECK", w)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestGIMPIsThereOnceItsMainWindowIsMapped(t *testing.T) {
	s, a := onServer(t)
	result := awaiting(t, s, s.hasGIMP)
	splash, main := a.window(), a.window()
	for _, w := range []xproto.Window{splash, main} {
		a.set(w, xproto.AtomWmClass, xproto.AtomString, 8, []byte("gimp\x00Gimp\x00"))
	}
	if err := xproto.MapWindowChecked(a.conn, splash).Check(); err != nil {
		t.Fatal(err)
	}
	a.name(a.root, "_NET_CLIENT_LIST", splash)
	notYet(t, "a window that is not the main one", result)
	a.set(main, a.atoms["WM_WINDOW_ROLE"], xproto.AtomString, 8, []byte("gimp-image-window-1"))
	a.name(a.root, "_NET_CLIENT_LIST", splash, main)
	notYet(t, "a main window that is not mapped", result)
	if err := xproto.MapWindowChecked(a.conn, main).Check(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}

	if err := s.closeGIMP(); err != nil {
		t.Fatal(err)
	}
	event, xerr := a.conn.WaitForEvent()
	if xerr != nil {
		t.Fatal(xerr)
	}
	message, ok := event.(xproto.ClientMessageEvent)
	if !ok || message.Window != main || message.Type != a.atoms["WM_PROTOCOLS"] || message.Data.Data32[0] != uint32(a.atoms["WM_DELETE_WINDOW"]) {
		t.Errorf("the main window got %v, not WM_DELETE_WINDOW", event)
	}
}

func TestGIMPWithoutAWindowCannotBeAsked(t *testing.T) {
	s, _ := onServer(t)
	if err := s.closeGIMP(); err == nil {
		t.Error("nobody was asked, and it went well")
	}
}

func TestWaitEndsWhenTheServerGoes(t *testing.T) {
	server := xorgtest.Start(t)
	t.Setenv("XAUTHORITY", server.XAuthority)
	s, err := openScreen(fmt.Sprintf(":%d", server.Display))
	if err != nil {
		t.Fatal(err)
	}
	result := awaiting(t, s, s.hasGIMP)
	server.Stop()
	select {
	case err := <-result:
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(patience):
		t.Error("still waiting")
	}
}

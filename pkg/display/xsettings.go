package display

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// Bounds of the interface's scale, in per cent.
const (
	MinScale = 100
	MaxScale = 400
)

// usualDPI is a screen's resolution at 100 per cent.
const usualDPI = 96

// xsettings tells applications how large their interface should be (freedesktop.org, XSETTINGS 0.5). It is made when a scale is first set.
//
// The settings lie on a window of a connection of their own, which outlives it (RetainTemporary): where they go, GTK lays everything out anew, and the picture
// would move under an artist's pen because a streamer died. The next one's take the place of those that were left.
type xsettings struct {
	mu       sync.Mutex
	config   Config
	client   *connection // nil until there is one
	window   xproto.Window
	property xproto.Atom
	serial   uint32
	scale    int
}

// SetScale has applications draw their interface at so many per cent, from MinScale to MaxScale. Those that use GTK follow at once.
func (d *Display) SetScale(percent int) error {
	s := &d.settings
	s.mu.Lock()
	defer s.mu.Unlock()
	percent = max(MinScale, min(percent, MaxScale))
	if s.scale == percent {
		return nil
	}
	begins := s.client == nil
	if begins {
		if err := s.open(); err != nil {
			return err
		}
	}
	err := s.client.call(fmt.Sprintf("set the interface's scale to %d per cent", percent), func() error {
		s.serial++
		value := encodeSettings(s.serial, scaleSettings(percent))
		err := xproto.ChangePropertyChecked(s.client.xc, xproto.PropModeReplace, s.window, s.property, s.property, 8, uint32(len(value)), value).Check()
		if err != nil || !begins {
			return err
		}
		return s.announce()
	})
	if err != nil {
		s.close() // the next try begins anew
		return err
	}
	s.scale = percent
	return nil
}

// open connects to the server once more and makes the window on which the settings lie.
func (s *xsettings) open() error {
	c := &connection{}
	g, err := c.dial(context.Background(), s.config)
	if err != nil {
		return err
	}
	go func() {
		defer close(c.done)
		for ev, xerr := c.xc.WaitForEvent(); ev != nil || xerr != nil; ev, xerr = c.xc.WaitForEvent() { // none is asked for
		}
	}()
	g.open.Store(true)
	if err := c.call("make the window of the interface's settings", func() error { return s.make(c) }); err != nil {
		c.abandon(g)
		return err
	}
	s.client = c
	return nil
}

func (s *xsettings) make(c *connection) (err error) {
	if _, err = c.screen(); err != nil {
		return err
	}
	if s.property, err = atom(c.xc, "_XSETTINGS_SETTINGS"); err != nil {
		return err
	}
	if s.window, err = xproto.NewWindowId(c.xc); err != nil {
		return err
	}
	if err := xproto.CreateWindowChecked(c.xc, 0, s.window, c.root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0, 0, nil).Check(); err != nil {
		return err
	}
	return xproto.SetCloseDownModeChecked(c.xc, xproto.CloseDownRetainTemporary).Check()
}

// announce takes the place of the settings' owner, tells who waits for one, and removes what an owner before has left.
func (s *xsettings) announce() error {
	xc := s.client.xc
	selection, err := atom(xc, "_XSETTINGS_S0")
	if err != nil {
		return err
	}
	manager, err := atom(xc, "MANAGER")
	if err != nil {
		return err
	}
	if err := xproto.SetSelectionOwnerChecked(xc, s.window, selection, xproto.TimeCurrentTime).Check(); err != nil {
		return err
	}
	e := xproto.ClientMessageEvent{Format: 32, Window: s.client.root, Type: manager, Data: xproto.ClientMessageDataUnionData32New(
		[]uint32{xproto.TimeCurrentTime, uint32(selection), uint32(s.window), 0, 0},
	)}
	if err := xproto.SendEventChecked(xc, false, s.client.root, xproto.EventMaskStructureNotify, string(e.Bytes())).Check(); err != nil {
		return err
	}
	return xproto.KillClientChecked(xc, xproto.KillAllTemporary).Check()
}

// close ends the connection, if there is one; its window stays until another takes its place.
func (s *xsettings) close() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

func atom(xc *xgb.Conn, name string) (xproto.Atom, error) {
	r, err := xproto.InternAtom(xc, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0, fmt.Errorf("ask for the atom %s: %w", name, err)
	}
	return r.Atom, nil
}

// setting is one number that applications may ask for.
type setting struct {
	name  string
	value int32
}

// scaleSettings are what a scale means to GTK: whole factors by enlarging everything, what is between by the resolution, which text and what is
// measured by it follow.
func scaleSettings(percent int) []setting {
	factor := max((percent+25)/100, 1)
	const unit = 1024 // of the settings, a dot an inch
	dpi := usualDPI * unit * percent / 100
	return []setting{
		{"Gdk/UnscaledDPI", int32(dpi / factor)},
		{"Gdk/WindowScalingFactor", int32(factor)},
		{"Xft/DPI", int32(dpi)},
	}
}

func encodeSettings(serial uint32, settings []setting) []byte {
	le := binary.LittleEndian
	b := []byte{0, 0, 0, 0} // least significant byte first
	b = le.AppendUint32(b, serial)
	b = le.AppendUint32(b, uint32(len(settings)))
	for _, s := range settings {
		b = append(b, 0, 0) // a number
		b = le.AppendUint16(b, uint16(len(s.name)))
		b = append(b, s.name...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = le.AppendUint32(b, serial)
		b = le.AppendUint32(b, uint32(s.value))
	}
	return b
}

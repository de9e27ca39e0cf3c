package display

import (
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
type xsettings struct {
	mu       sync.Mutex
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
	err := d.call(fmt.Sprintf("set the interface's scale to %d per cent", percent), func() error {
		begins := s.window == 0
		if begins {
			if err := s.make(d.xc, d.root); err != nil {
				return err
			}
		}
		s.serial++
		value := encodeSettings(s.serial, scaleSettings(percent))
		err := xproto.ChangePropertyChecked(d.xc, xproto.PropModeReplace, s.window, s.property, s.property, 8, uint32(len(value)), value).Check()
		if err != nil || !begins {
			return err
		}
		return s.announce(d.xc, d.root)
	})
	if err != nil {
		s.window = 0 // the next try begins anew
		return err
	}
	s.scale = percent
	return nil
}

// make makes the window on which the settings lie.
func (s *xsettings) make(xc *xgb.Conn, root xproto.Window) error {
	property, err := atom(xc, "_XSETTINGS_SETTINGS")
	if err != nil {
		return err
	}
	window, err := xproto.NewWindowId(xc)
	if err != nil {
		return err
	}
	if err := xproto.CreateWindowChecked(xc, 0, window, root, -1, -1, 1, 1, 0, xproto.WindowClassInputOnly, 0, 0, nil).Check(); err != nil {
		return err
	}
	s.window, s.property = window, property
	return nil
}

// announce takes the place of the settings' owner and tells who waits for one.
func (s *xsettings) announce(xc *xgb.Conn, root xproto.Window) error {
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
	e := xproto.ClientMessageEvent{Format: 32, Window: root, Type: manager, Data: xproto.ClientMessageDataUnionData32New(
		[]uint32{xproto.TimeCurrentTime, uint32(selection), uint32(s.window), 0, 0},
	)}
	return xproto.SendEventChecked(xc, false, root, xproto.EventMaskStructureNotify, string(e.Bytes())).Check()
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

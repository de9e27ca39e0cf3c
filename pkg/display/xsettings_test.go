package display

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// settingsOf reads what an application reads.
func settingsOf(t *testing.T, c *client) (serial uint32, values map[string]int32) {
	t.Helper()
	selection, err := atom(c.xc, "_XSETTINGS_S0")
	if err != nil {
		t.Fatal(err)
	}
	owner, err := xproto.GetSelectionOwner(c.xc, selection).Reply()
	if err != nil || owner.Owner == 0 {
		t.Fatalf("nobody owns the settings (%v)", err)
	}
	property, err := atom(c.xc, "_XSETTINGS_SETTINGS")
	if err != nil {
		t.Fatal(err)
	}
	p, err := xproto.GetProperty(c.xc, false, owner.Owner, property, property, 0, 1024).Reply()
	if err != nil || p.Format != 8 || len(p.Value) < 12 || p.Value[0] != 0 {
		t.Fatalf("the settings are %+v (%v)", p, err)
	}
	le, b := binary.LittleEndian, p.Value
	serial, values = le.Uint32(b[4:]), map[string]int32{}
	n := le.Uint32(b[8:])
	b = b[12:]
	for range n {
		length := int(le.Uint16(b[2:]))
		name := string(b[4 : 4+length])
		b = b[4+(length+3)&^3:]
		values[name] = int32(le.Uint32(b[4:]))
		b = b[8:]
	}
	if len(b) != 0 {
		t.Fatalf("%d bytes follow the settings", len(b))
	}
	return serial, values
}

func TestApplicationsAreToldTheScale(t *testing.T) {
	s := xorgtest.Start(t)
	d, c := open(t, s), newClient(t, s)
	c.guard.open.Store(true)
	events := make(chan xgb.Event, 16)
	go func() {
		defer close(events)
		for {
			e, err := c.xc.WaitForEvent()
			if e == nil && err == nil {
				return
			}
			if e != nil {
				events <- e
			}
		}
	}()
	if err := xproto.ChangeWindowAttributesChecked(c.xc, c.root, xproto.CwEventMask, []uint32{xproto.EventMaskStructureNotify}).Check(); err != nil {
		t.Fatal(err)
	}
	manager, err := atom(c.xc, "MANAGER")
	if err != nil {
		t.Fatal(err)
	}
	var last uint32
	for i, step := range []struct {
		percent, factor, unscaled, dpi int32
	}{{200, 2, 96, 192}, {100, 1, 96, 96}, {125, 1, 120, 120}, {150, 1, 144, 144}, {175, 2, 84, 168}, {300, 3, 96, 288}, {5, 1, 96, 96}} {
		t.Run(fmt.Sprint(step.percent), func(t *testing.T) {
			if err := d.SetScale(int(step.percent)); err != nil {
				t.Fatal(err)
			}
			if i == 0 { // who waits for settings hears that there are some
				select {
				case e := <-events:
					if m, ok := e.(xproto.ClientMessageEvent); !ok || m.Type != manager {
						t.Fatalf("the root window was told %v", e)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("nobody was told of the settings in 30 s")
				}
			}
			serial, got := settingsOf(t, c)
			want := map[string]int32{"Gdk/WindowScalingFactor": step.factor, "Gdk/UnscaledDPI": step.unscaled * 1024, "Xft/DPI": step.dpi * 1024}
			for name, v := range want {
				if got[name] != v {
					t.Errorf("%s is %d, want %d", name, got[name], v)
				}
			}
			if len(got) != len(want) || serial == last {
				t.Errorf("settings %v of serial %d after %d", got, serial, last)
			}
			last = serial
			if err := d.SetScale(int(step.percent)); err != nil {
				t.Fatal(err)
			}
			if again, _ := settingsOf(t, c); again != serial {
				t.Errorf("the same scale again made serial %d of %d", again, serial)
			}
		})
	}
}

func TestSettingsStayUntilTheNextOwnerHasCome(t *testing.T) {
	s := xorgtest.Start(t)
	c := newClient(t, s)
	selection, err := atom(c.xc, "_XSETTINGS_S0")
	if err != nil {
		t.Fatal(err)
	}
	there := func(w xproto.Window) bool {
		tree, err := xproto.QueryTree(c.xc, c.root).Reply()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Contains(tree.Children, w)
	}
	var before xproto.Window
	for _, percent := range []int{150, 200, 100} {
		d, err := Open(t.Context(), Config{Dial: s.Dial, Cookie: s.Cookie, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.SetScale(percent); err != nil {
			t.Fatal(err)
		}
		owner, err := xproto.GetSelectionOwner(c.xc, selection).Reply()
		if err != nil {
			t.Fatal(err)
		}
		if owner.Owner == before || there(before) {
			t.Errorf("the window %#x of the owner before is still there beside %#x", before, owner.Owner)
		}
		d.Close()
		if before = owner.Owner; !there(before) { // applications watch for its end
			t.Errorf("the window %#x of the settings has gone with their owner", before)
		}
	}
}

package pen_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
	"golang.org/x/sys/unix"

	"easel/images/gimp/pen/pentest"
	"easel/integration/xclient"
	"easel/pkg/display/xorgtest"
)

const patience = 20 * time.Second

// server is an X server with the driver, and a client of it.
type server struct {
	*pentest.Server
	t      *testing.T
	screen *xclient.Screen
	conn   *xgb.Conn
	root   xproto.Window
}

func start(t *testing.T) *server {
	t.Helper()
	s := &server{Server: pentest.Start(t), t: t}
	var err error
	if s.screen, err = xclient.Open(t.Context(), s.Socket, s.XAuthority); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.screen.Close)
	s.conn, s.root = s.screen.Conn(), s.screen.Root()
	return s
}

// at waits until the pointer is at x, y with the buttons of mask down.
func (s *server) at(x, y int, mask uint16) {
	s.t.Helper()
	var p *xproto.QueryPointerReply
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		var err error
		if p, err = xproto.QueryPointer(s.conn, s.root).Reply(); err != nil {
			s.t.Fatal(err)
		}
		if int(p.RootX) == x && int(p.RootY) == y && p.Mask == mask {
			return
		}
	}
	s.t.Fatalf("pointer is at %d,%d with buttons %#x, want %d,%d with %#x", p.RootX, p.RootY, p.Mask, x, y, mask)
}

// resize gives the screen another of its modes' sizes.
func (s *server) resize(width, height uint16) {
	s.t.Helper()
	if err := xorgtest.Use(s.conn, "RANDR"); err != nil {
		s.t.Fatal(err)
	}
	all, err := randr.GetScreenResourcesCurrent(s.conn, s.root).Reply()
	if err != nil {
		s.t.Fatal(err)
	}
	old, err := xproto.GetGeometry(s.conn, xproto.Drawable(s.root)).Reply()
	if err != nil {
		s.t.Fatal(err)
	}
	setSize := func(w, h uint16) {
		if err := randr.SetScreenSizeChecked(s.conn, s.root, w, h, 300, 200).Check(); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, m := range all.Modes {
		if m.Width != width || m.Height != height {
			continue
		}
		setSize(max(width, old.Width), max(height, old.Height)) // it must hold the mode at every step
		if _, err := randr.SetCrtcConfig(s.conn, all.Crtcs[0], 0, all.ConfigTimestamp, 0, 0, randr.Mode(m.Id), randr.RotationRotate0, all.Outputs[:1]).Reply(); err != nil {
			s.t.Fatal(err)
		}
		setSize(width, height)
		return
	}
	s.t.Fatalf("no mode %dx%d", width, height)
}

// TestDriver runs the driver in a real X server; its parts share one, as a session's streamers do.
func TestDriver(t *testing.T) {
	s := start(t)
	for name, part := range map[string]func(*testing.T, *server){
		"pointer lands where the record says":          pointerLandsWhereTheRecordSays,
		"stylus tells pressure, tilt and twist":        stylusTellsPressureTiltAndTwist,
		"hand that goes lets go of its buttons":        handThatGoesLetsGoOfItsButtons,
		"new hand takes the place of the old":          newHandTakesThePlaceOfTheOld,
		"every button and the wheel arrive":            everyButtonAndTheWheelArrive,
		"keys come after what was synced before them":  keysComeAfterWhatWasSyncedBeforeThem,
		"nonsense is dropped and the server goes on":   nonsenseIsDroppedAndTheServerGoesOn,
		"press that is looked at first holds the rest": pressThatIsLookedAtFirstHoldsTheRest,
	} {
		t.Run(name, func(t *testing.T) {
			part(t, &server{Server: s.Server, t: t, screen: s.screen, conn: s.conn, root: s.root})
		})
	}
}

func pointerLandsWhereTheRecordSays(t *testing.T, s *server) {
	h := s.Hand(t)
	h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: 300, Y: 200})
	s.at(300, 200, 0)
	h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Stylus, X: 17.5, Y: 700})
	s.at(17, 700, 0)
	s.resize(640, 480)
	defer s.resize(pentest.Width, pentest.Height)
	h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: 600, Y: 400})
	s.at(600, 400, 0)
	h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Stylus, X: 333, Y: 111})
	s.at(333, 111, 0)
	h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: 5000, Y: -3})
	s.at(639, 0, 0)
}

func stylusTellsPressureTiltAndTwist(t *testing.T, s *server) {
	h := s.Hand(t)
	for _, c := range []struct {
		device byte
		name   string
		x      float64
	}{{pentest.Stylus, "Easel pen", 100.25}, {pentest.Eraser, "Easel eraser", 120.5}} {
		h.Do(pentest.Record{Kind: pentest.Motion, Device: c.device, X: c.x, Y: 50, Pressure: 33000, TiltX: -3000, TiltY: 1500, Twist: 9000})
		s.at(int(c.x), 50, 0)
		devices, err := s.screen.Devices()
		if err != nil {
			t.Fatal(err)
		}
		want := xclient.Device{Name: c.name, Axes: []xclient.Axis{
			{Value: c.x}, {Value: 50}, {High: 65535, Value: 33000}, {Low: -6400, High: 6400, Value: -3000}, {Low: -6400, High: 6400, Value: 1500}, {High: 35999, Value: 9000},
		}}
		if !slices.ContainsFunc(slices.Collect(maps.Values(devices)), func(d xclient.Device) bool { return reflect.DeepEqual(d, want) }) {
			t.Errorf("the devices are %v, want %v among them", devices, want)
		}
		h.Do(pentest.Record{Kind: pentest.Away, Device: c.device, X: c.x, Y: 50})
	}
}

func handThatGoesLetsGoOfItsButtons(t *testing.T, s *server) {
	for _, device := range []byte{pentest.Pointer, pentest.Stylus} {
		h := s.Hand(t)
		h.Do(pentest.Record{Kind: pentest.Press, Device: device, Button: 1, X: 40, Y: 30, Pressure: 500}, pentest.Record{Kind: pentest.Press, Device: device, Button: 3, X: 40, Y: 30})
		s.at(40, 30, xproto.ButtonMask1|xproto.ButtonMask3)
		if err := unix.Shutdown(h.FD, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		s.at(40, 30, 0)
	}
}

func newHandTakesThePlaceOfTheOld(t *testing.T, s *server) {
	old := s.Hand(t)
	old.Do(pentest.Record{Kind: pentest.Press, Device: pentest.Pointer, Button: 1, X: 10, Y: 10})
	s.at(10, 10, xproto.ButtonMask1)
	young := s.Hand(t)
	young.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: 20, Y: 20})
	s.at(20, 20, 0)
	if n, err := unix.Read(old.FD, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("the old connection still stands: %d, %v", n, err)
	}
}

func (s *server) listenFor(mask uint32) {
	s.t.Helper()
	if err := xproto.ChangeWindowAttributesChecked(s.conn, s.root, xproto.CwEventMask, []uint32{mask}).Check(); err != nil {
		s.t.Fatal(err)
	}
}

// event is the next one that tells of input. The server tells all clients when a keyboard takes another's place as well.
func (s *server) event() xgb.Event {
	s.t.Helper()
	for {
		event, xerr := s.conn.WaitForEvent()
		if xerr != nil || event == nil {
			s.t.Fatalf("wait for an event: %v", xerr)
		}
		if _, ok := event.(xproto.MappingNotifyEvent); !ok {
			return event
		}
	}
}

func everyButtonAndTheWheelArrive(t *testing.T, s *server) {
	s.listenFor(xproto.EventMaskButtonPress)
	defer s.listenFor(0)
	h := s.Hand(t)
	want := []xproto.Button{}
	for _, button := range []byte{1, 2, 3, 8, 9} {
		h.Do(pentest.Record{Kind: pentest.Press, Device: pentest.Pointer, Button: button, X: 5, Y: 5}, pentest.Record{Kind: pentest.Release, Device: pentest.Pointer, Button: button, X: 5, Y: 5})
		want = append(want, xproto.Button(button))
	}
	// Half a notch is kept until there is a whole one; X makes the old wheel buttons of it.
	h.Do(pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, Y: 0.5}, pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, Y: 0.5}, pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, Y: -1},
		pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, X: 1}, pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, X: -1})
	want = append(want, 5, 4, 7, 6)
	for i, button := range want {
		event := s.event()
		if p, ok := event.(xproto.ButtonPressEvent); !ok || xproto.Button(p.Detail) != button {
			t.Fatalf("event %d is %v, want button %d", i, event, button)
		}
	}
}

// Keys reach the server by another way, which has no queue: without the answer they would overtake the pointer.
func keysComeAfterWhatWasSyncedBeforeThem(t *testing.T, s *server) {
	if err := xorgtest.Use(s.conn, "XTEST"); err != nil {
		t.Fatal(err)
	}
	s.listenFor(xproto.EventMaskButtonPress | xproto.EventMaskKeyPress)
	defer s.listenFor(0)
	h := s.Hand(t)
	const key, rounds = 38, 500
	for i := range uint32(rounds) {
		h.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: float64(i), Y: 3}, pentest.Record{Kind: pentest.Scroll, Device: pentest.Pointer, Y: 1}, pentest.Record{Kind: pentest.Sync, Time: i})
		answered(t, h, i)
		for _, kind := range []byte{xproto.KeyPress, xproto.KeyRelease} {
			xtest.FakeInput(s.conn, kind, key, xproto.TimeCurrentTime, 0, 0, 0, 0)
		}
		for n, want := range []string{"wheel", "key"} {
			got := "wheel"
			if _, ok := s.event().(xproto.KeyPressEvent); ok {
				got = "key"
			}
			if got != want {
				t.Fatalf("round %d, event %d is the %s, want the %s", i, n, got, want)
			}
		}
	}
}

// answered waits for the answer to a sync.
func answered(t *testing.T, h pentest.Hand, want uint32) {
	t.Helper()
	if err := unix.SetsockoptTimeval(h.FD, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience.Seconds())}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16)
	n, err := unix.Read(h.FD, b)
	if err != nil || n != 4 || binary.LittleEndian.Uint32(b) != want {
		t.Fatalf("the answer to sync %d is %x (%v)", want, b[:max(n, 0)], err)
	}
}

func nonsenseIsDroppedAndTheServerGoesOn(t *testing.T, s *server) {
	h := s.Hand(t)
	random := rand.New(rand.NewSource(1))
	for range 3000 {
		packet := make([]byte, 1+random.Intn(2000))
		if random.Intn(2) == 0 {
			packet = make([]byte, 24*(1+random.Intn(64)))
		}
		_, _ = random.Read(packet)
		for i := 0; i < len(packet); i += 24 { // often near enough to be understood
			packet[i] %= 8
			if i+1 < len(packet) {
				packet[i+1] %= 4
			}
		}
		if err := unix.Send(h.FD, packet, unix.MSG_NOSIGNAL); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Shutdown(h.FD, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	again := s.Hand(t)
	again.Do(pentest.Record{Kind: pentest.Motion, Device: pentest.Pointer, X: 77, Y: 66})
	s.at(77, 66, 0)
}

// A window manager looks at each press before the window gets it, and takes its time. What follows the press comes to the window after it, each at its own
// place: an X server that had it already would move it to where the pointer is by then, and merge motions.
func pressThatIsLookedAtFirstHoldsTheRest(t *testing.T, s *server) {
	windows, err := xclient.Open(t.Context(), s.Socket, s.XAuthority)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(windows.Close)
	w, err := xproto.NewWindowId(windows.Conn())
	if err != nil {
		t.Fatal(err)
	}
	const all = xproto.EventMaskButtonPress | xproto.EventMaskButtonRelease | xproto.EventMaskPointerMotion
	if err := xproto.CreateWindowChecked(windows.Conn(), 0, w, s.root, 0, 0, pentest.Width, pentest.Height, 0, xproto.WindowClassInputOnly, 0,
		xproto.CwOverrideRedirect|xproto.CwEventMask, []uint32{1, all}).Check(); err != nil {
		t.Fatal(err)
	}
	if err := xproto.MapWindowChecked(windows.Conn(), w).Check(); err != nil {
		t.Fatal(err)
	}
	manager, err := xclient.Open(t.Context(), s.Socket, s.XAuthority)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.GrabButtonChecked(manager.Conn(), true, w, xproto.EventMaskButtonPress, xproto.GrabModeSync, xproto.GrabModeAsync, 0, 0, 1, xproto.ModMaskAny).Check(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			ev, err := manager.Conn().WaitForEvent()
			if ev == nil && err == nil {
				return
			}
			if press, ok := ev.(xproto.ButtonPressEvent); ok {
				time.Sleep(50 * time.Millisecond)
				xproto.AllowEvents(manager.Conn(), xproto.AllowReplayPointer, press.Time)
			}
		}
	}()
	t.Cleanup(func() { manager.Close(); <-ended })

	h := s.Hand(t)
	var records []pentest.Record
	var want []string
	for i := range 5 {
		x, y := float64(100+300*(i%2)), float64(100+50*i)
		at := func(kind byte, dx float64) {
			r := pentest.Record{Kind: kind, Device: pentest.Stylus, X: x + dx, Y: y, Pressure: 30000}
			if kind != pentest.Motion {
				r.Button = 1
			}
			records = append(records, r)
			want = append(want, fmt.Sprintf("%d at %g,%g", kind, r.X, r.Y))
		}
		at(pentest.Motion, 0)
		at(pentest.Press, 0)
		at(pentest.Motion, 1)
		at(pentest.Motion, 2)
		at(pentest.Release, 2)
	}
	h.Do(records...)
	var got []string
	for len(got) == 0 || got[len(got)-1] != want[len(want)-1] {
		ev := waitFor(t, windows)
		switch e := ev.(type) {
		case xproto.MotionNotifyEvent:
			got = append(got, fmt.Sprintf("%d at %d,%d", pentest.Motion, e.RootX, e.RootY))
		case xproto.ButtonPressEvent:
			got = append(got, fmt.Sprintf("%d at %d,%d", pentest.Press, e.RootX, e.RootY))
		case xproto.ButtonReleaseEvent:
			got = append(got, fmt.Sprintf("%d at %d,%d", pentest.Release, e.RootX, e.RootY))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the window was told of\n%q, want\n%q", got, want)
	}
}

// waitFor is the next event that a client is told of.
func waitFor(t *testing.T, c *xclient.Screen) xgb.Event {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		ev, err := c.Conn().PollForEvent()
		if err != nil {
			t.Fatal(err)
		}
		if ev != nil {
			return ev
		}
	}
	t.Fatal("no event came")
	return nil
}

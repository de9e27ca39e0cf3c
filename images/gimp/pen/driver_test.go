package pen

import (
	"bufio"
	"encoding/binary"
	"maps"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
	"golang.org/x/sys/unix"

	"easel/integration/xclient"
)

const patience = 20 * time.Second

// What a record is about (ARCHITECTURE.md).
const (
	motion, press, release, near, away, scroll, sync = 0, 1, 2, 3, 4, 5, 6
	pointer, stylus, eraser                          = 0, 1, 2
)

type record struct {
	kind, device, button byte
	x, y                 float64 // pixels, or notches when scrolling
	pressure             uint16
	tiltX, tiltY         int16
	twist                uint16
	time                 uint32
}

func (r record) bytes() []byte {
	scale := 256.0
	if r.kind == scroll {
		scale = 120 * 256
	}
	b := []byte{r.kind, r.device, r.button, 0}
	b = binary.LittleEndian.AppendUint32(b, uint32(int32(r.x*scale)))
	b = binary.LittleEndian.AppendUint32(b, uint32(int32(r.y*scale)))
	b = binary.LittleEndian.AppendUint16(b, r.pressure)
	b = binary.LittleEndian.AppendUint16(b, uint16(r.tiltX))
	b = binary.LittleEndian.AppendUint16(b, uint16(r.tiltY))
	b = binary.LittleEndian.AppendUint16(b, r.twist)
	return binary.LittleEndian.AppendUint32(b, r.time)
}

// server is an X server with the image's own configuration and the driver, compiled here.
type server struct {
	t      *testing.T
	screen *xclient.Screen
	conn   *xgb.Conn
	root   xproto.Window
	socket string
}

func start(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	modules := filepath.Join(dir, "input")
	if err := os.Mkdir(modules, 0o755); err != nil {
		t.Fatal(err)
	}
	compile(t, "gcc", filepath.Join(modules, "easelpen_drv.so"), "-fPIC", "-shared", "-fvisibility=hidden", "-isystem", "/usr/include/xorg",
		"-isystem", "/usr/include/pixman-1", "src/easelpen.c", "src/pen_socket.c", "src/pen_wire.c")
	template, err := os.ReadFile("../rootfs/etc/easel/xorg.conf")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, socket: filepath.Join(dir, "pen.sock")}
	config := strings.NewReplacer("/usr/lib/easel/xorg", dir, "/run/easel/edge/pen.sock", s.socket, "@MODE@", `"1024x768"`,
		"@MODELINE@", `"1024x768" 65 1024 1048 1184 1344 768 771 777 806`).Replace(string(template))
	if err := os.WriteFile(filepath.Join(dir, "xorg.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	display := s.run(dir)
	if s.screen, err = xclient.Open(t.Context(), "/tmp/.X11-unix/X"+display, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.screen.Close)
	s.conn, s.root = s.screen.Conn(), s.screen.Root()
	return s
}

// run starts the server and returns its display's number.
func (s *server) run(dir string) string {
	s.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	defer read.Close()
	log := filepath.Join(dir, "log")
	cmd := exec.Command("/usr/lib/xorg/Xorg", "-displayfd", "3", "-config", filepath.Join(dir, "xorg.conf"), "-logfile", log, "-noreset",
		"-nolisten", "tcp", "-novtswitch", "-ac")
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	write.Close()
	if err != nil {
		s.t.Fatalf("start Xorg: %v", err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log)
			s.t.Errorf("Xorg did not end well: %v\n%s", err, text)
		}
	})
	if err := read.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(log)
		s.t.Fatalf("Xorg did not start: %v\n%s", err, text)
	}
	return strings.TrimSpace(line)
}

// hand is a connection to the driver, as the streamer's.
type hand struct {
	t  *testing.T
	fd int
}

func (s *server) hand() hand {
	s.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: s.socket}); err != nil {
		s.t.Fatal(err)
	}
	return hand{s.t, fd}
}

func (h hand) send(records ...record) {
	h.t.Helper()
	var packet []byte
	for _, r := range records {
		packet = append(packet, r.bytes()...)
	}
	if err := unix.Send(h.fd, packet, unix.MSG_NOSIGNAL); err != nil {
		h.t.Fatalf("send: %v", err)
	}
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
	if err := randr.Init(s.conn); err != nil {
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
		"pointer lands where the record says":         pointerLandsWhereTheRecordSays,
		"stylus tells pressure, tilt and twist":       stylusTellsPressureTiltAndTwist,
		"hand that goes lets go of its buttons":       handThatGoesLetsGoOfItsButtons,
		"new hand takes the place of the old":         newHandTakesThePlaceOfTheOld,
		"every button and the wheel arrive":           everyButtonAndTheWheelArrive,
		"keys come after what was synced before them": keysComeAfterWhatWasSyncedBeforeThem,
		"nonsense is dropped and the server goes on":  nonsenseIsDroppedAndTheServerGoesOn,
	} {
		t.Run(name, func(t *testing.T) {
			part(t, &server{t: t, screen: s.screen, conn: s.conn, root: s.root, socket: s.socket})
		})
	}
}

func pointerLandsWhereTheRecordSays(t *testing.T, s *server) {
	h := s.hand()
	h.send(record{kind: motion, device: pointer, x: 300, y: 200})
	s.at(300, 200, 0)
	h.send(record{kind: motion, device: stylus, x: 17.5, y: 700})
	s.at(17, 700, 0)
	s.resize(640, 480)
	defer s.resize(1024, 768)
	h.send(record{kind: motion, device: pointer, x: 600, y: 400})
	s.at(600, 400, 0)
	h.send(record{kind: motion, device: stylus, x: 333, y: 111})
	s.at(333, 111, 0)
	h.send(record{kind: motion, device: pointer, x: 5000, y: -3})
	s.at(639, 0, 0)
}

func stylusTellsPressureTiltAndTwist(t *testing.T, s *server) {
	h := s.hand()
	for _, c := range []struct {
		device byte
		name   string
		x      float64
	}{{stylus, "Easel pen", 100.25}, {eraser, "Easel eraser", 120.5}} {
		h.send(record{kind: motion, device: c.device, x: c.x, y: 50, pressure: 33000, tiltX: -3000, tiltY: 1500, twist: 9000})
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
		h.send(record{kind: away, device: c.device, x: c.x, y: 50})
	}
}

func handThatGoesLetsGoOfItsButtons(t *testing.T, s *server) {
	for _, device := range []byte{pointer, stylus} {
		h := s.hand()
		h.send(record{kind: press, device: device, button: 1, x: 40, y: 30, pressure: 500}, record{kind: press, device: device, button: 3, x: 40, y: 30})
		s.at(40, 30, xproto.ButtonMask1|xproto.ButtonMask3)
		if err := unix.Shutdown(h.fd, unix.SHUT_RDWR); err != nil {
			t.Fatal(err)
		}
		s.at(40, 30, 0)
	}
}

func newHandTakesThePlaceOfTheOld(t *testing.T, s *server) {
	old := s.hand()
	old.send(record{kind: press, device: pointer, button: 1, x: 10, y: 10})
	s.at(10, 10, xproto.ButtonMask1)
	young := s.hand()
	young.send(record{kind: motion, device: pointer, x: 20, y: 20})
	s.at(20, 20, 0)
	if n, err := unix.Read(old.fd, make([]byte, 1)); n != 0 || err != nil {
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
	h := s.hand()
	want := []xproto.Button{}
	for _, button := range []byte{1, 2, 3, 8, 9} {
		h.send(record{kind: press, device: pointer, button: button, x: 5, y: 5}, record{kind: release, device: pointer, button: button, x: 5, y: 5})
		want = append(want, xproto.Button(button))
	}
	// Half a notch is kept until there is a whole one; X makes the old wheel buttons of it.
	h.send(record{kind: scroll, device: pointer, y: 0.5}, record{kind: scroll, device: pointer, y: 0.5}, record{kind: scroll, device: pointer, y: -1},
		record{kind: scroll, device: pointer, x: 1}, record{kind: scroll, device: pointer, x: -1})
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
	if err := xtest.Init(s.conn); err != nil {
		t.Fatal(err)
	}
	s.listenFor(xproto.EventMaskButtonPress | xproto.EventMaskKeyPress)
	defer s.listenFor(0)
	h := s.hand()
	const key, rounds = 38, 500
	for i := range uint32(rounds) {
		h.send(record{kind: motion, device: pointer, x: float64(i), y: 3}, record{kind: scroll, device: pointer, y: 1}, record{kind: sync, time: i})
		h.answered(i)
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
func (h hand) answered(want uint32) {
	h.t.Helper()
	if err := unix.SetsockoptTimeval(h.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience.Seconds())}); err != nil {
		h.t.Fatal(err)
	}
	b := make([]byte, 16)
	n, err := unix.Read(h.fd, b)
	if err != nil || n != 4 || binary.LittleEndian.Uint32(b) != want {
		h.t.Fatalf("the answer to sync %d is %x (%v)", want, b[:max(n, 0)], err)
	}
}

func nonsenseIsDroppedAndTheServerGoesOn(t *testing.T, s *server) {
	h := s.hand()
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
		if err := unix.Send(h.fd, packet, unix.MSG_NOSIGNAL); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Shutdown(h.fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	again := s.hand()
	again.send(record{kind: motion, device: pointer, x: 77, y: 66})
	s.at(77, 66, 0)
}

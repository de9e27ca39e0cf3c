package xclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"sync/atomic"

	"github.com/jezek/xgb/xproto"
)

// Requests and events of XInput 2 (XI2proto.txt); xgb knows none of them.
const (
	xiSelectEvents = 46
	xiQueryVersion = 47
	xiQueryDevice  = 48

	allMasterDevices = 1
	buttonClass      = 1
	valuatorClass    = 2
	genericEvent     = 35
)

// Kinds of Input.
const (
	InputPress   = 4
	InputRelease = 5
	InputMotion  = 6
)

// Axis is one valuator of an input device.
type Axis struct{ Low, High, Value float64 }

// Device is an input device of the X server.
type Device struct {
	Name string
	Axes []Axis
	Held []int // buttons that are down
}

// Input is what the X server tells an application of a pointing device, by XInput 2.
type Input struct {
	Kind   int
	Device string // that it comes from
	Button int
	Axes   map[int]float64 // that the event tells of, by their number
}

// xinput calls a request of XInput 2, and has its extension's number ready for it.
func (s *Screen) xinput(minor byte, reply bool, body ...byte) ([]byte, error) {
	const name = "XInputExtension"
	e, err := xproto.QueryExtension(s.conn, uint16(len(name)), name).Reply()
	if err != nil || !e.Present {
		return nil, fmt.Errorf("look for %s: present %v, %w", name, e != nil && e.Present, err)
	}
	request := make([]byte, 4, 4+len(body))
	request[0], request[1] = e.MajorOpcode, minor
	binary.LittleEndian.PutUint16(request[2:], uint16(4+len(body))/4)
	cookie := s.conn.NewCookie(true, reply)
	s.conn.NewRequest(append(request, body...), cookie)
	if !reply {
		return nil, cookie.Check()
	}
	return cookie.Reply()
}

// Devices asks for the input devices and what their axes are at, by their number.
func (s *Screen) Devices() (map[int]Device, error) {
	if _, err := s.xinput(xiQueryVersion, true, 2, 0, 2, 0); err != nil {
		return nil, fmt.Errorf("ask for XInput 2: %w", err)
	}
	reply, err := s.xinput(xiQueryDevice, true, 0, 0, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("ask for the input devices: %w", err)
	}
	le := binary.LittleEndian
	found, at := map[int]Device{}, 32
	for range le.Uint16(reply[8:]) {
		id, classes, nameLength := int(le.Uint16(reply[at:])), le.Uint16(reply[at+6:]), int(le.Uint16(reply[at+8:]))
		at += 12
		d := Device{Name: string(reply[at : at+nameLength])}
		at += (nameLength + 3) &^ 3
		for range classes {
			class := reply[at:]
			switch le.Uint16(class) {
			case valuatorClass:
				d.Axes = append(d.Axes, Axis{fp3232(class[12:]), fp3232(class[20:]), fp3232(class[28:])})
			case buttonClass:
				for b := range int(le.Uint16(class[6:])) {
					if class[8+b/8]>>(b%8)&1 == 1 {
						d.Held = append(d.Held, b)
					}
				}
			}
			at += 4 * int(le.Uint16(class[2:]))
		}
		found[id] = d
	}
	return found, nil
}

// Inputs covers the screen with a window and hands over what the X server tells it of pointing devices, until ctx ends.
func (s *Screen) Inputs(ctx context.Context, ready func(), each func(Input)) error {
	devices, err := s.Devices()
	if err != nil {
		return err
	}
	w, err := s.coverAll(0)
	if err != nil {
		return fmt.Errorf("input window: %w", err)
	}
	defer w.close()
	take := func(b []byte) {
		if in, ok := parseInput(b, devices); ok {
			each(in)
		}
	}
	s.generic.each.Store(&take)
	defer s.generic.each.Store(nil)
	body := binary.LittleEndian.AppendUint32(nil, uint32(w.id))
	body = append(body, 1, 0, 0, 0, allMasterDevices, 0, 1, 0, 1<<InputPress|1<<InputRelease|1<<InputMotion, 0, 0, 0)
	if _, err := s.xinput(xiSelectEvents, false, body...); err != nil {
		return fmt.Errorf("ask for XInput 2's events: %w", err)
	}
	ready()
	<-ctx.Done()
	return nil
}

// parseInput reads an xXIDeviceEvent.
func parseInput(b []byte, devices map[int]Device) (Input, bool) {
	const fixed = 80
	le := binary.LittleEndian
	if len(b) < fixed {
		return Input{}, false
	}
	in := Input{Kind: int(le.Uint16(b[8:])), Device: devices[int(le.Uint16(b[52:]))].Name, Axes: map[int]float64{}}
	if in.Kind < InputPress || in.Kind > InputMotion {
		return Input{}, false
	}
	if in.Kind != InputMotion {
		in.Button = int(le.Uint32(b[16:]))
	}
	buttons, words := int(le.Uint16(b[48:])), int(le.Uint16(b[50:]))
	mask := b[fixed+4*buttons:]
	values := mask[4*words:]
	for axis := range 32 * words {
		if mask[axis/8]>>(axis%8)&1 == 1 && len(values) >= 8 {
			in.Axes[axis] = fp3232(values)
			values = values[8:]
		}
	}
	return in, true
}

// fp3232 is XInput's number of 32 bits before the point and 32 behind.
func fp3232(b []byte) float64 {
	return float64(int32(binary.LittleEndian.Uint32(b))) + float64(binary.LittleEndian.Uint32(b[4:]))/math.Exp2(32)
}

// genericConn takes the events of XInput 2 out of what the server says, and hands them over: xgb reads 32 bytes of an event, and these are longer.
type genericConn struct {
	net.Conn
	r     *bufio.Reader
	setUp bool
	left  int // bytes of the present packet that xgb has not had
	each  atomic.Pointer[func([]byte)]
}

func (c *genericConn) Read(b []byte) (int, error) {
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// next looks how long the next packet is.
func (c *genericConn) next() error {
	le := binary.LittleEndian
	if !c.setUp {
		head, err := c.r.Peek(8)
		if err != nil {
			return err
		}
		c.setUp, c.left = true, 8+4*int(le.Uint16(head[6:]))
		return nil
	}
	head, err := c.r.Peek(32)
	if err != nil {
		return err
	}
	const reply = 1
	size := 32
	if head[0] == reply || head[0]&127 == genericEvent {
		size += 4 * int(le.Uint32(head[4:]))
	}
	if head[0]&127 != genericEvent {
		c.left = size
		return nil
	}
	event := make([]byte, size)
	if _, err := io.ReadFull(c.r, event); err != nil {
		return err
	}
	if each := c.each.Load(); each != nil {
		(*each)(event)
	}
	return nil
}

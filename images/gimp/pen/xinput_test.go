package pen

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// axis is one valuator of an X input device.
type axis struct{ low, high, value float64 }

// xinput asks X what it knows of input devices (XI2proto.txt): its Go binding knows no XInput 2.
type xinput struct {
	conn   *xgb.Conn
	opcode byte
}

func openXInput(t *testing.T, conn *xgb.Conn) xinput {
	t.Helper()
	const name = "XInputExtension"
	e, err := xproto.QueryExtension(conn, uint16(len(name)), name).Reply()
	if err != nil || !e.Present {
		t.Fatalf("no %s: %v", name, err)
	}
	x := xinput{conn, e.MajorOpcode}
	x.call(t, 47, 2, 0, 2, 0) // XIQueryVersion: 2.2
	return x
}

func (x xinput) call(t *testing.T, minor byte, body ...byte) []byte {
	t.Helper()
	request := make([]byte, 4, 4+len(body))
	request[0], request[1] = x.opcode, minor
	binary.LittleEndian.PutUint16(request[2:], uint16(4+len(body))/4)
	cookie := x.conn.NewCookie(true, true)
	x.conn.NewRequest(append(request, body...), cookie)
	reply, err := cookie.Reply()
	if err != nil {
		t.Fatalf("XInput request %d: %v", minor, err)
	}
	return reply
}

// devices are the axes of every device, by the device's name (XIQueryDevice).
func (x xinput) devices(t *testing.T) map[string][]axis {
	t.Helper()
	reply := x.call(t, 48, 0, 0, 0, 0)
	count, at := binary.LittleEndian.Uint16(reply[8:]), 32
	found := map[string][]axis{}
	for range count {
		classes, nameLength := int(binary.LittleEndian.Uint16(reply[at+6:])), int(binary.LittleEndian.Uint16(reply[at+8:]))
		at += 12
		name := string(reply[at : at+nameLength])
		at += (nameLength + 3) &^ 3
		found[name] = nil
		for range classes {
			class := reply[at:]
			if kind := binary.LittleEndian.Uint16(class); kind == 2 { // XIValuatorClass
				found[name] = append(found[name], axis{fp3232(class[12:]), fp3232(class[20:]), fp3232(class[28:])})
			}
			at += 4 * int(binary.LittleEndian.Uint16(class[2:]))
		}
	}
	return found
}

// fp3232 is XInput's number of 32 bits before the point and 32 behind.
func fp3232(b []byte) float64 {
	return float64(int32(binary.LittleEndian.Uint32(b))) + float64(binary.LittleEndian.Uint32(b[4:]))/math.Exp2(32)
}

func (a axis) String() string { return fmt.Sprintf("%g in %g…%g", a.value, a.low, a.high) }

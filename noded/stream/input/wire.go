// Package input puts what a viewer's hand does into the session: pointers by the pen driver, keys by X. ARCHITECTURE.md, "Data channels", is the
// contract with the browser.
package input

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"

	"easel/pkg/display"
)

// Kinds of binary message that a viewer sends (ARCHITECTURE.md, "Data channels").
const (
	kindPointer   = 1
	kindButton    = 2
	kindWheel     = 3
	kindKey       = 4
	kindText      = 5
	kindRelease   = 6
	kindProximity = 7
	kindStroke    = 8
)

// kindAck is the kind of message that tells the viewer how far its stroke has come, on the motion channel.
const kindAck = 32

// Devices as the browser names them.
const (
	deviceMouse  = 0
	devicePen    = 1
	deviceEraser = 2
	deviceTouch  = 3
)

const (
	sampleBytes = 22
	maxSamples  = 512
	maxText     = 4096
	maxTurns    = 64
	// MaxMessage is the longest message that any kind may be, in bytes.
	MaxMessage = 14 + maxSamples*sampleBytes
)

// Sample is one place and moment of a pointer. X and Y are 1/256 remote pixels, tilt and twist 1/100 degree, Time 1/10 ms.
type Sample struct {
	X, Y         int32
	Pressure     uint16
	TiltX, TiltY int16
	Twist        uint16
	Buttons      uint16
	Time         uint32
}

// Message is one message of the input or motion channel, whichever fields its kind has.
type Message struct {
	Kind    uint8
	Device  uint8
	Button  uint8
	Down    bool   // BUTTON, KEY; for PROXIMITY: in
	RSeq    uint32 // 0 in POINTER
	Barrier uint32 // POINTER: apply after the reliable message of this number
	First   uint32
	Samples []Sample
	X, Y    int32
	DX, DY  int32
	Again   uint8 // WHEEL: turns after the first one
	Sym     uint32
	Code    uint16
	Text    string
	came    time.Time
}

// Parse reads one message of the input (reliable) or the motion channel. Lengths must be exact.
func Parse(b []byte, reliable bool) (Message, error) {
	if len(b) == 0 {
		return Message{}, fmt.Errorf("read an input message: it is empty")
	}
	if (b[0] != kindPointer) != reliable {
		return Message{}, fmt.Errorf("read an input message: kind %d does not belong on this channel", b[0])
	}
	parse, ok := parsers[b[0]]
	if !ok {
		return Message{}, fmt.Errorf("read an input message: kind %d is unknown", b[0])
	}
	if len(b) < parse.least || len(b) > MaxMessage {
		return Message{}, fmt.Errorf("read an input message of kind %d: %d bytes, want %d or more", b[0], len(b), parse.least)
	}
	m := Message{Kind: b[0]}
	if err := parse.read(&m, b); err != nil {
		return Message{}, fmt.Errorf("read an input message of kind %d: %w", b[0], err)
	}
	return m, nil
}

// key is the key that a KEY is about.
func (m Message) key() display.Key { return display.Key{Sym: display.Keysym(m.Sym), Code: m.Code} }

type parser struct {
	least int
	read  func(m *Message, b []byte) error
}

var parsers = map[uint8]parser{
	kindPointer: {12, func(m *Message, b []byte) (err error) {
		m.Device = b[1]
		m.Barrier, m.First = le32(b, 4), le32(b, 8)
		m.Samples, err = parseSamples(b[12:], le16(b, 2), m.First)
		return or(err, checkDevice(m.Device))
	}},
	kindButton: {14, func(m *Message, b []byte) (err error) {
		m.Device, m.Button, m.Down = b[1], b[2], b[3] != 0
		m.RSeq, m.First = le32(b, 4), le32(b, 10)
		switch m.Button {
		case 1, 2, 3, 8, 9:
		default:
			return fmt.Errorf("there is no button %d", m.Button)
		}
		m.Samples, err = parseSamples(b[14:], le16(b, 8), m.First)
		return or(err, checkDevice(m.Device))
	}},
	kindWheel: {24, func(m *Message, b []byte) error {
		m.RSeq = le32(b, 4)
		m.X, m.Y, m.DX, m.DY = int32(le32(b, 8)), int32(le32(b, 12)), int32(le32(b, 16)), int32(le32(b, 20))
		if m.Again = b[1]; m.Again >= maxTurns {
			return fmt.Errorf("%d turns, want at most %d", int(m.Again)+1, maxTurns)
		}
		return exactly(b, 24)
	}},
	kindKey: {14, func(m *Message, b []byte) error {
		m.Down = b[1] != 0
		m.RSeq, m.Sym, m.Code = le32(b, 4), le32(b, 8), le16(b, 12)
		return exactly(b, 14)
	}},
	kindText: {8, func(m *Message, b []byte) error {
		m.RSeq = le32(b, 4)
		if len(b) > 8+maxText || !utf8.Valid(b[8:]) {
			return fmt.Errorf("%d bytes of text, want UTF-8 of at most %d", len(b)-8, maxText)
		}
		m.Text = string(b[8:])
		return nil
	}},
	kindRelease: {8, func(m *Message, b []byte) error {
		m.RSeq = le32(b, 4)
		return exactly(b, 8)
	}},
	kindProximity: {8, func(m *Message, b []byte) error {
		m.Device, m.Down = b[1], b[2] != 0
		m.RSeq = le32(b, 4)
		return or(exactly(b, 8), checkDevice(m.Device))
	}},
	kindStroke: {12, func(m *Message, b []byte) (err error) {
		m.Device = b[1]
		m.RSeq, m.First = le32(b, 4), le32(b, 8)
		m.Samples, err = parseSamples(b[12:], le16(b, 2), m.First)
		return or(err, checkDevice(m.Device))
	}},
}

func parseSamples(b []byte, count uint16, first uint32) ([]Sample, error) {
	n := int(count)
	switch {
	case n == 0 || n > maxSamples:
		return nil, fmt.Errorf("%d samples, want 1 to %d", n, maxSamples)
	case len(b) != n*sampleBytes:
		return nil, fmt.Errorf("%d bytes for %d samples", len(b), n)
	case first == 0:
		return nil, fmt.Errorf("samples are numbered from 1")
	}
	out := make([]Sample, n)
	for i := range out {
		s := b[i*sampleBytes:]
		out[i] = Sample{
			X: int32(le32(s, 0)), Y: int32(le32(s, 4)), Pressure: le16(s, 8), TiltX: int16(le16(s, 10)), TiltY: int16(le16(s, 12)),
			Twist: le16(s, 14), Buttons: le16(s, 16), Time: le32(s, 18),
		}
	}
	return out, nil
}

// ack says up to which sample all has been applied, and where what is there goes on behind a gap; 0 if there is none.
func ack(b []byte, applied, next uint32) []byte {
	b = append(b, kindAck, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, applied), next)
}

func checkDevice(d uint8) error {
	if d > deviceTouch {
		return fmt.Errorf("there is no device %d", d)
	}
	return nil
}

func exactly(b []byte, n int) error {
	if len(b) != n {
		return fmt.Errorf("%d bytes, want %d", len(b), n)
	}
	return nil
}

func or(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

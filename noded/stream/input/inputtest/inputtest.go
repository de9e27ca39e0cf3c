// Package inputtest is what lies on both sides of input, for tests: it writes messages as the browser does, and reads records as the pen driver does.
package inputtest

import "encoding/binary"

// Kinds of message that are written here, and the browser's devices.
const (
	pointer   = 1
	button    = 2
	proximity = 7

	Mouse = 0
	Pen   = 1
)

// Sample is one place and moment of a pointer, in the units of the wire.
type Sample struct {
	X, Y         int32
	Pressure     uint16
	TiltX, TiltY int16
	Twist        uint16
	Buttons      uint16
	Time         uint32
}

// Pointer is a POINTER message.
func Pointer(device uint8, barrier, first uint32, samples ...Sample) []byte {
	b := []byte{pointer, device}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(samples)))
	b = binary.LittleEndian.AppendUint32(b, barrier)
	b = binary.LittleEndian.AppendUint32(b, first)
	return appendSamples(b, samples)
}

// Button is a BUTTON message.
func Button(device, number uint8, down bool, rseq, first uint32, samples ...Sample) []byte {
	b := []byte{button, device, number, 0}
	if down {
		b[3] = 1
	}
	b = binary.LittleEndian.AppendUint32(b, rseq)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(samples)))
	b = binary.LittleEndian.AppendUint32(b, first)
	return appendSamples(b, samples)
}

// Proximity is a PROXIMITY message.
func Proximity(device uint8, in bool, rseq uint32) []byte {
	b := []byte{proximity, device, 0, 0}
	if in {
		b[2] = 1
	}
	return binary.LittleEndian.AppendUint32(b, rseq)
}

func appendSamples(b []byte, samples []Sample) []byte {
	le := binary.LittleEndian
	for _, s := range samples {
		b = le.AppendUint32(b, uint32(s.X))
		b = le.AppendUint32(b, uint32(s.Y))
		b = le.AppendUint16(b, s.Pressure)
		b = le.AppendUint16(b, uint16(s.TiltX))
		b = le.AppendUint16(b, uint16(s.TiltY))
		b = le.AppendUint16(b, s.Twist)
		b = le.AppendUint16(b, s.Buttons)
		b = le.AppendUint32(b, s.Time)
	}
	return b
}

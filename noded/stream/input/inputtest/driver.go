package inputtest

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// Kinds of record, and the devices that the driver knows.
const (
	Motion  = 0
	Press   = 1
	Release = 2
	In      = 3
	Out     = 4
	sync    = 6

	ToPen = 1
)

const recordBytes = 24

// Record is what the pen driver is asked to post to X.
type Record struct {
	Kind, Device, Button uint8
	X, Y                 int32
	Pressure             uint16
	TiltX, TiltY         int16
	Twist                uint16
	TimeMS               uint32
}

// Driver stands in for the pen driver.
type Driver struct{ Records chan Record }

// Listen is a driver whose socket lies in dir.
func Listen(t testing.TB, dir string) *Driver {
	t.Helper()
	l, err := net.Listen("unixpacket", filepath.Join(dir, "pen.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d := &Driver{Records: make(chan Record, 4096)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.read(c)
		}
	}()
	return d
}

func (d *Driver) read(c net.Conn) {
	defer c.Close()
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil || n%recordBytes != 0 {
			return
		}
		for r := b[:n]; len(r) > 0; r = r[recordBytes:] {
			if r[0] == sync {
				_, _ = c.Write(r[20:24])
				continue
			}
			le := binary.LittleEndian
			d.Records <- Record{
				Kind: r[0], Device: r[1], Button: r[2], X: int32(le.Uint32(r[4:])), Y: int32(le.Uint32(r[8:])), Pressure: le.Uint16(r[12:]),
				TiltX: int16(le.Uint16(r[14:])), TiltY: int16(le.Uint16(r[16:])), Twist: le.Uint16(r[18:]), TimeMS: le.Uint32(r[20:]),
			}
		}
	}
}

// Next returns the next record, or fails after a while.
func (d *Driver) Next(t testing.TB) Record {
	t.Helper()
	select {
	case r := <-d.Records:
		return r
	case <-time.After(30 * time.Second):
		t.Fatal("the pen driver got no record in 30 s")
		return Record{}
	}
}

package input

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Kinds of record that the pen driver takes (ARCHITECTURE.md, "The pen driver ↔ streamer").
const (
	recordMotion  = 0
	recordPress   = 1
	recordRelease = 2
	recordIn      = 3
	recordOut     = 4
	recordScroll  = 5
	recordSync    = 6
)

// Devices as the pen driver names them.
const (
	toPointer = 0
	toPen     = 1
	toEraser  = 2
)

const (
	recordBytes = 24
	maxRecords  = 64
	// writeTime bounds one write: the driver reads as fast as the X server takes events.
	writeTime = 500 * time.Millisecond
	// retryAfter is how long the driver is left alone after it could not be reached.
	retryAfter = 250 * time.Millisecond
	// settleTime is how long the driver may take to say what it has queued.
	settleTime = 200 * time.Millisecond
)

// record is what the driver posts to X at once.
type record struct {
	Kind, Device, Button uint8
	X, Y                 int32 // 1/256 px; for scroll 1/256 of 1/120 notch
	Pressure             uint16
	TiltX, TiltY         int16 // 1/100 °
	Twist                uint16
	TimeMS               uint32
}

func (r record) append(b []byte) []byte {
	b = append(b, r.Kind, r.Device, r.Button, 0)
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(r.X))
	b = le.AppendUint32(b, uint32(r.Y))
	b = le.AppendUint16(b, r.Pressure)
	b = le.AppendUint16(b, uint16(r.TiltX))
	b = le.AppendUint16(b, uint16(r.TiltY))
	b = le.AppendUint16(b, r.Twist)
	return le.AppendUint32(b, r.TimeMS)
}

// Driver is the connection to the pen driver, which is made when there is something to say. The driver takes one at a time, and lets go of all
// that was held by another: so all hands share it. It is safe for several goroutines.
type Driver struct {
	dial func(ctx context.Context) (net.Conn, error)
	log  *slog.Logger

	mu    sync.Mutex
	conn  net.Conn
	retry time.Time
	syncs uint32 // asked of the driver so far
}

// NewDriver makes a driver that is reached by dial.
func NewDriver(dial func(ctx context.Context) (net.Conn, error), log *slog.Logger) *Driver {
	return &Driver{dial: dial, log: log}
}

// send writes a packet. What can't be sent is dropped: late input is worse than none.
func (p *Driver) send(packet []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connect() || p.write(packet) == nil {
		return
	}
	// The X server may have been started anew since the last write: one more try on a new connection.
	p.drop()
	p.retry = time.Time{}
	if !p.connect() {
		return
	}
	if err := p.write(packet); err != nil {
		p.log.Warn("input not delivered", "err", fmt.Errorf("write to the pen driver: %w", err))
		p.drop()
	}
}

// settle waits until the driver has queued what it was sent. A driver that does not say so holds nothing up for long.
func (p *Driver) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == nil {
		return
	}
	p.syncs++
	if err := p.write(record{Kind: recordSync, TimeMS: p.syncs}.append(nil)); err != nil {
		return // the next packet finds out what it means
	}
	if err := p.answer(p.syncs); err != nil {
		p.log.Debug("pointer and keys may be out of order", "err", err)
	}
}

// answer reads until the driver has answered a sync; it may have been late with those before.
func (p *Driver) answer(want uint32) error {
	if err := p.conn.SetReadDeadline(time.Now().Add(settleTime)); err != nil {
		return err
	}
	var b [4]byte
	for {
		n, err := p.conn.Read(b[:])
		if err != nil {
			return fmt.Errorf("wait for the pen driver: %w", err)
		}
		if n == len(b) && binary.LittleEndian.Uint32(b[:]) == want {
			return nil
		}
	}
}

func (p *Driver) write(packet []byte) error {
	if err := p.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := p.conn.Write(packet)
	return err
}

func (p *Driver) connect() bool {
	if p.conn != nil {
		return true
	}
	if time.Now().Before(p.retry) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	conn, err := p.dial(ctx)
	if err != nil {
		p.retry = time.Now().Add(retryAfter)
		p.log.Debug("pen driver not reached", "err", err)
		return false
	}
	p.conn = conn
	return true
}

// Close ends the connection; the driver lets go of what is still held.
func (p *Driver) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
}

func (p *Driver) drop() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

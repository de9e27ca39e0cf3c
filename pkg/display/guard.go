package display

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// Bounds of what an X server may say. The largest honest reply is a cursor's image or the keyboard's mapping.
const (
	maxReply  = 1 << 20
	headBytes = 32
	setupHead = 8
)

// X message types that frame differently from plain events (X Window System Protocol, appendix B).
const (
	typeReply        = 1
	typeGenericEvent = 35
	sentEventBit     = 0x80
)

var errHostile = errors.New("the X server broke the protocol")

// guard stands between the X library and a server that may be hostile. It sends our own cookie at set-up (the library would
// look for one in files), refuses replies longer than maxReply before memory is taken for them, and drops events
// that we can't have asked for.
type guard struct {
	net.Conn
	r      *bufio.Reader
	cookie []byte
	// open lets events and errors through; before the extensions are known the library's tables of them are still being written.
	open atomic.Bool

	greeted bool // our set-up request is sent
	setup   bool // the server's set-up reply has been framed
	left    int  // bytes of the present message still to hand over from r
	head    []byte
	buf     [headBytes]byte
}

func newGuard(c net.Conn, cookie []byte) *guard {
	return &guard{Conn: c, r: bufio.NewReaderSize(c, 16<<10), cookie: cookie}
}

// Write replaces the library's first request, the connection set-up, by one that carries our cookie.
func (g *guard) Write(b []byte) (int, error) {
	if g.greeted {
		return g.Conn.Write(b)
	}
	g.greeted = true
	if _, err := g.Conn.Write(setupRequest(g.cookie)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// setupRequest is the little-endian connection set-up of X11 with MIT-MAGIC-COOKIE-1.
func setupRequest(cookie []byte) []byte {
	const name = "MIT-MAGIC-COOKIE-1"
	pad := func(n int) int { return (n + 3) &^ 3 }
	b := make([]byte, 12+pad(len(name))+pad(len(cookie)))
	b[0] = 'l'
	binary.LittleEndian.PutUint16(b[2:], 11)
	binary.LittleEndian.PutUint16(b[6:], uint16(len(name)))
	binary.LittleEndian.PutUint16(b[8:], uint16(len(cookie)))
	copy(b[12:], name)
	copy(b[12+pad(len(name)):], cookie)
	return b
}

// Read hands over whole, checked messages.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.head) == 0 && g.left == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	n, err := g.r.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// next frames the next message that may pass.
func (g *guard) next() error {
	if !g.setup {
		return g.nextSetup()
	}
	if _, err := io.ReadFull(g.r, g.buf[:]); err != nil {
		return err
	}
	extra := int64(binary.LittleEndian.Uint32(g.buf[4:])) * 4
	switch kind := g.buf[0]; {
	case kind == typeReply:
		if extra > maxReply {
			return fmt.Errorf("%w: a reply of %d bytes", errHostile, extra)
		}
		g.left = int(extra)
	case kind&^sentEventBit == typeGenericEvent: // we select none
		if extra > maxReply {
			return fmt.Errorf("%w: an event of %d bytes", errHostile, extra)
		}
		_, err := g.r.Discard(int(extra))
		return err
	case !g.open.Load():
		return nil
	}
	g.head = g.buf[:]
	return nil
}

func (g *guard) nextSetup() error {
	if _, err := io.ReadFull(g.r, g.buf[:setupHead]); err != nil {
		return err
	}
	words := int(binary.LittleEndian.Uint16(g.buf[6:]))
	// The library reads the resource IDs (bytes 12 to 20) without asking, and a refusal's reason by its stated length.
	if accepted := g.buf[0] == 1; (accepted && words < 8) || (!accepted && int(g.buf[1]) > words*4) {
		return fmt.Errorf("%w: a set-up reply of %d bytes", errHostile, words*4)
	}
	g.left = words * 4
	g.head = g.buf[:setupHead]
	g.setup = true
	return nil
}

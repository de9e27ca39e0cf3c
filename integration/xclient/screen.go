// Package xclient draws known pictures on a remote screen and reads it back, so that a test or a benchmark can tell
// in the browser which drawing is shown and how old it is, and on the X server what an input really did.
package xclient

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io"
	"net"
	"os"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// handshakeLimit bounds the connection set-up with a server that accepts but never answers.
const handshakeLimit = 10 * time.Second

// Screen is a connection to the first screen of an X server.
type Screen struct {
	conn    *xgb.Conn
	generic *genericConn
	info    *xproto.ScreenInfo
	setup   *xproto.SetupInfo
}

// Open connects to the X server on a unix socket. cookieFile is an Xauthority file whose first entry is used; "" means
// no authority.
func Open(ctx context.Context, socket, cookieFile string) (*Screen, error) {
	var cookie []byte
	if cookieFile != "" {
		var err error
		if cookie, err = readCookie(cookieFile); err != nil {
			return nil, fmt.Errorf("read X cookie %s: %w", cookieFile, err)
		}
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to X server: %w", err)
	}
	deadline := time.Now().Add(handshakeLimit)
	if t, ok := ctx.Deadline(); ok && t.Before(deadline) {
		deadline = t
	}
	_ = raw.SetDeadline(deadline)
	// xgb complains of an authority file that it looks for by itself; the cookie comes from us.
	xgb.Logger.SetOutput(io.Discard)
	generic := &genericConn{Conn: raw, r: bufio.NewReader(raw)}
	conn, err := xgb.NewConnNet(&cookieConn{Conn: generic, cookie: cookie})
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("handshake on %s: %w", socket, err)
	}
	_ = raw.SetDeadline(time.Time{})
	setup := xproto.Setup(conn)
	return &Screen{conn: conn, generic: generic, info: setup.DefaultScreen(conn), setup: setup}, nil
}

// Close ends the connection; the server removes what this client made.
func (s *Screen) Close() { s.conn.Close() }

// Conn is the connection itself, for a test that needs a request this package does not have.
func (s *Screen) Conn() *xgb.Conn { return s.conn }

// Root is the root window of the screen.
func (s *Screen) Root() xproto.Window { return s.info.Root }

// Size asks the server for the present size of the screen in pixels; it changes with RandR.
func (s *Screen) Size() (image.Point, error) {
	g, err := xproto.GetGeometry(s.conn, xproto.Drawable(s.info.Root)).Reply()
	if err != nil {
		return image.Point{}, fmt.Errorf("ask size of the screen: %w", err)
	}
	return image.Pt(int(g.Width), int(g.Height)), nil
}

// Pointer asks where the pointer is.
func (s *Screen) Pointer() (image.Point, error) {
	p, err := xproto.QueryPointer(s.conn, s.info.Root).Reply()
	if err != nil {
		return image.Point{}, fmt.Errorf("ask for the pointer: %w", err)
	}
	return image.Pt(int(p.RootX), int(p.RootY)), nil
}

// Grab reads a rectangle of the screen, as its server shows it.
func (s *Screen) Grab(r image.Rectangle) (*image.RGBA, error) {
	if s.info.RootDepth != 24 && s.info.RootDepth != 32 {
		return nil, fmt.Errorf("grab: screen depth %d is not 24", s.info.RootDepth)
	}
	rep, err := xproto.GetImage(s.conn, xproto.ImageFormatZPixmap, xproto.Drawable(s.info.Root),
		int16(r.Min.X), int16(r.Min.Y), uint16(r.Dx()), uint16(r.Dy()), 0xffffffff).Reply()
	if err != nil {
		return nil, fmt.Errorf("grab %v of the screen: %w", r, err)
	}
	if len(rep.Data) < r.Dx()*r.Dy()*4 {
		return nil, fmt.Errorf("grab %v: %d bytes came, want %d", r, len(rep.Data), r.Dx()*r.Dy()*4)
	}
	out := image.NewRGBA(r)
	for i := 0; i < r.Dx()*r.Dy()*4; i += 4 {
		out.Pix[i], out.Pix[i+1], out.Pix[i+2], out.Pix[i+3] = rep.Data[i+2], rep.Data[i+1], rep.Data[i], 0xff
	}
	return out, nil
}

// sync waits until the server has done everything asked so far.
func (s *Screen) sync() error {
	if _, err := xproto.GetInputFocus(s.conn).Reply(); err != nil {
		return fmt.Errorf("wait for X server: %w", err)
	}
	return nil
}

// cookieConn gives xgb's set-up request our cookie: xgb itself finds one only through the environment and only for a
// display name that a bare connection does not have.
type cookieConn struct {
	net.Conn
	cookie []byte
	sent   bool
}

const cookieName = "MIT-MAGIC-COOKIE-1"

func (c *cookieConn) Write(b []byte) (int, error) {
	if c.sent {
		return c.Conn.Write(b)
	}
	c.sent = true
	if len(b) < 12 || b[0] != 0x6c {
		return 0, errors.New("first X request is not a set-up request")
	}
	name := cookieName
	if len(c.cookie) == 0 {
		name = ""
	}
	req := make([]byte, 12+xgb.Pad(len(name))+xgb.Pad(len(c.cookie)))
	req[0] = 0x6c // little endian
	binary.LittleEndian.PutUint16(req[2:], 11)
	binary.LittleEndian.PutUint16(req[6:], uint16(len(name)))
	binary.LittleEndian.PutUint16(req[8:], uint16(len(c.cookie)))
	copy(req[12:], name)
	copy(req[12+xgb.Pad(len(name)):], c.cookie)
	if _, err := c.Conn.Write(req); err != nil {
		return 0, err
	}
	return len(b), nil
}

// readCookie returns the data of the first MIT-MAGIC-COOKIE-1 entry of an Xauthority file (Xauth.h: big-endian family,
// then counted address, display number, name and data).
func readCookie(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseCookie(b)
}

func parseCookie(b []byte) ([]byte, error) {
	counted := func() ([]byte, bool) {
		if len(b) < 2 {
			return nil, false
		}
		n := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+n {
			return nil, false
		}
		v := b[2 : 2+n]
		b = b[2+n:]
		return v, true
	}
	for len(b) >= 2 {
		b = b[2:] // family
		var field [4][]byte
		for i := range field {
			v, ok := counted()
			if !ok {
				return nil, errors.New("entry is cut short")
			}
			field[i] = v
		}
		if string(field[2]) == cookieName && len(field[3]) == 16 {
			return field[3], nil
		}
	}
	return nil, errors.New("no " + cookieName + " entry")
}

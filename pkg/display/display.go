// Package display speaks X11 with a session's X server, which may be hostile: damage and frames through shared memory,
// the cursor, the screen's size, and keys. Every length is checked, every wait has a deadline.
package display

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/damage"
	"github.com/jezek/xgb/randr"
	"github.com/jezek/xgb/shm"
	"github.com/jezek/xgb/xfixes"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"
)

// replyTimeout is how long the X server may think about one request.
const replyTimeout = 5 * time.Second

// Bounds of a screen, in pixels a side; what lies outside them is refused.
const (
	MinSide = 64
	MaxSide = 8192
	// MaxPixels bounds the area: each pixel takes memory several times over.
	MaxPixels = 8192 * 4320
)

// ErrUnresponsive means that the X server stopped answering. The connection can't be given up cleanly then: the process that
// sees it should end and be started anew.
var ErrUnresponsive = errors.New("the X server does not answer")

// ErrClosed means that the X server has gone or closed the connection.
var ErrClosed = errors.New("the X server closed the connection")

// Config says which server to connect to.
type Config struct {
	// Dial connects to the server's socket.
	Dial func(ctx context.Context) (net.Conn, error)
	// Cookie is the MIT-MAGIC-COOKIE-1, 16 bytes.
	Cookie []byte
	Log    *slog.Logger
}

// Display is a connection to one X server's first screen. Frames are for one goroutine each; the rest is safe for several.
type Display struct {
	xc      *xgb.Conn
	root    xproto.Window
	outputs [Outputs]*Output
	log     *slog.Logger

	cursorWake  chan struct{}
	screenWake  chan struct{}
	keymapStale atomic.Bool

	dead atomic.Bool // the server did not answer in time
	done chan struct{}
	mu   sync.Mutex // one arrangement at a time
}

// quietLibrary keeps the X library from writing to stderr as often as a hostile server likes.
var quietLibrary = sync.OnceFunc(func() { xgb.Logger = log.New(io.Discard, "", 0) })

// Open connects to an X server and asks for damage and cursor changes.
func Open(ctx context.Context, c Config) (*Display, error) {
	quietLibrary()
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the X server: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	g := newGuard(conn, c.Cookie)
	xc, err := connect(g)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to the X server: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	d := &Display{xc: xc, log: c.Log, cursorWake: make(chan struct{}, 1), screenWake: make(chan struct{}, 1), done: make(chan struct{})}
	for i := range d.outputs {
		d.outputs[i] = newOutput(d)
	}
	go d.events()
	if err := d.prepare(g); err != nil {
		_ = conn.Close()
		d.Close() // the library's tables are written at the next Open: who reads them must have ended
		return nil, err
	}
	return d, nil
}

// connect does the set-up. The library reads the server's words without checking them all, so a panic is contained.
func connect(g *guard) (xc *xgb.Conn, err error) {
	defer recovered(&err)
	return xgb.NewConnNet(g)
}

func (d *Display) prepare(g *guard) error {
	err := d.call("read the screen's set-up", func() error {
		s := xproto.Setup(d.xc)
		if len(s.Roots) == 0 {
			return fmt.Errorf("%w: it has no screen", errHostile)
		}
		d.root = s.Roots[0].Root
		if depth := s.Roots[0].RootDepth; depth != 24 {
			return fmt.Errorf("the screen's depth is %d, want 24", depth)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, begin := range map[string]func(*xgb.Conn) error{
		"MIT-SHM": shm.Init, "DAMAGE": damage.Init, "XTEST": xtest.Init, "XFIXES": xfixes.Init, "RANDR": randr.Init,
	} {
		if err := d.call("use the X extension "+name, func() error { return begin(d.xc) }); err != nil {
			return err
		}
	}
	g.open.Store(true)
	if err := d.call("ask for damage and cursor events", d.subscribe); err != nil {
		return err
	}
	return d.Refresh()
}

func (d *Display) subscribe() error {
	if _, err := damage.QueryVersion(d.xc, 1, 1).Reply(); err != nil {
		return err
	}
	if _, err := xfixes.QueryVersion(d.xc, 5, 0).Reply(); err != nil {
		return err
	}
	if _, err := randr.QueryVersion(d.xc, 1, 3).Reply(); err != nil {
		return err
	}
	id, err := damage.NewDamageId(d.xc)
	if err != nil {
		return err
	}
	if err := damage.CreateChecked(d.xc, id, xproto.Drawable(d.root), damage.ReportLevelRawRectangles).Check(); err != nil {
		return err
	}
	if err := xfixes.SelectCursorInputChecked(d.xc, d.root, xfixes.CursorNotifyMaskDisplayCursor).Check(); err != nil {
		return err
	}
	// The browser draws the cursor; without this a software cursor would be in the picture too.
	if err := xfixes.HideCursorChecked(d.xc, d.root).Check(); err != nil {
		return err
	}
	return randr.SelectInputChecked(d.xc, d.root, randr.NotifyMaskScreenChange).Check()
}

// events sorts what the server tells, until the connection ends.
func (d *Display) events() {
	defer close(d.done)
	for {
		ev, xerr := d.xc.WaitForEvent()
		if ev == nil && xerr == nil {
			return
		}
		switch ev := ev.(type) {
		case damage.NotifyEvent:
			a := ev.Area
			for _, o := range d.outputs {
				o.damaged(image.Rect(int(a.X), int(a.Y), int(a.X)+int(a.Width), int(a.Y)+int(a.Height)))
			}
		case xfixes.CursorNotifyEvent:
			poke(d.cursorWake)
		case randr.ScreenChangeNotifyEvent:
			poke(d.screenWake)
		case xproto.MappingNotifyEvent:
			d.keymapStale.Store(true)
		}
	}
}

// Done is closed when the connection has ended.
func (d *Display) Done() <-chan struct{} { return d.done }

// CursorChanged receives when the cursor may look different.
func (d *Display) CursorChanged() <-chan struct{} { return d.cursorWake }

// ScreenChanged receives when outputs may have another size or place: Refresh then finds out.
func (d *Display) ScreenChanged() <-chan struct{} { return d.screenWake }

// Close ends the connection and waits for it.
func (d *Display) Close() {
	if d.dead.Load() {
		return
	}
	d.xc.Close()
	select {
	case <-d.done:
	case <-time.After(replyTimeout):
		d.dead.Store(true)
	}
}

func validSize(w, h int) bool {
	return w >= MinSide && h >= MinSide && w <= MaxSide && h <= MaxSide && w*h <= MaxPixels
}

// call runs requests that wait for replies, no longer than replyTimeout. A panic in the X library, which trusts what it
// reads, becomes an error.
func (d *Display) call(what string, f func() error) error {
	if d.dead.Load() {
		return fmt.Errorf("%s: %w", what, ErrUnresponsive)
	}
	result := make(chan error, 1)
	go func() {
		var err error
		defer func() { result <- err }()
		defer recovered(&err)
		err = f()
	}()
	timer := time.NewTimer(replyTimeout)
	defer timer.Stop()
	select {
	case err := <-result:
		if errors.Is(err, io.EOF) {
			err = ErrClosed
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	case <-timer.C:
		d.dead.Store(true)
		return fmt.Errorf("%s: %w", what, ErrUnresponsive)
	}
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", errHostile, r)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

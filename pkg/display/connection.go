package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// replyTimeout is how long the X server may think about one request.
const replyTimeout = 5 * time.Second

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

// connection is one client's connection to an X server. Every wait on it has a deadline.
type connection struct {
	xc   *xgb.Conn
	root xproto.Window
	log  *slog.Logger
	dead atomic.Bool   // the server did not answer in time
	done chan struct{} // closed by who reads the events, when they end
}

// quietLibrary keeps the X library from writing to stderr as often as a hostile server likes.
var quietLibrary = sync.OnceFunc(func() { xgb.Logger = log.New(io.Discard, "", 0) })

// dial connects to the server. Events are held back until the guard is opened.
func (c *connection) dial(ctx context.Context, cfg Config) (*guard, error) {
	quietLibrary()
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	conn, err := cfg.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the X server: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	g := newGuard(conn, cfg.Cookie)
	if c.xc, err = connect(g); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to the X server: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	c.log, c.done = cfg.Log, make(chan struct{})
	return g, nil
}

// screen is the server's first, whose root the connection's is from now on.
func (c *connection) screen() (*xproto.ScreenInfo, error) {
	s := xproto.Setup(c.xc)
	if len(s.Roots) == 0 {
		return nil, fmt.Errorf("%w: it has no screen", errHostile)
	}
	c.root = s.Roots[0].Root
	return &s.Roots[0], nil
}

// abandon gives up a connection that came to nothing.
func (c *connection) abandon(g *guard) {
	_ = g.Conn.Close()
	c.Close() // the library's tables are written at the next Open: who reads them must have ended
}

// connect does the set-up. The library reads the server's words without checking them all, so a panic is contained.
func connect(g *guard) (xc *xgb.Conn, err error) {
	defer recovered(&err)
	return xgb.NewConnNet(g)
}

// Done is closed when the connection has ended.
func (c *connection) Done() <-chan struct{} { return c.done }

// Close ends the connection and waits for it.
func (c *connection) Close() {
	if c.dead.Load() {
		return
	}
	c.xc.Close()
	select {
	case <-c.done:
	case <-time.After(replyTimeout):
		c.dead.Store(true)
	}
}

// call runs requests that wait for replies, no longer than replyTimeout. A panic in the X library, which trusts what it
// reads, becomes an error.
func (c *connection) call(what string, f func() error) error {
	result, timer := make(chan error, 1), time.NewTimer(replyTimeout)
	return c.await(what, func() bool {
		go func() { result <- safely(f) }()
		return true
	}, result, timer)
}

// await begins something that waits for replies and gives what came of it, as call does. Where begin says that there is nothing to wait for, that is no error.
func (c *connection) await(what string, begin func() bool, result <-chan error, timer *time.Timer) error {
	if c.dead.Load() {
		return fmt.Errorf("%s: %w", what, ErrUnresponsive)
	}
	if !begin() {
		return nil
	}
	timer.Reset(replyTimeout)
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
		c.dead.Store(true)
		return fmt.Errorf("%s: %w", what, ErrUnresponsive)
	}
}

func safely(f func() error) (err error) {
	defer recovered(&err)
	return f()
}

func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", errHostile, r)
	}
}

package state

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Protocol is the ALPN name of raft's connections on the cluster address.
const Protocol = "easel-raft"

// stream is raft's way to the other coordinators: connections that the cluster's listener hands over, and those that it opens.
type stream struct {
	network  Network
	addr     address
	log      *slog.Logger
	founding func() []byte // each end says its own first
	conns    chan net.Conn
	ctx      context.Context // ends with the replica
	stop     context.CancelFunc
	refused  sync.Once

	mu    sync.Mutex
	open  map[*streamConn]bool
	ended bool // no more are taken
}

// address is one for others to dial, which the listener may not know.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func newStream(cfg Config, founding func() []byte) *stream {
	ctx, stop := context.WithCancel(context.Background())
	return &stream{
		network: cfg.Network, addr: address(cfg.Address), log: cfg.Log, founding: founding,
		conns: make(chan net.Conn), ctx: ctx, stop: stop, open: map[*streamConn]bool{},
	}
}

// streamConn tells who handed it over when raft is done with it.
type streamConn struct {
	net.Conn
	stream *stream
	once   sync.Once
	closed chan struct{}
}

func (c *streamConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.stream.mu.Lock()
	delete(c.stream.open, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// serve gives raft a connection and returns when it is closed.
func (s *stream) serve(conn net.Conn) {
	c := &streamConn{Conn: conn, stream: s, closed: make(chan struct{})}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.open[c] = true
	}
	s.mu.Unlock()
	if ended || !s.greeted(conn) {
		_ = c.Close()
		return
	}
	select {
	case s.conns <- c:
		<-c.closed
	case <-s.ctx.Done():
		_ = c.Close()
	}
}

// helloPatience bounds the wait for who opened a connection to say what state it has.
const helloPatience = 10 * time.Second

// greeted tells whether the other end may speak with this one.
func (s *stream) greeted(conn net.Conn) bool {
	theirs := make([]byte, foundingBytes)
	_ = conn.SetReadDeadline(time.Now().Add(helloPatience)) // a connection without deadlines is closed by its server
	if _, err := io.ReadFull(conn, theirs); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Time{})
	if sameFounding(theirs, s.founding()) {
		return true
	}
	s.refused.Do(func() {
		s.log.Error("a coordinator with the state of another founding is refused; empty its state_dir and join it again", "from", conn.RemoteAddr())
	})
	return false
}

// Accept is raft's.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close is raft's.
func (s *stream) Close() error {
	s.stop()
	s.endHanded()
	return nil
}

// endHanded ends the connections that were handed over, and takes no more.
func (s *stream) endHanded() {
	s.mu.Lock()
	s.ended = true
	open := make([]*streamConn, 0, len(s.open))
	for c := range s.open {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// Addr is raft's.
func (s *stream) Addr() net.Addr { return s.addr }

// Dial is raft's.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.network.Dial(ctx, string(to))
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(s.founding()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

package state

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Protocol is the ALPN name of raft's connections on the cluster address.
const Protocol = "easel-raft"

// stream is raft's way to the other coordinators: connections that the cluster's listener hands over, and those that it opens.
type stream struct {
	network Network
	addr    address
	conns   chan net.Conn
	ctx     context.Context // ends with the replica
	stop    context.CancelFunc

	mu    sync.Mutex
	open  map[*streamConn]bool
	ended bool // no more are taken
}

// address is one for others to dial, which the listener may not know.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

func newStream(network Network, addr string) *stream {
	ctx, stop := context.WithCancel(context.Background())
	return &stream{network: network, addr: address(addr), conns: make(chan net.Conn), ctx: ctx, stop: stop, open: map[*streamConn]bool{}}
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
	if ended {
		_ = conn.Close()
		return
	}
	select {
	case s.conns <- c:
		<-c.closed
	case <-s.ctx.Done():
		_ = c.Close()
	}
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
	return s.network.Dial(ctx, string(to))
}

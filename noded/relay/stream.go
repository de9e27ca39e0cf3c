package relay

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"easel/pkg/mmsg"
)

// Bounds of a connection by TCP or TLS.
const (
	// strangerPatience is the default of Options.Patience.
	strangerPatience = 10 * time.Second
	// writePatience is how long a client may take no more before it is hung up on.
	writePatience = 10 * time.Second
	// Connections that have no allocation yet, in all and from one address.
	maxStrangers, maxStrangersEach = 512, 64
	// streamBytes is room for what is read from a connection at once; it holds several of the largest messages.
	streamBytes = 16 << 10
)

// accept serves the connections of one listener until it is closed.
func (r *Relay) accept(ctx context.Context, l net.Listener, secure *tls.Config) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.Log.Warn("the relay cannot accept a connection", "error", err)
			select {
			case <-time.After(100 * time.Millisecond): // such as too many open files
			case <-ctx.Done():
				return
			}
			continue
		}
		from := addrPort(conn.RemoteAddr()).Addr()
		if !r.strangers.enter(from) {
			r.metrics.refused(refusedConnection, 1)
			_ = conn.Close()
			continue
		}
		r.all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			r.serve(ctx, conn, secure, sync.OnceFunc(func() { r.strangers.leave(from) }))
		})
	}
}

// serve speaks TURN over one connection until that ends. known says that it has an allocation.
func (r *Relay) serve(ctx context.Context, conn net.Conn, secure *tls.Config, known func()) {
	defer known()
	defer conn.Close()
	if secure != nil {
		t := tls.Server(conn, secure)
		ctx, cancel := context.WithTimeout(ctx, r.Patience)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			r.metrics.refused(refusedConnection, 1)
			return
		}
		conn = t
	}
	s := &stream{conn: conn, secure: secure != nil, known: known, client: addrPort(conn.RemoteAddr()), since: time.Now(), out: mmsg.NewOutbox(), done: make(chan struct{})}
	s.server = newServer(r, s)
	if err := s.server.begin(); err != nil {
		r.Log.Error("a connection to the relay cannot be served", "error", err)
		return
	}
	<-s.done
}

// stream is one connection of the relay. To pion it is a net.PacketConn that brings STUN alone.
type stream struct {
	server *server
	conn   net.Conn
	client netip.AddrPort
	secure bool
	known  func()
	done   chan struct{}

	// Of pion's goroutine that reads.
	in         [streamBytes]byte
	start, end int // what was read and not looked at
	out        *mmsg.Outbox
	begun      time.Time // since when a message is incomplete

	writing sync.Mutex

	mu    sync.Mutex
	open  int       // allocations
	since time.Time // when it was without one
}

// ReadFrom relays until there is something for pion.
func (s *stream) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		message, err := s.message()
		if err == nil && message == nil {
			err = s.fill()
		}
		if err != nil {
			_ = s.conn.Close()
			close(s.done) // pion asks no more
			return 0, nil, err
		}
		if message != nil {
			n := copy(p, message)
			s.server.request = request{from: s.client, message: p[:n]}
			return n, s.conn.RemoteAddr(), nil
		}
	}
}

// message takes the next STUN message out of what was read, having sent to the peer all that came for it
// before; nil when more must be read.
func (s *stream) message() (stun []byte, err error) {
	a, m := s.server.flow(s.client), s.server.relay.metrics
	for err == nil && stun == nil {
		var n int
		if n, err = frameLength(s.in[s.start:s.end]); err != nil || n == 0 || n > s.end-s.start {
			break
		}
		frame := s.in[s.start : s.start+n]
		s.start += n
		number, data, ok := channelData(frame)
		switch {
		case isSTUN(frame):
			stun = frame
		case !ok:
			err = errNoFrame
		case a == nil || a.channel.Load() != uint32(number):
			m.refused(refusedChannel, 1)
		default:
			a.queue(data)
			if len(a.out) == mmsg.Batch {
				a.flush(s.out)
			}
		}
	}
	if a != nil && len(a.out) > 0 {
		a.flush(s.out)
	}
	if err != nil {
		m.refused(refusedGarbage, 1)
	}
	return stun, err
}

// fill reads more.
func (s *stream) fill() error {
	if s.start > 0 || s.end == 0 {
		s.begun = time.Time{}
	}
	copy(s.in[:], s.in[s.start:s.end])
	s.start, s.end = 0, s.end-s.start
	if s.end > 0 && s.begun.IsZero() {
		s.begun = time.Now()
	}
	s.limit()
	n, err := s.conn.Read(s.in[s.end:])
	s.end += n
	if n > 0 {
		err = nil // it comes again
	}
	return err
}

// limit sets how long the next read may take: as long as the allocation lives, if there is one and no
// message is half read.
func (s *stream) limit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var until time.Time
	patience := s.server.relay.Patience
	if s.open == 0 {
		until = s.since.Add(patience)
	}
	if !s.begun.IsZero() && (until.IsZero() || s.begun.Add(patience).Before(until)) {
		until = s.begun.Add(patience)
	}
	_ = s.conn.SetReadDeadline(until)
}

// attached implements carrier.
func (s *stream) attached(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	if s.open == 0 {
		s.since = time.Now()
		_ = s.conn.SetReadDeadline(s.since.Add(s.server.relay.Patience))
		return
	}
	s.known()
}

// deliver implements carrier. What the client does not take in time ends the connection, and until then
// holds up its own allocation alone.
func (s *stream) deliver(a *allocation, b *box) {
	number, size := uint16(a.channel.Load()), 0
	b.vectors = b.vectors[:0]
	for i := range b.Len() {
		if p := b.Packet(i); p != nil {
			b.vectors = append(b.vectors, mmsg.Vector(b.WithHeadroom(i)))
			size += len(p) + mmsg.Headroom
		}
	}
	packets := a.afford(b.vectors, size)
	b.stream = b.stream[:0]
	for i, p := range packets {
		frame := bytesOf(p)
		putChannelHeader(frame, number)
		b.stream = append(b.stream, frame...)
		for len(b.stream)%4 != 0 {
			b.stream = append(b.stream, 0)
		}
		// Over TLS each has a record of its own: some clients, such as coturn's, take one for the other.
		if s.secure || i == len(packets)-1 {
			if s.write(b.stream) != nil {
				return
			}
			b.stream = b.stream[:0]
		}
	}
	a.relay.metrics.down.count(packets, len(packets))
}

func (s *stream) write(p []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writePatience))
	_, err := s.conn.Write(p)
	if err != nil {
		_ = s.conn.Close() // half a message may be out: nothing after it would make sense
	}
	return err
}

func (s *stream) hangUp() { _ = s.conn.Close() }

// WriteTo, Close, LocalAddr and the deadlines complete net.PacketConn; pion sets no deadlines.
func (s *stream) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), s.write(p) }
func (s *stream) Close() error                              { return s.conn.Close() }
func (s *stream) LocalAddr() net.Addr                       { return s.conn.LocalAddr() }
func (s *stream) SetDeadline(t time.Time) error             { return s.conn.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error         { return s.conn.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error        { return s.conn.SetWriteDeadline(t) }

// strangers bounds the connections that have no allocation: whoever opens them has shown no credential.
type strangers struct {
	most, mostEach int

	mu   sync.Mutex
	all  int
	each map[netip.Addr]int
}

func newStrangers(most, mostEach int) *strangers {
	return &strangers{most: most, mostEach: mostEach, each: map[netip.Addr]int{}}
}

// site is what counts as one address: a customer has a whole /64 of IPv6.
func site(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func (s *strangers) enter(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	from = site(from)
	if s.all >= s.most || s.each[from] >= s.mostEach {
		return false
	}
	s.all++
	s.each[from]++
	return true
}

func (s *strangers) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from = site(from)
	s.all--
	if s.each[from]--; s.each[from] == 0 {
		delete(s.each, from)
	}
}

// bytesOf is what a vector points to.
func bytesOf(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }

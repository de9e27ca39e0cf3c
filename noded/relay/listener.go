package relay

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/mmsg"
)

// listener is one UDP socket of the relay. To pion it is a net.PacketConn that brings STUN alone: what comes
// for a bound channel goes straight to its peer, a whole read at a time.
type listener struct {
	server *server
	conn   *net.UDPConn
	raw    syscall.RawConn
	v6     bool
	done   chan struct{}

	// Of pion's goroutine that reads.
	in    *mmsg.Inbox
	out   *mmsg.Outbox
	next  int              // the first packet that was not looked at
	stun  [mmsg.Batch]bool // which of the packets in the inbox are pion's
	busy  []*allocation    // that have packets to send
	errno unix.Errno
	try   func(fd uintptr) bool

	unknown *bucket // STUN from who has no allocation
}

// unknownRate is how many STUN messages a second a socket hears from who has no allocation. A browser sends three;
// answering a flood of them must not hold up what is relayed.
const unknownRate = 5000

// newListener serves on a socket until it is closed.
func newListener(r *Relay, conn *net.UDPConn) (*listener, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("serve the relay on %s: %w", conn.LocalAddr(), err)
	}
	l := &listener{conn: conn, raw: raw, v6: addrPort(conn.LocalAddr()).Addr().Is6(), in: mmsg.NewInbox(), out: mmsg.NewOutbox(), done: make(chan struct{}), unknown: newBucket(unknownRate, time.Now())}
	l.try = l.receive
	l.server = newServer(r, l)
	return l, l.server.begin()
}

// wait returns when pion reads no more.
func (l *listener) wait() { <-l.done }

// ReadFrom relays until there is something for pion.
func (l *listener) ReadFrom(p []byte) (int, net.Addr, error) {
	for failures := 0; failures < tooManyErrors; {
		for l.next < l.in.Len() {
			i := l.next
			l.next++
			if l.stun[i] {
				n := copy(p, l.in.Packet(i))
				from := l.in.Sender(i)
				l.server.request = request{from: from, message: p[:n]}
				return n, net.UDPAddrFromAddrPort(from), nil
			}
		}
		if err := l.raw.Read(l.try); err != nil {
			close(l.done) // pion asks no more
			return 0, nil, err
		}
		if l.errno != 0 {
			failures++
			continue
		}
		failures = 0
		l.sort()
	}
	close(l.done)
	l.server.relay.Log.Error("a socket of the relay is of no use any more; restart noded", "address", l.conn.LocalAddr(), "error", l.errno)
	return 0, nil, fmt.Errorf("read from the relay's socket %s: %w", l.conn.LocalAddr(), l.errno)
}

func (l *listener) receive(fd uintptr) bool {
	l.next, l.errno = 0, l.in.Receive(fd)
	return l.errno != unix.EAGAIN
}

// sort sends what came for channels and marks what is pion's.
func (l *listener) sort() {
	s, m, now := l.server, l.server.relay.metrics, time.Now()
	s.mu.RLock()
	for i := range l.in.Len() {
		p := l.in.Packet(i)
		l.stun[i] = isSTUN(p)
		if l.stun[i] {
			if s.flows[l.in.Sender(i)] == nil && l.unknown.take(1, now) == 0 {
				l.stun[i] = false
				m.refused(refusedFlood, 1)
			}
			continue
		}
		number, data, ok := channelData(p)
		if !ok {
			m.refused(refusedGarbage, 1)
			continue
		}
		a := s.flows[l.in.Sender(i)]
		if a == nil || a.channel.Load() != uint32(number) {
			m.refused(refusedChannel, 1)
			continue
		}
		if a.queue(data) {
			l.busy = append(l.busy, a)
		}
	}
	s.mu.RUnlock()
	for _, a := range l.busy {
		a.flush(l.out)
	}
	clear(l.busy)
	l.busy = l.busy[:0]
}

// deliver implements carrier. Each allocation's goroutine has an outbox of its own, so they share the socket
// without waiting for each other.
func (l *listener) deliver(a *allocation, b *box) {
	number, size := uint16(a.channel.Load()), 0
	b.vectors = b.vectors[:0]
	for i := range b.Len() {
		if b.Packet(i) == nil {
			continue
		}
		p := b.WithHeadroom(i)
		putChannelHeader(p, number)
		b.vectors = append(b.vectors, mmsg.Vector(p))
		size += len(p)
	}
	packets := a.afford(b.vectors, size)
	if a.to == nil {
		a.to = mmsg.NewSockaddr(a.client, l.v6)
	}
	a.relay.metrics.down.count(packets, b.Send(l.raw, packets, a.to))
}

func (l *listener) attached(int) {}
func (l *listener) hangUp()      {}

// WriteTo, Close, LocalAddr and the deadlines complete net.PacketConn; pion sets no deadlines.
func (l *listener) WriteTo(p []byte, to net.Addr) (int, error) { return l.conn.WriteTo(p, to) }
func (l *listener) Close() error                               { return l.conn.Close() }
func (l *listener) LocalAddr() net.Addr                        { return l.conn.LocalAddr() }
func (l *listener) SetDeadline(t time.Time) error              { return l.conn.SetDeadline(t) }
func (l *listener) SetReadDeadline(t time.Time) error          { return l.conn.SetReadDeadline(t) }
func (l *listener) SetWriteDeadline(t time.Time) error         { return l.conn.SetWriteDeadline(t) }

package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"easel/pkg/mmsg"
)

// allocation is a client's socket towards its session's streamer, to which it is connected. To pion it is a
// net.PacketConn: what comes while no channel is bound goes to pion, which wraps it; the rest never gets there.
type allocation struct {
	relay   *Relay
	server  *server
	account *account
	session string
	client  netip.AddrPort
	to      *mmsg.Sockaddr // the client, for a carrier by UDP
	peer    netip.AddrPort
	conn    *net.UDPConn
	raw     syscall.RawConn
	channel atomic.Uint32 // that is bound to the peer; 0 none
	used    atomic.Int64  // when something crossed it last, Unix nanoseconds
	closed  sync.Once

	// Of the carrier's goroutine: what waits to be sent to the peer.
	out  []unix.Iovec
	size int

	// Of pion's goroutine that reads from the peer.
	box   *box
	errno unix.Errno
	try   func(fd uintptr) bool
}

// box is what one read and what comes of it need. It is held only while there is something in it, so that
// a thousand idle allocations hold none.
type box struct {
	*mmsg.Inbox
	*mmsg.Outbox
	next    int // the first packet that was not taken out
	vectors []unix.Iovec
	stream  []byte
}

var boxes = sync.Pool{New: func() any {
	return &box{Inbox: mmsg.NewInbox(), Outbox: mmsg.NewOutbox(), vectors: make([]unix.Iovec, 0, mmsg.Batch)}
}}

// newAllocation opens a socket on a port of the range, or the one asked for, for who sent the request.
func (r *Relay) newAllocation(s *server, wanted int) (*allocation, error) {
	a := &allocation{relay: r, server: s, session: s.request.session, client: s.request.from, peer: s.request.peer}
	a.try = a.receive
	a.used.Store(time.Now().UnixNano())
	if err := a.open(wanted); err != nil {
		return nil, err
	}
	s.attach(a)
	if err := r.ledger.enter(a); err != nil { // last: from here on it may be closed at any moment
		r.metrics.refused(refusedQuota, 1)
		s.detach(a)
		_ = a.conn.Close()
		return nil, err
	}
	return a, nil
}

func (a *allocation) open(wanted int) (err error) {
	r := a.relay
	count := uint32(r.Last-r.First) + 1
	for range count {
		port := wanted
		if wanted == 0 {
			port = int(r.First) + int(r.nextPort.Add(1)%count)
		}
		a.conn, err = net.DialUDP("udp", &net.UDPAddr{IP: r.Media.AsSlice(), Port: port}, net.UDPAddrFromAddrPort(a.peer))
		if err == nil || wanted != 0 || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("open a port of relay.ports (%d-%d) on %s: %w", r.First, r.Last, r.Media, err)
	}
	if a.raw, err = a.conn.SyscallConn(); err == nil {
		err = mmsg.Enlarge(a.conn, allocationBytes)
	}
	if err == nil {
		err = a.drain()
	}
	if err != nil {
		_ = a.conn.Close()
		return fmt.Errorf("prepare an allocation's socket: %w", err)
	}
	return nil
}

// allocationBytes is the size of an allocation's socket buffers.
const allocationBytes = 512 << 10

// drain drops what came between the socket's birth and its connection to the peer: anybody could have sent it.
func (a *allocation) drain() error {
	b := boxes.Get().(*box)
	defer boxes.Put(b)
	return a.raw.Control(func(fd uintptr) {
		for range tooManyErrors {
			if b.Receive(fd) == unix.EAGAIN {
				return
			}
		}
	})
}

// isAt tells whether a relayed address is this allocation's.
func (a *allocation) isAt(relayed net.Addr) bool {
	return addrPort(relayed) == addrPort(a.conn.LocalAddr())
}

// queue keeps a packet for the peer until flush; it must stay as it is until then.
func (a *allocation) queue(data []byte) (first bool) {
	a.out = append(a.out, mmsg.Vector(data))
	a.size += len(data)
	return len(a.out) == 1
}

// flush sends to the peer what was queued.
func (a *allocation) flush(o *mmsg.Outbox) {
	packets := a.afford(a.out, a.size)
	a.relay.metrics.up.count(packets, o.Send(a.raw, packets, nil))
	clear(a.out)
	a.out, a.size = a.out[:0], 0
}

// afford is as many of the packets, size bytes in all, as the bandwidth allows.
func (a *allocation) afford(packets []unix.Iovec, size int) []unix.Iovec {
	given := a.relay.ledger.take(a, size)
	if given >= size {
		return packets
	}
	fit := 0
	for given >= int(packets[fit].Len) { // ends, as all of them are more
		given -= int(packets[fit].Len)
		fit++
	}
	a.relay.metrics.refused(refusedBandwidth, len(packets)-fit)
	return packets[:fit]
}

// tooManyErrors in a row are a socket that will not work again.
const tooManyErrors = 100

// ReadFrom brings pion the packets that it must wrap itself, and the client all others.
func (a *allocation) ReadFrom(p []byte) (int, net.Addr, error) {
	for failures := 0; failures < tooManyErrors; {
		if packet := a.box.pop(); packet != nil {
			one := a.afford([]unix.Iovec{mmsg.Vector(packet)}, len(packet))
			a.relay.metrics.down.count(one, len(one))
			if len(one) == 1 {
				return copy(p, packet), net.UDPAddrFromAddrPort(a.peer), nil
			}
			continue
		}
		a.putBox()
		if err := a.raw.Read(a.try); err != nil {
			return 0, nil, err
		}
		if a.errno != 0 { // such as the refusal of a packet while the streamer starts again
			failures++
			continue
		}
		failures = 0
		if a.channel.Load() != 0 {
			a.server.carrier.deliver(a, a.box)
			a.box.next = a.box.Len()
		}
	}
	return 0, nil, fmt.Errorf("read from the peer of an allocation: %w", a.errno)
}

// receive is one try to read; false waits for more to come.
func (a *allocation) receive(fd uintptr) bool {
	a.box = boxes.Get().(*box)
	a.box.next = 0
	if a.errno = a.box.Receive(fd); a.errno == unix.EAGAIN {
		a.putBox()
		return false
	}
	return true
}

// pop takes the next packet out; nil when there is none.
func (b *box) pop() []byte {
	for b != nil && b.next < b.Len() {
		b.next++
		if p := b.Packet(b.next - 1); p != nil {
			return p
		}
	}
	return nil
}

func (a *allocation) putBox() {
	if a.box != nil {
		boxes.Put(a.box)
		a.box = nil
	}
}

var errNotThePeer = errors.New("only the session's own streamer can be a peer")

// WriteTo sends what pion unwrapped, if it is for the peer.
func (a *allocation) WriteTo(p []byte, to net.Addr) (int, error) {
	if addrPort(to) != a.peer {
		a.relay.metrics.refused(refusedPeer, 1)
		return 0, errNotThePeer
	}
	packets := a.afford([]unix.Iovec{mmsg.Vector(p)}, len(p))
	if len(packets) == 1 {
		if _, err := a.conn.Write(p); err == nil { // else it is lost, as on any way
			a.relay.metrics.up.count(packets, 1)
		}
	}
	return len(p), nil
}

// Close ends the allocation; pion forgets it when its read fails.
func (a *allocation) Close() error {
	a.closed.Do(func() {
		_ = a.conn.Close()
		a.server.detach(a)
		a.relay.ledger.leave(a)
	})
	return nil
}

// LocalAddr, SetDeadline, SetReadDeadline and SetWriteDeadline complete net.PacketConn.
func (a *allocation) LocalAddr() net.Addr { return a.conn.LocalAddr() }

func (a *allocation) SetDeadline(t time.Time) error      { return a.conn.SetDeadline(t) }
func (a *allocation) SetReadDeadline(t time.Time) error  { return a.conn.SetReadDeadline(t) }
func (a *allocation) SetWriteDeadline(t time.Time) error { return a.conn.SetWriteDeadline(t) }

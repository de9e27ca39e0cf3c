package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of what is read and sent at once. A packet that fills its slot was cut off and is dropped: media
// packets stay below 1500 bytes.
const (
	batchSize = 64
	slotSize  = 2048
	headroom  = channelHeader // before each packet that is read, for the header it leaves with
	maxPacket = slotSize - headroom
	// UDP_SEGMENT: the kernel cuts one buffer into packets of one size. Its bounds are Linux's oldest.
	maxSegments     = 64
	maxSegmented    = 64000
	maxSegment      = 1400 // larger ones may need fragments, which segmentation cannot make
	segmentControl  = 24   // CMSG_SPACE of a uint16
	sizeofSockaddr6 = unix.SizeofSockaddrInet6
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// inbox is room for one recvmmsg: the net package reads one packet a system call, which is where half of a
// relay's time would go.
type inbox struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	senders [batchSize]unix.RawSockaddrInet6 // the larger of the two families
	slots   [batchSize][slotSize]byte
	n       int // packets read
	next    int // the first of them that was not taken out
}

func newInbox() *inbox {
	b := &inbox{}
	for i := range b.headers {
		b.vectors[i].Base = &b.slots[i][headroom]
		b.vectors[i].SetLen(maxPacket)
		h := &b.headers[i].header
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.senders[i]))
	}
	return b
}

// receive reads what has come to a socket, without waiting.
func (b *inbox) receive(fd uintptr) unix.Errno {
	b.n, b.next = 0, 0
	for i := range b.headers {
		b.headers[i].header.Namelen = sizeofSockaddr6
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers)), batchSize, unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			b.n = int(n)
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// packet is the i-th packet; nil when it did not fit.
func (b *inbox) packet(i int) []byte {
	if b.headers[i].header.Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	return b.slots[i][headroom : headroom+b.headers[i].length]
}

// withHeadroom is the i-th packet with the headroom before it.
func (b *inbox) withHeadroom(i int) []byte { return b.slots[i][:headroom+b.headers[i].length] }

// sender is where the i-th packet came from.
func (b *inbox) sender(i int) netip.AddrPort {
	a := &b.senders[i]
	port := swap16(a.Port)
	if a.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port)
}

// outbox sends many packets to one address at once. It belongs to one goroutine.
type outbox struct {
	headers  [batchSize]mmsghdr
	controls [batchSize][segmentControl]byte
	plain    bool // the kernel or the device cannot segment

	// Of the call that is under way; the function is made once, because one made for each call is garbage.
	packets []unix.Iovec
	to      *sockaddr
	sent    int
	do      func(fd uintptr)
}

func newOutbox() *outbox {
	o := &outbox{}
	o.do = func(fd uintptr) { o.sent = o.sendOn(fd, o.packets, o.to) }
	return o
}

// send sends packets to an address, or to whom the socket is connected when that is nil, and returns how
// many it handed to the kernel. What would have to wait is dropped, as a full router drops it.
func (o *outbox) send(socket syscall.RawConn, packets []unix.Iovec, to *sockaddr) int {
	o.packets, o.to, o.sent = packets, to, 0
	_ = socket.Control(o.do) // a closed socket sends nothing
	o.packets, o.to = nil, nil
	return o.sent
}

func (o *outbox) sendOn(fd uintptr, packets []unix.Iovec, to *sockaddr) int {
	sent := 0
	for len(packets) > 0 {
		n := o.fill(packets, to)
		done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.headers)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.EBADF:
			return sent
		case errno != 0 && o.headers[0].header.Controllen > 0 && (errno == unix.EINVAL || errno == unix.EIO || errno == unix.EMSGSIZE):
			o.plain = true
			continue
		case errno != 0: // this one cannot be sent; a refusal of an earlier one may also be told here
			packets = packets[o.headers[0].header.Iovlen:]
			continue
		}
		for i := range int(done) {
			sent += int(o.headers[i].header.Iovlen)
			packets = packets[o.headers[i].header.Iovlen:]
		}
	}
	return sent
}

// fill makes headers of packets: each covers packets of one size, of which the last may be shorter. It
// returns how many headers it made.
func (o *outbox) fill(packets []unix.Iovec, to *sockaddr) (headers int) {
	for used := 0; headers < batchSize && used < len(packets); headers++ {
		run := 1
		if !o.plain {
			run = segments(packets[used:])
		}
		h := &o.headers[headers].header
		*h = unix.Msghdr{Iov: &packets[used]}
		h.SetIovlen(run)
		if to != nil {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to.raw)), to.length
		}
		if run > 1 {
			control := &o.controls[headers]
			c := (*unix.Cmsghdr)(unsafe.Pointer(control))
			c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
			c.SetLen(unix.CmsgLen(2))
			*(*uint16)(unsafe.Pointer(&control[unix.CmsgLen(0)])) = uint16(packets[used].Len)
			h.Control = &control[0]
			h.SetControllen(unix.CmsgSpace(2))
		}
		used += run
	}
	return headers
}

// segments is how many of the first packets can leave as one: equally long, the last may be shorter.
func segments(packets []unix.Iovec) int {
	size, total := packets[0].Len, uint64(0)
	if size == 0 || size > maxSegment {
		return 1
	}
	for i, p := range packets {
		total += p.Len
		if i == maxSegments || total > maxSegmented || p.Len > size || p.Len == 0 {
			return i
		}
		if p.Len < size {
			return i + 1
		}
	}
	return len(packets)
}

// sockaddr is an address as the kernel takes it.
type sockaddr struct {
	raw    unix.RawSockaddrInet6
	length uint32
}

// newSockaddr is the address for a socket of the family of local.
func newSockaddr(a netip.AddrPort, v6 bool) *sockaddr {
	s := &sockaddr{}
	port := swap16(a.Port())
	if !v6 {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: a.Addr().As4()}
		s.length = unix.SizeofSockaddrInet4
		return s
	}
	s.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: a.Addr().As16()}
	s.length = sizeofSockaddr6
	return s
}

// swap16 is between the host's order and the network's, either way.
func swap16(v uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&v))[:]) }

func vector(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// enlarge gives a socket large buffers, beyond what an ordinary process may have where we may.
func enlarge(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		for forced, ordinary := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, forced, bytes) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, ordinary, bytes) // the kernel grants what its limits allow
			}
		}
	})
}

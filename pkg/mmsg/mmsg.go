// Package mmsg reads and sends many UDP packets a system call. The net package does one a call, and of a relay's
// time more than half would go into those calls.
package mmsg

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of what is read and sent at once. Media packets stay below 1500 bytes.
const (
	Batch     = 64 // packets
	slotSize  = 2048
	Headroom  = 4 // free bytes before each packet that is read, for a header that it leaves with
	MaxPacket = slotSize - Headroom
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

// Inbox is room for one recvmmsg. It belongs to one goroutine.
type Inbox struct {
	headers [Batch]mmsghdr
	vectors [Batch]unix.Iovec
	senders [Batch]unix.RawSockaddrInet6 // the larger of the two families
	slots   [Batch][slotSize]byte
	n       int // packets read
}

// NewInbox makes an empty one.
func NewInbox() *Inbox {
	b := &Inbox{}
	for i := range b.headers {
		b.vectors[i].Base = &b.slots[i][Headroom]
		b.vectors[i].SetLen(MaxPacket)
		h := &b.headers[i].header
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.senders[i]))
	}
	return b
}

// Receive reads what has come to a socket, without waiting.
func (b *Inbox) Receive(fd uintptr) unix.Errno {
	b.n = 0
	for i := range b.headers {
		b.headers[i].header.Namelen = sizeofSockaddr6
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers)), Batch, unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			b.n = int(n)
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// Packet is the i-th packet; nil when it did not fit.
func (b *Inbox) Packet(i int) []byte {
	if b.headers[i].header.Flags&unix.MSG_TRUNC != 0 {
		return nil
	}
	return b.slots[i][Headroom : Headroom+b.headers[i].length]
}

// Len is how many packets were read.
func (b *Inbox) Len() int { return b.n }

// WithHeadroom is the i-th packet with the Headroom before it.
func (b *Inbox) WithHeadroom(i int) []byte { return b.slots[i][:Headroom+b.headers[i].length] }

// Sender is where the i-th packet came from.
func (b *Inbox) Sender(i int) netip.AddrPort {
	a := &b.senders[i]
	port := swap16(a.Port)
	if a.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port)
}

// Outbox sends many packets to one address at once. It belongs to one goroutine.
type Outbox struct {
	headers  [Batch]mmsghdr
	controls [Batch][segmentControl]byte
	Plain    bool // no segmentation: the kernel or the device cannot, or nobody wants it

	// Of the call that is under way; the function is made once, because one made for each call is garbage.
	packets []unix.Iovec
	to      *Sockaddr
	sent    int
	do      func(fd uintptr)
}

// NewOutbox makes one.
func NewOutbox() *Outbox {
	o := &Outbox{}
	o.do = func(fd uintptr) { o.sent = o.sendOn(fd, o.packets, o.to) }
	return o
}

// Send sends packets to an address, or to whom the socket is connected when that is nil, and returns how
// many it handed to the kernel. What would have to wait is dropped, as a full router drops it.
func (o *Outbox) Send(socket syscall.RawConn, packets []unix.Iovec, to *Sockaddr) int {
	o.packets, o.to, o.sent = packets, to, 0
	_ = socket.Control(o.do) // a closed socket sends nothing
	o.packets, o.to = nil, nil
	return o.sent
}

func (o *Outbox) sendOn(fd uintptr, packets []unix.Iovec, to *Sockaddr) int {
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
			o.Plain = true
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
func (o *Outbox) fill(packets []unix.Iovec, to *Sockaddr) (headers int) {
	for used := 0; headers < Batch && used < len(packets); headers++ {
		run := 1
		if !o.Plain {
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

// Sockaddr is an address as the kernel takes it.
type Sockaddr struct {
	raw    unix.RawSockaddrInet6
	length uint32
}

// NewSockaddr is an address for a socket that speaks IPv6, or one that does not.
func NewSockaddr(a netip.AddrPort, v6 bool) *Sockaddr {
	s := &Sockaddr{}
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

// Vector is a packet to send; it must stay as it is until it was sent.
func Vector(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// Enlarge gives a socket large buffers, beyond what an ordinary process may have where we may.
func Enlarge(conn *net.UDPConn, bytes int) error {
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

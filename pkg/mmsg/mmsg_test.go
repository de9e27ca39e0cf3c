package mmsg

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T, address string) (from, to *net.UDPConn) {
	t.Helper()
	for _, c := range []**net.UDPConn{&from, &to} {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)})
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
			t.Skipf("this host has no %s", address)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := Enlarge(conn, 4<<20); err != nil {
			t.Fatal(err)
		}
		*c = conn
	}
	return from, to
}

// receive reads n packets.
func receive(t *testing.T, conn *net.UDPConn, n int) (packets [][]byte, sender netip.AddrPort) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	in := NewInbox()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for len(packets) < n {
		if err := raw.Read(func(fd uintptr) bool { return in.Receive(fd) != unix.EAGAIN }); err != nil {
			t.Fatalf("%d of %d packets came: %v", len(packets), n, err)
		}
		for i := range in.Len() {
			packets, sender = append(packets, bytes.Clone(in.Packet(i))), in.Sender(i)
		}
	}
	return packets, sender
}

// Whatever sizes follow each other, each packet arrives as it was sent, and in order: the kernel cuts what was sent as one.
func TestPacketsArriveAsTheyWereSent(t *testing.T) {
	sizes := map[string][]int{
		"one": {100}, "alike": repeat(1200, 200), "frames": append(repeat(1200, 7), 300, 1200, 1200, 5), "growing": {1, 2, 3, 4, 1300},
		"shrinking": {1300, 4, 3, 2, 1}, "empty among others": {10, 0, 10, 10, 0}, "beyond a segment": {1500, 1500, 2000, 1400, 1400}, "many small": repeat(1, 300),
	}
	for _, address := range []string{"127.0.0.1", "::1"} {
		for name, sizes := range sizes {
			for _, plain := range []bool{false, true} {
				t.Run(address+"/"+name, func(t *testing.T) {
					from, to := pair(t, address)
					raw, err := from.SyscallConn()
					if err != nil {
						t.Fatal(err)
					}
					var packets []unix.Iovec
					var want [][]byte
					for i, size := range sizes {
						p := bytes.Repeat([]byte{byte(i)}, size)
						want, packets = append(want, p), append(packets, Vector(p))
					}
					out := NewOutbox()
					out.Plain = plain
					at := to.LocalAddr().(*net.UDPAddr).AddrPort()
					if sent := out.Send(raw, packets, NewSockaddr(at, at.Addr().Is6())); sent != len(packets) {
						t.Fatalf("%d of %d packets were sent", sent, len(packets))
					}
					got, sender := receive(t, to, len(want))
					for i := range want {
						if !bytes.Equal(got[i], want[i]) {
							t.Fatalf("packet %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
						}
					}
					if sender != from.LocalAddr().(*net.UDPAddr).AddrPort() {
						t.Errorf("they came from %v", sender)
					}
				})
			}
		}
	}
}

func repeat(size, n int) (sizes []int) {
	for range n {
		sizes = append(sizes, size)
	}
	return sizes
}

// What a peer's death makes the kernel tell costs that packet alone.
func TestRefusedPacketsCostNoOthers(t *testing.T) {
	from, to := pair(t, "127.0.0.1")
	dead := to.LocalAddr().(*net.UDPAddr)
	_ = to.Close()
	connected, err := net.DialUDP("udp", nil, dead)
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	raw, err := connected.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	out := NewOutbox()
	for range 10 {
		out.Send(raw, []unix.Iovec{Vector([]byte("anybody")), Vector([]byte("there?"))}, nil)
	}
	again, err := net.ListenUDP("udp", dead)
	if err != nil {
		t.Skipf("another program took the port: %v", err)
	}
	defer again.Close()
	sent := 0
	for range 3 { // the first may still be told of the refusal of before
		sent += out.Send(raw, []unix.Iovec{Vector([]byte("you are"))}, nil)
	}
	if sent == 0 {
		t.Fatal("nothing can be sent any more")
	}
	if got, _ := receive(t, again, 1); string(got[0]) != "you are" {
		t.Errorf("got %q", got)
	}
	_ = from
}

// A packet that does not fit is told apart from one that does.
func TestCutOffPacket(t *testing.T) {
	from, to := pair(t, "127.0.0.1")
	for _, size := range []int{MaxPacket, MaxPacket + 1} {
		if _, err := from.WriteTo(make([]byte, size), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := receive(t, to, 2)
	if len(got[0]) != MaxPacket || got[1] != nil {
		t.Errorf("%d and %d bytes, want %d and none", len(got[0]), len(got[1]), MaxPacket)
	}
}

// A closed socket sends nothing and hurts nobody.
func TestClosedSocket(t *testing.T) {
	from, to := pair(t, "127.0.0.1")
	raw, err := from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = from.Close()
	if sent := NewOutbox().Send(raw, []unix.Iovec{Vector([]byte("x"))}, NewSockaddr(to.LocalAddr().(*net.UDPAddr).AddrPort(), false)); sent != 0 {
		t.Errorf("%d packets were sent", sent)
	}
}

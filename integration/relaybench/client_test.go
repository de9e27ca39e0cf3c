package relaybench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
	"golang.org/x/sys/unix"

	"easel/pkg/mmsg"
)

const channel = 0x4001

// way is one allocation with its client and its peer, and what has crossed it.
type way struct {
	client, peer *net.UDPConn // client is connected to the server, peer to the relayed address
	relayed      *net.UDPAddr
	got          atomic.Int64
}

// open makes an allocation and binds its channel, as a browser does.
func open(address netip.AddrPort, l login, peer *net.UDPConn) (*way, error) {
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(address))
	if err != nil {
		return nil, err
	}
	w := &way{client: client, peer: peer}
	key := stun.MessageIntegrity(turn.GenerateAuthKey(l.Username, l.Realm, l.Password))
	udp := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	answer, err := ask(client, stun.MethodAllocate, raw(udp))
	if err != nil {
		return nil, err
	}
	// Each refusal brings the nonce for the next try (RFC 8489, 9.2.5). A coturn that has just started refuses good credentials too.
	var who []stun.Setter
	for end := time.Now().Add(patience); answer.Type.Class != stun.ClassSuccessResponse; {
		var nonce stun.Nonce
		if err := nonce.GetFrom(answer); err != nil || time.Now().After(end) {
			return nil, fmt.Errorf("no allocation: %v (%v): %w", answer, refusal(answer), err)
		}
		who = []stun.Setter{stun.NewUsername(l.Username), stun.NewRealm(l.Realm), nonce, key}
		if answer, err = ask(client, stun.MethodAllocate, append([]stun.Setter{raw(udp)}, who...)...); err != nil {
			return nil, err
		}
	}
	var at stun.XORMappedAddress
	if err := at.GetFromAs(answer, stun.AttrXORRelayedAddress); err != nil {
		return nil, fmt.Errorf("no allocation: %v: %w", answer, err)
	}
	w.relayed = &net.UDPAddr{IP: at.IP, Port: at.Port}
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{channel >> 8, channel & 255, 0, 0}}
	bound, err := ask(client, stun.MethodChannelBind, append([]stun.Setter{raw(number), peerAddress(*peer.LocalAddr().(*net.UDPAddr))}, who...)...)
	if err == nil && bound.Type.Class != stun.ClassSuccessResponse {
		err = fmt.Errorf("no channel: %v", bound)
	}
	return w, err
}

// refusal is why a server said no.
func refusal(answer *stun.Message) string {
	var code stun.ErrorCodeAttribute
	if err := code.GetFrom(answer); err != nil {
		return "it gives no reason"
	}
	return code.String()
}

type raw stun.RawAttribute

func (r raw) AddTo(m *stun.Message) error { m.Add(r.Type, r.Value); return nil }

type peerAddress net.UDPAddr

func (p peerAddress) AddTo(m *stun.Message) error {
	a := stun.XORMappedAddress{IP: p.IP, Port: p.Port}
	return a.AddToAs(m, stun.AttrXORPeerAddress)
}

// ask sends a request and returns the answer.
func ask(conn *net.UDPConn, method stun.Method, setters ...stun.Setter) (*stun.Message, error) {
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)...)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := conn.Write(m.Raw); err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // the server starts
			return nil, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Time{})
		answer := &stun.Message{Raw: append([]byte(nil), buf[:n]...)}
		if err := answer.Decode(); err != nil {
			return nil, err
		}
		if answer.TransactionID == m.TransactionID { // a server that was starting answers what was sent again twice
			return answer, nil
		}
	}
	return nil, fmt.Errorf("no answer to %v in %v", method, patience)
}

// window is how many packets of a way may be under way: as many as a stock socket buffer holds.
const window = 64

// load carries n packets over the ways, as fast as they go without loss, and returns how many were lost.
func load(b testing.TB, ways []*way, n, size int, down bool) (lost int) {
	b.Helper()
	done := make(chan struct{})
	moved := make(chan struct{}, 1)
	for _, w := range ways {
		w.got.Store(0)
		from := w.peer
		if down {
			from = w.client
		}
		go count(from, w, moved, done)
	}
	sent, batch, pipe := make([]int64, len(ways)), packets(size, down), mmsg.NewOutbox()
	pipe.Plain = true // as streamers and browsers send
	left := n
	for left > 0 {
		progress := false
		for i, w := range ways {
			room := min(window-int(sent[i]-w.got.Load()), len(batch), left)
			if room < len(batch)/2 && room < left {
				continue
			}
			to, raw := w.target(b, down)
			k := pipe.Send(raw, batch[:room], to)
			sent[i] += int64(k)
			left -= k
			progress = progress || k > 0
		}
		if progress {
			continue
		}
		select {
		case <-moved:
		case <-time.After(50 * time.Millisecond): // what has not come by now was lost
			for i, w := range ways {
				lost += int(sent[i] - w.got.Load())
				sent[i] = w.got.Load()
			}
		}
	}
	for i, w := range ways {
		for end := time.Now().Add(50 * time.Millisecond); w.got.Load() < sent[i] && time.Now().Before(end); {
			select {
			case <-moved:
			case <-time.After(5 * time.Millisecond):
			}
		}
		lost += int(sent[i] - w.got.Load())
	}
	for _, w := range ways { // ends the readers
		past := time.Unix(1, 0)
		_, _ = w.client.SetReadDeadline(past), w.peer.SetReadDeadline(past)
		<-done
		_, _ = w.client.SetReadDeadline(time.Time{}), w.peer.SetReadDeadline(time.Time{})
	}
	return lost
}

func (w *way) target(b testing.TB, down bool) (*mmsg.Sockaddr, syscall.RawConn) {
	conn, to := w.client, (*mmsg.Sockaddr)(nil)
	if down {
		conn, to = w.peer, mmsg.NewSockaddr(w.relayed.AddrPort(), false)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	return to, raw
}

// packets is a batch of packets of a size, with the channel's header where a client sends them. As in a stream, the last one of
// a frame is smaller.
func packets(size int, down bool) []unix.Iovec {
	var batch []unix.Iovec
	for i := range 32 {
		p := make([]byte, size)
		if i%8 == 7 {
			p = p[:size/2]
		}
		if !down {
			header := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, channel), uint16(len(p)))
			p = append(header, p...)
		}
		batch = append(batch, mmsg.Vector(p))
	}
	return batch
}

// count reads until its deadline.
func count(conn *net.UDPConn, w *way, moved chan<- struct{}, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	in := mmsg.NewInbox()
	for {
		err := raw.Read(func(fd uintptr) bool { return in.Receive(fd) != unix.EAGAIN })
		if err != nil {
			return
		}
		w.got.Add(int64(in.Len()))
		select {
		case moved <- struct{}{}:
		default:
		}
	}
}

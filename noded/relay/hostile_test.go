package relay

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
)

// raw speaks TURN message by message, to say what no proper client says.
type raw struct {
	t     *testing.T
	conn  net.Conn
	nonce stun.Nonce
	who   []stun.Setter
}

// newRaw has credentials and a nonce, and no allocation yet.
func (w *world) newRaw(t *testing.T, id string) *raw {
	t.Helper()
	conn, err := net.Dial("udp", w.streams[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &raw{t: t, conn: conn}
	if err := r.nonce.GetFrom(r.ask(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport})); err != nil {
		t.Fatal(err)
	}
	r.be(w, id, r.nonce)
	return r
}

var udpTransport = []byte{17, 0, 0, 0}

// be takes on the credentials of a session.
func (r *raw) be(w *world, id string, nonce stun.Nonce) {
	s := w.Servers(id)[0]
	key := stun.MessageIntegrity(turn.GenerateAuthKey(s.Username, Realm, s.Credential))
	r.who = []stun.Setter{stun.NewUsername(s.Username), stun.NewRealm(Realm), nonce, key}
}

// allocated has an allocation too, whose relayed address it returns.
func (w *world) allocated(t *testing.T, id string) (*raw, *net.UDPAddr) {
	t.Helper()
	r := w.newRaw(t, id)
	var at stun.XORMappedAddress
	if err := at.GetFromAs(r.askAs(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport}), stun.AttrXORRelayedAddress); err != nil {
		t.Fatal(err)
	}
	return r, &net.UDPAddr{IP: at.IP, Port: at.Port}
}

type attribute struct {
	kind  stun.AttrType
	value []byte
}

func (a attribute) AddTo(m *stun.Message) error { m.Add(a.kind, a.value); return nil }

type toPeer netip.AddrPort

// AddTo writes the address in the family that it has, IPv4-mapped IPv6 included.
func (p toPeer) AddTo(m *stun.Message) error {
	at := netip.AddrPort(p)
	family, ip := byte(1), at.Addr().AsSlice()
	if at.Addr().Is6() {
		family = 2
	}
	mask := binary.BigEndian.AppendUint32(nil, stunMagic)
	mask = append(mask, m.TransactionID[:]...)
	value := binary.BigEndian.AppendUint16([]byte{0, family}, at.Port()^stunMagic>>16)
	for i, b := range ip {
		value = append(value, b^mask[i])
	}
	m.Add(stun.AttrXORPeerAddress, value)
	return nil
}

func number(n uint16) attribute {
	return attribute{stun.AttrChannelNumber, append(binary.BigEndian.AppendUint16(nil, n), 0, 0)}
}

func (r *raw) send(class stun.MessageClass, method stun.Method, setters ...stun.Setter) *stun.Message {
	r.t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.NewType(method, class)}, setters...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.conn.Write(m.Raw); err != nil {
		r.t.Fatal(err)
	}
	return m
}

// ask sends a request without credentials and returns the answer.
func (r *raw) ask(method stun.Method, setters ...stun.Setter) *stun.Message {
	r.t.Helper()
	asked := r.send(stun.ClassRequest, method, setters...)
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_ = r.conn.SetReadDeadline(end)
		n, err := r.conn.Read(buf)
		if err != nil {
			break
		}
		answer := &stun.Message{Raw: slices.Clone(buf[:n])}
		if answer.Decode() == nil && answer.TransactionID == asked.TransactionID {
			return answer
		}
	}
	r.t.Fatalf("no answer to %v", method)
	return nil
}

// askAs sends it with credentials.
func (r *raw) askAs(method stun.Method, setters ...stun.Setter) *stun.Message {
	r.t.Helper()
	return r.ask(method, append(slices.Clone(setters), r.who...)...)
}

func code(m *stun.Message) int {
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return 0
	}
	return int(e.Code)
}

// silent fails when a packet comes to a socket while do is done and a moment after, which the sign ends.
func silent(t *testing.T, conn net.Conn, what string, until func() bool) {
	t.Helper()
	eventually(t, "what was sent was looked at", until)
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 2048)
	if n, err := conn.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s got %q, %v", what, buf[:n], err)
	}
}

func TestPermissionsForNobodyElse(t *testing.T) {
	w := start(t, nil)
	r, _ := w.allocated(t, mine)
	own := addrPort(w.streamer[mine].LocalAddr())
	for _, text := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.2", "0.0.0.0", "255.255.255.255", "224.0.0.1", "8.8.8.8",
		"::1", "::", "fe80::1", "fd00::1", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
	} {
		t.Run(text, func(t *testing.T) {
			before := w.refusals(refusedPeer)
			for name, answer := range map[string]*stun.Message{
				"permission": r.askAs(stun.MethodCreatePermission, toPeer(netip.AddrPortFrom(netip.MustParseAddr(text), own.Port()))),
				"channel":    r.askAs(stun.MethodChannelBind, number(0x4001), toPeer(netip.AddrPortFrom(netip.MustParseAddr(text), own.Port()))),
			} {
				if answer.Type.Class != stun.ClassErrorResponse {
					t.Errorf("a %s was granted: %v", name, answer)
				}
			}
			if got := w.refusals(refusedPeer) - before; got != 2 {
				t.Errorf("%v refusals were counted, want 2", got)
			}
		})
	}
	// One bad address among good ones spoils the whole request.
	both := r.askAs(stun.MethodCreatePermission, toPeer(own), toPeer(netip.MustParseAddrPort("10.0.0.1:1")))
	if both.Type.Class != stun.ClassErrorResponse {
		t.Errorf("a private address was granted beside the streamer's: %v", both)
	}
}

func TestOtherPortsOfTheHost(t *testing.T) {
	w := start(t, nil)
	r, relayed := w.allocated(t, mine)
	own := addrPort(w.streamer[mine].LocalAddr())
	service, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	for name, peer := range map[string]netip.AddrPort{
		"a service of the host": addrPort(service.LocalAddr()),
		"another session":       addrPort(w.streamer[theirs].LocalAddr()),
		"itself":                addrPort(relayed), "port 0": netip.AddrPortFrom(own.Addr(), 0),
	} {
		if peer.Port() == own.Port()+1 {
			continue // see TestNextPortCarriesNothing
		}
		for _, mapped := range []netip.AddrPort{peer, netip.AddrPortFrom(netip.AddrFrom16(peer.Addr().As16()), peer.Port())} {
			if answer := r.askAs(stun.MethodChannelBind, number(0x4001), toPeer(mapped)); answer.Type.Class != stun.ClassErrorResponse {
				t.Errorf("a channel to %s (%v) was granted: %v", name, mapped, answer)
			}
		}
	}
	// A permission is for the address alone (RFC 8656, 10), but no packet gets to another port of it.
	if answer := r.askAs(stun.MethodCreatePermission, toPeer(addrPort(service.LocalAddr()))); answer.Type.Class != stun.ClassSuccessResponse {
		t.Fatalf("no permission for the streamers' address: %v", answer)
	}
	before := w.refusals(refusedPeer)
	r.send(stun.ClassIndication, stun.MethodSend, toPeer(addrPort(service.LocalAddr())), attribute{stun.AttrData, []byte("let me in")})
	silent(t, service, "the service", func() bool { return w.refusals(refusedPeer) == before+1 })
	// Nor does one come from there.
	if _, err := service.WriteTo([]byte("let me out"), relayed); err != nil {
		t.Fatal(err)
	}
	silent(t, r.conn, "the client", func() bool { return true })
}

// coturn's client binds a channel to the port after its peer's. It may, but nothing goes there: it can be
// another session's.
func TestNextPortCarriesNothing(t *testing.T) {
	w := start(t, nil)
	var next *net.UDPConn
	for next == nil { // ends: half of all ports are free
		w.streamer[mine] = echo(t)
		at := w.streamer[mine].LocalAddr().(*net.UDPAddr)
		next, _ = net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port + 1})
		w.sessions.set(mine, "connected", uint16(at.Port))
	}
	defer next.Close()
	r, _ := w.allocated(t, mine)
	if answer := r.askAs(stun.MethodChannelBind, number(0x4001), toPeer(addrPort(next.LocalAddr()))); answer.Type.Class != stun.ClassSuccessResponse {
		t.Fatalf("%v", answer)
	}
	before := w.refusals(refusedChannel)
	if _, err := r.conn.Write([]byte{0x40, 0x01, 0, 4, 'e', 'v', 'i', 'l'}); err != nil {
		t.Fatal(err)
	}
	silent(t, next, "the next port", func() bool { return w.refusals(refusedChannel) == before+1 })
}

func TestAnothersAllocation(t *testing.T) {
	w := start(t, nil)
	r, _ := w.allocated(t, mine)
	r.be(w, theirs, r.nonce)
	for _, method := range []stun.Method{stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		answer := r.askAs(method, number(0x4001), toPeer(addrPort(w.streamer[theirs].LocalAddr())))
		if answer.Type.Class != stun.ClassErrorResponse {
			t.Errorf("%v was granted with another session's credentials: %v", method, answer)
		}
	}
}

func TestReplayedNonce(t *testing.T) {
	w := start(t, nil)
	other := start(t, nil)
	r := w.newRaw(t, mine)
	for name, nonce := range map[string]stun.Nonce{
		"of another relay, or of before a restart": other.newRaw(t, mine).nonce, "made up": stun.NewNonce("0123456789abcdef"), "empty": stun.NewNonce(""),
		"long": stun.NewNonce(string(bytes.Repeat([]byte("z"), 700))),
	} {
		r.be(w, mine, nonce)
		answer := r.askAs(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport})
		if code(answer) != int(stun.CodeStaleNonce) {
			t.Errorf("a nonce %s: the answer is %v, want 438", name, answer)
		}
	}
	if n := w.ledger.count(); n != 0 {
		t.Errorf("%d allocations were made", n)
	}
}

func TestFloodOfAllocations(t *testing.T) {
	w := start(t, func(o *Options) { o.SessionAllocations = 5 })
	granted, refused := 0, 0
	for range 40 {
		r := w.newRaw(t, mine)
		switch answer := r.askAs(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport}); code(answer) {
		case 0:
			granted++
		case int(stun.CodeAllocQuotaReached):
			refused++
		default:
			t.Errorf("%v", answer)
		}
	}
	if granted != 5 || refused != 35 {
		t.Errorf("%d were granted and %d refused, want 5 and 35", granted, refused)
	}
}

// A page that was reloaded often has left allocations behind; the next one must not be locked out by them.
func TestAbandonedAllocationsMakeRoom(t *testing.T) {
	w := start(t, func(o *Options) { o.SessionAllocations = 2 })
	old, _ := w.allocated(t, mine)
	w.allocated(t, mine)
	w.ledger.mu.Lock()
	for a := range w.ledger.accounts[mine].open {
		if a.client == addrPort(old.conn.LocalAddr()) {
			a.used.Store(time.Now().Add(-abandoned - time.Second).UnixNano())
		}
	}
	w.ledger.mu.Unlock()
	w.allocated(t, mine)
	if answer := old.askAs(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport}); code(answer) != int(stun.CodeAllocQuotaReached) {
		t.Errorf("the abandoned one was not the one that made room: %v", answer)
	}
}

func TestGarbage(t *testing.T) {
	w := start(t, nil)
	conn, err := net.Dial("udp", w.streams[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, 2))
	whole, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		t.Fatal(err)
	}
	for size := range 1500 {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		if size%3 == 0 && size >= stunHeader { // looks like STUN
			copy(p, whole.Raw)
			binary.BigEndian.PutUint16(p[2:], uint16(size-stunHeader))
		}
		if _, err := conn.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	huge := make([]byte, 8000)
	copy(huge, whole.Raw)
	binary.BigEndian.PutUint16(huge[2:], uint16(len(huge)-stunHeader))
	for range 10 {
		if _, err := conn.Write(huge); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "garbage is counted", func() bool { return w.refusals(refusedGarbage) > 100 })
	echoes(t, allocate(t, w.known(t, "udp", mine)), w.streamer[mine].LocalAddr(), "still there")
}

// A flood of requests from strangers is not answered at any price, and who has an allocation does not feel it.
func TestFloodOfRequests(t *testing.T) {
	w := start(t, nil)
	conn := allocate(t, w.known(t, "udp", mine))
	echoes(t, conn, w.streamer[mine].LocalAddr(), "before")
	stranger, err := net.Dial("udp", w.streams[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	request, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); w.refusals(refusedFlood) == 0; {
		if time.Now().After(end) {
			t.Fatal("every request is answered")
		}
		for range 1000 {
			if _, err := stranger.Write(request.Raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	echoesAtLast(t, conn, w.streamer[mine].LocalAddr(), "meanwhile")
}

// echoesAtLast is echoes on a way that may lose packets: a flood fills the socket's buffer, which others share.
func echoesAtLast(t *testing.T, conn net.PacketConn, peer net.Addr, text string) {
	t.Helper()
	buf := make([]byte, 4096)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := conn.WriteTo([]byte(text), peer); err != nil {
			t.Fatalf("send %q: %v", text, err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience / 20))
		n, from, err := conn.ReadFrom(buf)
		if err == nil && string(buf[:n]) == text && from.String() == peer.String() {
			return
		}
		if timeout := net.Error(nil); err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			t.Fatalf("sent %q, got %v", text, err)
		}
	}
	t.Fatalf("%q never came back from %v", text, peer)
}

// closedWithin fails unless the relay closes a connection.
func closedWithin(t *testing.T, conn net.Conn, limit time.Duration) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(limit))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open after %v", limit)
	}
}

func TestConnectionsThatSayNothing(t *testing.T) {
	w := start(t, func(o *Options) {
		o.TLSListen, o.TLS, o.Patience = []string{"127.0.0.1:0"}, selfSigned(t), 200*time.Millisecond
	})
	for name, c := range map[string]struct {
		listener int
		say      []byte
	}{
		"half open":               {0, nil},
		"half open, TLS":          {1, nil},
		"half a TLS hello":        {1, []byte{22, 3, 1, 2, 0, 1, 0}},
		"no TLS":                  {1, []byte("GET / HTTP/1.1\r\n\r\n")},
		"half a message":          {0, []byte{0, 1, 1, 0, 0x21, 0x12, 0xa4, 0x42}},
		"HTTP":                    {0, []byte("GET / HTTP/1.1\r\n\r\n")},
		"a message too long":      {0, []byte{0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42}},
		"ChannelData too long":    {0, []byte{0x40, 1, 0xff, 0xfc, 1, 2, 3, 4, 5}}, // pion/turn's own framing loops on it for ever
		"no allocation":           {0, []byte{0x40, 1, 0, 4, 1, 2, 3, 4}},
		"an unknown kind of STUN": {0, append([]byte{0xc0, 0, 0, 0}, make([]byte, 16)...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", w.streams[c.listener].Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(c.say); err != nil {
				t.Fatal(err)
			}
			closedWithin(t, conn, patience)
		})
	}
}

// Bytes that keep coming do not keep a connection whose message never ends.
func TestSlowMessage(t *testing.T) {
	w := start(t, func(o *Options) { o.Patience = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", w.streams[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	message := append([]byte{0, 1, 1, 0xe0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 500)...)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); ; <-ticker.C {
		if time.Now().After(end) {
			t.Fatal("the connection is open")
		}
		if _, err := conn.Write(message[:1]); err != nil {
			return // closed
		}
		message = message[1:]
	}
}

// A connection that has its allocation may be silent for longer.
func TestQuietConnectionIsKept(t *testing.T) {
	w := start(t, func(o *Options) { o.Patience = 100 * time.Millisecond })
	conn := allocate(t, w.known(t, "tcp", mine))
	kept := time.NewTimer(400 * time.Millisecond)
	defer kept.Stop()
	<-kept.C
	echoes(t, conn, w.streamer[mine].LocalAddr(), "still there")
}

func TestTooManyConnections(t *testing.T) {
	w := start(t, nil)
	var all []net.Conn
	defer func() {
		for _, c := range all {
			_ = c.Close()
		}
	}()
	for range maxStrangersEach + 5 {
		c, err := net.Dial("tcp", w.streams[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	eventually(t, "the rest are refused", func() bool { return w.refusals(refusedConnection) == 5 })
	for _, c := range all {
		_ = c.Close()
	}
	eventually(t, "their places come free", func() bool {
		w.strangers.mu.Lock()
		defer w.strangers.mu.Unlock()
		return w.strangers.all == 0 && len(w.strangers.each) == 0
	})
	echoes(t, allocate(t, w.known(t, "tcp", mine)), w.streamer[mine].LocalAddr(), "welcome")
}

// A client that takes nothing holds up itself alone, and the session's end ends it.
func TestClientThatReadsNothing(t *testing.T) {
	w := start(t, func(o *Options) { o.TLSListen, o.TLS = []string{"127.0.0.1:0"}, selfSigned(t) })
	c, err := tls.Dial("tcp", w.streams[1].Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := &raw{t: t, conn: c}
	if err := r.nonce.GetFrom(r.ask(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport})); err != nil {
		t.Fatal(err)
	}
	r.be(w, mine, r.nonce)
	r.askAs(stun.MethodAllocate, attribute{stun.AttrRequestedTransport, udpTransport})
	r.askAs(stun.MethodChannelBind, number(0x4001), toPeer(addrPort(w.streamer[mine].LocalAddr())))
	packet := append([]byte{0x40, 1, 5, 0}, make([]byte, 1280)...)
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	for range 8000 { // the streamer sends it all back
		if _, err := c.Write(packet); err != nil {
			break // nobody takes it any more
		}
	}
	echoes(t, allocate(t, w.known(t, "tls", theirs)), w.streamer[theirs].LocalAddr(), "not held up")
	w.sessions.set(mine, "stopped", 1)
	eventually(t, "the silent client's allocation is gone", func() bool { return w.ledger.count() == 1 })
}

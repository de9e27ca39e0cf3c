package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/session"
	"easel/pkg/pionlog"
)

const patience = 5 * time.Second

// sessions is a node's sessions, as far as the relay looks at them.
type sessions struct {
	mu      sync.Mutex
	all     map[string]session.Session
	changed chan struct{}
}

func (s *sessions) set(id string, state session.State, port uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[id] = session.Session{Record: session.Record{ID: id, State: state, UDPPort: port}}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *sessions) Await(ctx context.Context, id string, unlike session.State) (session.Session, error) {
	for {
		s.mu.Lock()
		found, ok := s.all[id]
		changed := s.changed
		s.mu.Unlock()
		if !ok {
			return found, session.ErrNotFound
		}
		if found.State != unlike {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, nil
		}
	}
}

// Ids of sessions that the tests' node has.
const (
	mine   = "saaaaaaaaaaaaaaaa"
	theirs = "sbbbbbbbbbbbbbbbb"
	nobody = "scccccccccccccccc"
)

// bench is a relay that runs, and streamers of two sessions that echo.
type world struct {
	*Relay
	sessions *sessions
	streamer map[string]*net.UDPConn
}

func start(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{sessions: &sessions{all: map[string]session.Session{}, changed: make(chan struct{})}, streamer: map[string]*net.UDPConn{}}
	for _, id := range []string{mine, theirs} {
		w.streamer[id] = echo(t)
		w.sessions.set(id, session.Ready, addrPort(w.streamer[id].LocalAddr()).Port())
	}
	o := Options{
		Listen: []string{"127.0.0.1:0"}, Public: "127.0.0.1",
		Media: netip.MustParseAddr("127.0.0.1"), First: 20000, Last: 29999,
		Quotas: Quotas{Allocations: 100, SessionAllocations: 10, Bandwidth: 1 << 30, SessionBandwidth: 1 << 30},
		Secret: []byte(strings.Repeat("k", secretSize)), Sessions: w.sessions,
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Relay = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the relay does not end")
		}
		if n := r.ledger.count(); n != 0 {
			t.Errorf("%d allocations are left", n)
		}
	})
	eventually(t, "the relay serves", func() bool {
		r.ledger.mu.Lock()
		defer r.ledger.mu.Unlock()
		return r.ledger.ctx != nil
	})
	return w
}

// eventually waits for what nothing tells of.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// echo is a streamer that sends back what it gets.
func echo(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c
}

// dial connects to the relay by one of the transports.
func (w *world) dial(t *testing.T, transport string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	switch transport {
	case "udp":
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn = c
	case "tcp":
		c, err := net.Dial("tcp", w.streams[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(c)
	case "tls":
		c, err := tls.Dial("tcp", w.streams[w.plain].Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		conn = turn.NewSTUNConn(c)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// client speaks TURN with the credentials of a session.
func (w *world) client(t *testing.T, transport, name, password string) *turn.Client {
	t.Helper()
	c, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: w.streams[0].Addr().String(), Conn: w.dial(t, transport), Username: name, Password: password, Realm: Realm,
		LoggerFactory: pionlog.Factory{Log: w.Log},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) known(t *testing.T, transport, id string) *turn.Client {
	t.Helper()
	s := w.Servers(id)[0]
	return w.client(t, transport, s.Username, s.Credential)
}

func allocate(t *testing.T, c *turn.Client) net.PacketConn {
	t.Helper()
	conn, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// echoes sends a packet to a peer and waits until it is back.
func echoes(t *testing.T, conn net.PacketConn, peer net.Addr, text string) {
	t.Helper()
	if _, err := conn.WriteTo([]byte(text), peer); err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	buf := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, from, err := conn.ReadFrom(buf)
	if err != nil || string(buf[:n]) != text || from.String() != peer.String() {
		t.Fatalf("sent %.40q to %v, got %.40q from %v, %v", text, peer, buf[:n], from, err)
	}
}

func (w *world) refusals(reason string) float64 {
	return w.metric("easel_relay_refusals_total", reason)
}

// metric reads what a scraper would.
func (w *world) metric(name, label string) float64 {
	families, err := w.Registry.(*prometheus.Registry).Gather()
	if err != nil {
		w.Log.Error("gather", "error", err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestRelays(t *testing.T) {
	w := start(t, func(o *Options) {
		o.TLSListen, o.TLS = []string{"127.0.0.1:0"}, selfSigned(t)
	})
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			conn := allocate(t, w.known(t, transport, mine))
			peer := w.streamer[mine].LocalAddr()
			echoes(t, conn, peer, "before a channel is bound")
			eventually(t, "the client binds a channel", func() bool { return w.channels() > 0 })
			down := w.metric("easel_relay_packets_total", "down")
			for _, text := range []string{"seven b", "an odd size", strings.Repeat("long", 300)} {
				echoes(t, conn, peer, text)
			}
			eventually(t, "three packets are counted", func() bool { return w.metric("easel_relay_packets_total", "down")-down >= 3 })
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the allocation is gone", func() bool { return w.ledger.count() == 0 })
		})
	}
}

func TestClientByIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this host has no IPv6: %v", err)
	}
	_ = l.Close()
	w := start(t, func(o *Options) { o.Listen = []string{"[::1]:0"} })
	r, _ := w.allocated(t, mine)
	if answer := r.askAs(stun.MethodChannelBind, number(0x4001), toPeer(addrPort(w.streamer[mine].LocalAddr()))); code(answer) != 0 {
		t.Fatal(answer)
	}
	sent := []byte{0x40, 0x01, 0, 5, 'h', 'e', 'l', 'l', 'o'}
	if _, err := r.conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := r.conn.Read(buf); err != nil || !bytes.Equal(buf[:n], sent) {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

// channels is how many allocations have one.
func (w *world) channels() (n int) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for _, own := range w.ledger.accounts {
		for a := range own.open {
			if a.channel.Load() != 0 {
				n++
			}
		}
	}
	return n
}

func TestEndedSession(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			w := start(t, nil)
			client := w.known(t, transport, mine)
			conn := allocate(t, client)
			other := allocate(t, w.known(t, transport, theirs))
			echoes(t, conn, w.streamer[mine].LocalAddr(), "alive")
			w.sessions.set(mine, session.Stopping, 1)
			eventually(t, "its allocation is closed", func() bool { return w.ledger.count() == 1 })
			echoes(t, other, w.streamer[theirs].LocalAddr(), "the other session's is not")
			if _, err := w.known(t, transport, mine).Allocate(); err == nil {
				t.Error("the credentials of a session that ended are good")
			}
			if w.refusals(refusedSession) == 0 {
				t.Error("the refusal was not counted")
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	w := start(t, nil)
	good := w.Servers(mine)[0]
	until := time.Now().Add(credentialLife)
	for name, c := range map[string]struct{ username, password, reason string }{
		"forged password":     {good.Username, strings.Repeat("A", len(good.Credential)), refusedCredential},
		"another's password":  {username(theirs, until), good.Credential, refusedCredential},
		"later expiry":        {username(mine, until.Add(time.Hour)), good.Credential, refusedCredential},
		"expired":             {username(mine, time.Now().Add(-time.Second)), w.password(username(mine, time.Now().Add(-time.Second))), refusedExpired},
		"no such session":     {username(nobody, until), w.password(username(nobody, until)), refusedSession},
		"no session's name":   {"admin", w.password("admin"), refusedCredential},
		"a path for an id":    {"1999999999:../../etc", w.password("1999999999:../../etc"), refusedCredential},
		"an expiry with sign": {"+1999999999:" + mine, w.password("+1999999999:" + mine), refusedCredential},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.refusals(c.reason)
			if _, err := w.client(t, "udp", c.username, c.password).Allocate(); err == nil {
				t.Error("they are good")
			}
			if got := w.refusals(c.reason) - before; got != 1 {
				t.Errorf("%v refusals were counted as %q, want 1", got, c.reason)
			}
		})
	}
	if n := w.ledger.count(); n != 0 {
		t.Errorf("%d allocations are open", n)
	}
}

// An allocation may be kept beyond the time in which one may be opened, or long sessions would freeze.
func TestExpiredCredentialsKeepAnAllocation(t *testing.T) {
	w := start(t, nil)
	name := username(mine, time.Now().Add(time.Second))
	conn := allocate(t, w.client(t, "udp", name, w.password(name)))
	eventually(t, "the credential expires", func() bool {
		_, until, _ := parseUsername(name)
		return time.Now().After(until)
	})
	if _, err := w.client(t, "udp", name, w.password(name)).Allocate(); err == nil {
		t.Error("a second allocation was opened with it")
	}
	// The first packet to a peer asks for a permission, which is checked as a refresh is.
	echoes(t, conn, w.streamer[mine].LocalAddr(), "still there")
}

func TestQuotas(t *testing.T) {
	w := start(t, func(o *Options) { o.SessionAllocations, o.Allocations = 2, 3 })
	for range 2 {
		allocate(t, w.known(t, "udp", mine))
	}
	if _, err := w.known(t, "udp", mine).Allocate(); err == nil {
		t.Error("a session has more allocations than it may")
	}
	kept := allocate(t, w.known(t, "udp", theirs))
	if _, err := w.known(t, "udp", theirs).Allocate(); err == nil {
		t.Error("the relay has more allocations than it may")
	}
	if w.refusals(refusedQuota) != 2 {
		t.Errorf("%v refusals were counted, want 2", w.refusals(refusedQuota))
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an allocation is given back", func() bool { return w.ledger.count() == 2 })
	allocate(t, w.known(t, "udp", theirs))
}

// TestQuotasChangeWhileItRuns: what is open stays, and the next one meets the new bound.
func TestQuotasChangeWhileItRuns(t *testing.T) {
	w := start(t, func(o *Options) { o.SessionAllocations = 1 })
	kept := allocate(t, w.known(t, "udp", mine))
	if _, err := w.known(t, "udp", mine).Allocate(); err == nil {
		t.Fatal("a session has more allocations than it may")
	}
	w.Configure(Quotas{Allocations: 100, SessionAllocations: 2, Bandwidth: 1 << 30, SessionBandwidth: 1 << 30})
	allocate(t, w.known(t, "udp", mine))
	w.Configure(Quotas{Allocations: 1, SessionAllocations: 1, Bandwidth: 1 << 30, SessionBandwidth: 1 << 30})
	if _, err := w.known(t, "udp", theirs).Allocate(); err == nil {
		t.Error("the relay has more allocations than it may")
	}
	echoes(t, kept, w.streamer[mine].LocalAddr(), "what is open stays")
	w.Configure(Quotas{Allocations: 1, SessionAllocations: 1, Bandwidth: 1 << 30, SessionBandwidth: 1000})
	for range 100 {
		if _, err := kept.WriteTo([]byte(strings.Repeat("x", 1000)), w.streamer[mine].LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "packets beyond the new share are dropped", func() bool { return w.refusals(refusedBandwidth) > 50 })
}

func TestBandwidth(t *testing.T) {
	w := start(t, func(o *Options) { o.SessionBandwidth = 100 << 10 })
	conn := allocate(t, w.known(t, "udp", mine))
	packet := []byte(strings.Repeat("x", 1000))
	for range 500 {
		if _, err := conn.WriteTo(packet, w.streamer[mine].LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "packets beyond the session's share are dropped", func() bool { return w.refusals(refusedBandwidth) > 300 })
	echoes(t, allocate(t, w.known(t, "udp", theirs)), w.streamer[theirs].LocalAddr(), "another session has its own")
}

// A restart makes another generation, but leaves credentials good where the secret was kept.
func TestRestart(t *testing.T) {
	w := start(t, nil)
	old := w.Servers(mine)[0]
	next := start(t, nil)
	if w.Generation() == next.Generation() {
		t.Error("two relays have one generation")
	}
	next.sessions.set(mine, session.Connected, addrPort(next.streamer[mine].LocalAddr()).Port())
	echoes(t, allocate(t, next.client(t, "udp", old.Username, old.Credential)), next.streamer[mine].LocalAddr(), "good as before")
}

func TestServersNamesEveryTransport(t *testing.T) {
	w := start(t, func(o *Options) {
		o.TLSListen, o.TLS, o.Public = []string{"127.0.0.1:0"}, selfSigned(t), "2001:db8::1"
	})
	plain, secure := port(w.streams[0].Addr()), port(w.streams[1].Addr())
	want := []string{"turn:[2001:db8::1]:" + plain + "?transport=udp", "turn:[2001:db8::1]:" + plain + "?transport=tcp", "turns:[2001:db8::1]:" + secure + "?transport=tcp"}
	if got := w.Servers(mine)[0].URLs; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = New(Options{Listen: []string{l.Addr().String()}, Registry: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "relay.listen") {
		t.Errorf("the error is %v, want one that says what to try", err)
	}
	if errors.Is(err, net.ErrClosed) {
		t.Error("the wrong error")
	}
}

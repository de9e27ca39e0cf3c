// Package relay is the node's TURN and STUN server: the way to a session for viewers whose network lets no
// direct stream through. pion/turn speaks the protocol; around it this package decides who may use it, and
// carries the packets of bound channels itself, many a system call, past pion.
//
// An allocation belongs to a session and its socket is connected to that session's streamer, so the kernel
// itself lets nothing else in or out: the relay is no door to the host or its network.
package relay

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"easel/noded/session"
	"easel/pkg/mmsg"
)

// Sessions is what the relay asks of the node's sessions.
type Sessions interface {
	// Await returns the session once its state differs from unlike, or as it is when ctx ends.
	Await(ctx context.Context, id string, unlike session.State) (session.Session, error)
}

// Options is what a Relay is made of.
type Options struct {
	Listen    []string    // UDP and TCP, "address:port"
	TLSListen []string    // TCP with TLS
	TLS       *tls.Config // for TLSListen
	Public    string      // the host at which browsers reach those

	Media       netip.Addr // where streamers listen, and allocations' sockets are bound
	First, Last uint16     // those sockets' ports

	Quotas // may be changed by Configure

	// Patience is how long a connection may be without an allocation, and in the middle of a handshake or message; 0 is ten seconds.
	Patience time.Duration

	Secret   []byte
	Sessions Sessions
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// Relay is the server. New opens its sockets, Run serves on them.
type Relay struct {
	Options
	generation string
	ledger     *ledger
	metrics    *metrics
	packets    []*net.UDPConn
	streams    []net.Listener // plain ones first
	plain      int
	strangers  *strangers
	nextPort   atomic.Uint32
	all        sync.WaitGroup
}

// ICEServer is an entry of RTCConfiguration.iceServers.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username"`
	Credential string   `json:"credential"`
}

// Quotas bound how much of the node the relay takes.
type Quotas struct {
	Allocations, SessionAllocations int
	Bandwidth, SessionBandwidth     int64 // bytes a second, both directions together
}

// Configure changes the quotas of a relay that runs.
func (r *Relay) Configure(q Quotas) { r.ledger.configure(q) }

// New opens the sockets: one for UDP a core, so that as many readers share the work, and one for TCP.
func New(o Options) (*Relay, error) {
	r := &Relay{Options: o, generation: rand.Text(), strangers: newStrangers(maxStrangers, maxStrangersEach)}
	r.Patience = cmp.Or(r.Patience, strangerPatience)
	r.ledger = newLedger(r)
	if err := r.open(); err != nil {
		r.close()
		return nil, err
	}
	r.metrics = newMetrics(o.Registry, r.ledger.count)
	return r, nil
}

func (r *Relay) open() error {
	for _, address := range r.Listen {
		// First, as it fails where another program has the port; SO_REUSEPORT would share it.
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for the relay on %s: %w; does another program use it? relay.listen sets another, or [] none", address, err)
		}
		r.streams, r.plain = append(r.streams, l), r.plain+1
		address = l.Addr().String() // a test's port 0 became one that UDP must have too
		probe, err := net.ListenPacket("udp", address)
		if err != nil {
			return fmt.Errorf("listen for the relay on %s, UDP: %w; does another program use it? relay.listen sets another, or [] none", address, err)
		}
		_ = probe.Close() // it served nobody
		for range runtime.GOMAXPROCS(0) {
			c, err := listenShared(address)
			if err != nil {
				return fmt.Errorf("listen for the relay on %s, UDP: %w", address, err)
			}
			r.packets = append(r.packets, c)
		}
	}
	for _, address := range r.TLSListen {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for the relay on %s: %w; does another program use it? relay.tls_listen sets another, or [] none", address, err)
		}
		r.streams = append(r.streams, l)
	}
	return nil
}

// socketBytes is the size of the listening sockets' buffers.
const socketBytes = 4 << 20

// listenShared opens one of several sockets of an address; the kernel gives each client to one of them.
func listenShared(address string) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		if err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); err != nil {
			return err
		}
		return set
	}}
	c, err := config.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UDPConn)
	if err := mmsg.Enlarge(conn, socketBytes); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// Run serves until ctx ends, then closes every allocation and waits for all it started.
func (r *Relay) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.ledger.begin(ctx)
	var failed error
	for _, c := range r.packets {
		l, err := newListener(r, c)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		r.all.Go(l.wait)
	}
	for i, l := range r.streams {
		var secure *tls.Config
		if i >= r.plain {
			secure = r.TLS
		}
		r.all.Go(func() { r.accept(ctx, l, secure) })
	}
	if failed == nil {
		<-ctx.Done()
	}
	cancel()
	r.close()
	r.ledger.end()
	r.all.Wait()
	return failed
}

func (r *Relay) close() {
	for _, c := range r.packets {
		_ = c.Close()
	}
	for _, l := range r.streams {
		_ = l.Close()
	}
}

// Generation differs after every start: allocations of another are gone.
func (r *Relay) Generation() string { return r.generation }

// Servers is how a browser reaches the relay for one session, with credentials that die with it.
func (r *Relay) Servers(id string) []ICEServer {
	var urls []string
	for i, l := range r.streams {
		at := net.JoinHostPort(r.Public, port(l.Addr()))
		if i < r.plain {
			urls = append(urls, "turn:"+at+"?transport=udp", "turn:"+at+"?transport=tcp")
		} else {
			urls = append(urls, "turns:"+at+"?transport=tcp")
		}
	}
	name := username(id, time.Now().Add(credentialLife))
	return []ICEServer{{URLs: urls, Username: name, Credential: r.password(name)}}
}

func port(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// quick is for coordinators of one machine.
var quick = timing{
	heartbeat: 150 * time.Millisecond, lease: 100 * time.Millisecond, patience: 10 * time.Second, attend: 20 * time.Millisecond,
	snapshotEvery: time.Hour, snapshotThreshold: 1 << 30, trailing: 1 << 30,
}

// cluster is coordinators in this process, on loopback.
type cluster struct {
	t     testing.TB
	dir   string
	time  timing
	peers []string // addresses of coordinators in other processes

	mu   sync.Mutex
	all  map[string]*coordinator
	cut  map[string]bool // names of those that nobody reaches, and who reach nobody
	mute map[string]bool // likewise, but connections to them do not end: they only say nothing
	open map[net.Conn]string
}

type coordinator struct {
	*Store
	cluster *cluster
	name    string
	addr    string
	server  *http.Server
	done    sync.WaitGroup
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), time: quick, all: map[string]*coordinator{}, cut: map[string]bool{}, open: map[net.Conn]string{}}
	t.Cleanup(func() {
		for _, m := range c.running() {
			m.end()
		}
	})
	return c
}

func (c *cluster) running() []*coordinator {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*coordinator
	for _, m := range c.all {
		all = append(all, m)
	}
	return all
}

func (c *cluster) path(name string) string { return filepath.Join(c.dir, name, "coordinator.db") }

// join starts a coordinator that is to be one of several.
func (c *cluster) join(name string) *coordinator {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := Follow(c.path(name), name); err != nil {
		c.t.Fatal(err)
	}
	return c.start(name)
}

func (c *cluster) start(name string) *coordinator {
	c.t.Helper()
	m, err := c.tryStart(name, "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *cluster) tryStart(name, listen string) (*coordinator, error) {
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	m := &coordinator{cluster: c, name: name, addr: l.Addr().String()}
	m.Store, err = Start(Config{
		Path: c.path(name), Patience: time.Second, Name: name, Address: m.addr, Network: network{c, name}, Seeds: c.addresses,
		Log: slog.New(slog.DiscardHandler), timing: c.time,
	})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	_, handler := m.Handler()
	web := &handed{Listener: l, conns: make(chan net.Conn), closed: make(chan struct{})}
	m.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, r.Header.Get("Peer"))))
	})}
	m.done.Go(func() { m.accept(l, web) })
	m.done.Go(func() { _ = m.server.Serve(web) })
	c.mu.Lock()
	c.all[name] = m
	c.mu.Unlock()
	return m, nil
}

func (c *cluster) addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.peers)
	for _, m := range c.all {
		all = append(all, m.addr)
	}
	return all
}

// accept tells raft's connections, which begin with a byte of their own, from HTTP.
func (m *coordinator) accept(l net.Listener, web *handed) {
	defer close(web.closed)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.done.Go(func() {
			r := bufio.NewReader(conn)
			first, err := r.Peek(1)
			if err != nil {
				_ = conn.Close()
				return
			}
			c := &bufferedConn{conn, r}
			if first[0] == 0xff {
				_, _ = r.Discard(1)
				m.ServeRaft(c)
				return
			}
			select {
			case web.conns <- c:
			case <-web.closed:
				_ = conn.Close()
			}
		})
	}
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

type handed struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

type peerKey struct{}

// network is the way of one coordinator to the others.
type network struct {
	c    *cluster
	from string
}

func (n network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	to := ""
	for _, m := range n.c.all {
		if m.addr == addr {
			to = m.name
		}
	}
	if n.c.cut[n.from] || n.c.cut[to] {
		return nil, errors.New("cut off")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	n.c.open[conn] = n.from + " " + to
	return &mutedConn{Conn: conn, mute: func() bool {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		return n.c.mute[n.from] || n.c.mute[to]
	}}, nil
}

// mutedConn passes nothing on while it is mute, as a network that drops packets.
type mutedConn struct {
	net.Conn
	mute     func() bool
	closed   atomic.Bool
	deadline atomic.Pointer[time.Time]
}

func (c *mutedConn) wait() error {
	for c.mute() {
		if c.closed.Load() {
			return net.ErrClosed
		}
		if d := c.deadline.Load(); d != nil && !d.IsZero() && time.Now().After(*d) {
			return os.ErrDeadlineExceeded
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func (c *mutedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if muted := c.wait(); muted != nil {
		return 0, muted
	}
	return n, err
}

func (c *mutedConn) Write(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *mutedConn) SetDeadline(t time.Time) error {
	c.deadline.Store(&t)
	return c.Conn.SetDeadline(t)
}

func (c *mutedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// silence makes coordinators mute, and heals all others.
func (c *cluster) silence(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = map[string]bool{}
	for _, name := range names {
		c.mute[name] = true
	}
}

func (n network) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := n.dial(ctx, addr)
	if err == nil {
		_, err = conn.Write([]byte{0xff})
	}
	return conn, err
}

func (n network) Client() *http.Client {
	return &http.Client{Transport: headed{n.from, &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext:    func(ctx context.Context, _, addr string) (net.Conn, error) { return n.dial(ctx, addr) },
	}}}
}

type headed struct {
	from string
	next http.RoundTripper
}

func (h headed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Peer", h.from)
	return h.next.RoundTrip(r)
}

func (network) Peer(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}

// isolate cuts coordinators off, and heals all others.
func (c *cluster) isolate(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.cut)
	for _, name := range names {
		c.cut[name] = true
	}
	for conn, between := range c.open {
		for _, name := range names {
			var from, to string
			_, _ = fmt.Sscan(between, &from, &to)
			if from == name || to == name {
				_ = conn.Close()
				delete(c.open, conn)
			}
		}
	}
}

// end stops a coordinator as the daemon does.
func (m *coordinator) end() {
	m.cluster.mu.Lock()
	delete(m.cluster.all, m.name)
	m.cluster.mu.Unlock()
	if err := m.Close(); err != nil {
		m.cluster.t.Errorf("close %s: %v", m.name, err)
	}
	_ = m.server.Close()
	m.done.Wait()
}

// leader waits until one of them leads and returns it.
func (c *cluster) leader() *coordinator {
	c.t.Helper()
	var found *coordinator
	c.until("a leader", func() bool {
		for _, m := range c.running() {
			if m.replica.Load() != nil && m.Leader() {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// voters waits until the coordinators agree that so many have a vote.
func (c *cluster) voters(n int) {
	c.t.Helper()
	c.until(fmt.Sprintf("%d voters", n), func() bool {
		for _, m := range c.running() {
			if r := m.replica.Load(); r == nil || r.voters() != n {
				return false
			}
		}
		return true
	})
}

// three starts a coordinator that is alone and two that join it.
func three(t testing.TB) (*cluster, []*coordinator) {
	c := newCluster(t)
	all := []*coordinator{c.start("a"), c.join("b"), c.join("c")}
	c.voters(3)
	return c, all
}

// add counts key up.
func add(ctx context.Context, s *Store, key string) error {
	return s.Update(ctx, func(tx Tx) error {
		n, _ := strconv.Atoi(string(tx.Get("counters", key)))
		tx.Put("counters", key, []byte(strconv.Itoa(n+1)))
		return nil
	})
}

func count(t testing.TB, s *Store, key string) (n int) {
	t.Helper()
	err := s.View(func(tx Tx) error {
		n, _ = strconv.Atoi(string(tx.Get("counters", key)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// latest is count on a state that is up to date.
func latest(t testing.TB, s *Store, key string) int {
	t.Helper()
	if err := s.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	return count(t, s, key)
}

// forget removes a coordinator's files.
func (c *cluster) forget(name string) {
	c.t.Helper()
	if err := os.RemoveAll(filepath.Dir(c.path(name))); err != nil {
		c.t.Fatal(err)
	}
}

package session

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"easel/pkg/failpoint"
)

// node is one life of noded on a host.
type node struct {
	*Manager
	t      *testing.T
	db     *bbolt.DB
	points *failpoint.Set
	killed chan struct{} // closed when a failpoint killed this life
	cut    context.CancelFunc
	ended  chan struct{}
}

func start(t *testing.T, h *host, spec string, change func(*Options)) *node {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(h.run, "noded.db"), 0o600, &bbolt.Options{Timeout: 10 * time.Second, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() && os.Getenv("SESSION_LOG") != "" {
		log = slog.Default()
	}
	store, err := NewStore(db, log)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, db: db, points: failpoint.New(Failpoints()), killed: make(chan struct{}), ended: make(chan struct{})}
	ctx, cut := context.WithCancel(context.Background())
	n.cut = cut
	var once sync.Once
	n.points.OnKill(func() {
		once.Do(func() { close(n.killed); cut() })
		runtime.Goexit()
	})
	if err := n.points.Arm(spec); err != nil {
		t.Fatal(err)
	}
	o := Options{
		Name: "n1", Version: "test", RunDir: h.run, Cgroup: "/easel", Image: "easel.local/gimp:trixie", Boot: "this boot",
		Admission: Admission{Max: 3, Limits: Limits{Memory: 2 << 30, CPUs: 2, PIDs: 100}, UIDBase: 10_000_000, PortFirst: 50000, PortLast: 50009, DiskFloor: 1 << 30},
		Grace:     time.Minute, StartTimeout: 30 * time.Second, Media: []string{"127.0.0.1"}, LogLevel: "info",
		Store: store, Containers: h, Workers: h, Homes: h, GPUs: h, Encoders: &h.encoders, Streamers: h, Host: h, Points: n.points,
		Metrics: NewMetrics(prometheus.NewRegistry()), Log: log,
	}
	if change != nil {
		change(&o)
	}
	n.Manager = New(o)
	go func() {
		defer close(n.ended)
		if err := n.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	t.Cleanup(n.stop)
	return n
}

// stop ends this life of noded and leaves the sessions as they are.
func (n *node) stop() {
	n.cut()
	<-n.ended
	if err := n.db.Close(); err != nil {
		n.t.Errorf("close the store: %v", err)
	}
}

func (n *node) reserve(user, key string) (Session, bool) {
	n.t.Helper()
	s, created, err := n.Reserve(context.Background(), Request{User: user, Key: key})
	if err != nil {
		n.t.Fatal(err)
	}
	return s, created
}

// until waits for a session to be as it should; false when this life was killed first.
func (n *node) until(id, what string, is func(Session) bool) bool {
	n.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		heard := n.bell.heard()
		s, err := n.Get(id)
		if err == nil && is(s) {
			return true
		}
		select {
		case <-heard:
		case <-n.killed:
			<-n.ended
			return false
		case <-time.After(200 * time.Millisecond):
		case <-timeout:
			n.t.Fatalf("session %s never became %s: it is %q (%s), steps %v, %v", id, what, s.State, s.Reason, s.Steps, err)
		}
	}
}

func (n *node) untilState(id string, state State) bool {
	n.t.Helper()
	return n.until(id, string(state), func(s Session) bool { return s.State == state })
}

func (n *node) untilReleased(id string) bool {
	n.t.Helper()
	return n.until(id, "released", func(s Session) bool { return !s.holds() })
}

func (n *node) expectNothingLeft(h *host) {
	n.t.Helper()
	if left := h.leftovers(); len(left) > 0 {
		n.t.Fatalf("left on the host: %v", left)
	}
	all, err := n.store.List()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, s := range all {
		if s.holds() || len(s.Steps) > 0 {
			n.t.Fatalf("session %s still holds %v", s.ID, s.Steps)
		}
	}
}

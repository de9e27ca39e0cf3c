package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/coordinator/state"
	"easel/pkg/cluster"
	"easel/pkg/identity/identitytest"
)

// town is several coordinators' way to each other, within this process.
type town struct {
	mu     sync.Mutex
	stores map[string]*state.Store // by address
}

type peerKey struct{}

// street is one coordinator's.
type street struct {
	*town
	name string
}

func (s street) of(addr string) *state.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stores[addr]
}

func (s street) Dial(_ context.Context, addr string) (net.Conn, error) {
	to := s.of(addr)
	if to == nil {
		return nil, errors.New("nobody is there")
	}
	ours, theirs := net.Pipe()
	go to.ServeRaft(theirs) // ends with the connection
	return ours, nil
}

func (s street) Client() *http.Client { return &http.Client{Transport: s} }

func (s street) RoundTrip(r *http.Request) (*http.Response, error) {
	to := s.of(r.URL.Host)
	if to == nil {
		return nil, errors.New("nobody is there")
	}
	_, handler := to.Handler()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), peerKey{}, s.name)))
	return answer.Result(), nil
}

func (street) Peer(ctx context.Context) string {
	name, _ := ctx.Value(peerKey{}).(string)
	return name
}

func (s street) addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for addr := range s.stores {
		all = append(all, addr)
	}
	return all
}

// three is the states of three coordinators that keep one.
func three(t testing.TB) []*state.Store {
	t.Helper()
	net := &town{stores: map[string]*state.Store{}}
	var all []*state.Store
	for i, name := range []string{"a", "b", "c"} {
		path := filepath.Join(t.TempDir(), name, "coordinator.db")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := state.Follow(path, name); err != nil {
				t.Fatal(err)
			}
		}
		own, addr := street{net, name}, fmt.Sprintf("127.0.0.1:%d", i+1)
		s, err := state.Start(state.Config{
			Path: path, Patience: time.Second, Name: name, Address: addr, Network: own, Seeds: own.addresses, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			net.mu.Lock()
			delete(net.stores, addr)
			net.mu.Unlock()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		net.mu.Lock()
		net.stores[addr] = s
		net.mu.Unlock()
		all = append(all, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, s := range all {
		for s.Barrier(ctx) != nil {
			if ctx.Err() != nil {
				t.Fatal("the coordinators did not come together")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return all
}

func TestThreeCoordinatorsOfOneStateMakeOneSession(t *testing.T) {
	c := identitytest.New(t)
	var members nodetest.Members
	for i := range 4 {
		n := nodetest.Start(t, fmt.Sprint("node-", i), c)
		n.Slow(time.Duration(3*i) * time.Millisecond)
		members = append(members, n)
	}
	var placers []*Placer
	for _, s := range three(t) {
		placers = append(placers, placer(t, members.Coordinator(), members, s, -1))
	}
	for round := range 10 {
		req := Request{User: "ada", Key: fmt.Sprint("key-", round)}
		ids, living := placeAtOnce(t, placers, req), 0
		for _, n := range members {
			living += n.Living()
		}
		if len(ids) != 1 || living != round+1 {
			t.Fatalf("round %d: nine requests got %d sessions, %d live in all", round, len(ids), living)
		}
		for i, p := range placers { // and each finds it afterwards
			s, created, err := p.Place(t.Context(), req)
			if err != nil || created || !ids[s.GetId()] {
				t.Fatalf("coordinator %d: created %v, %v", i, created, err)
			}
			if _, err := p.Fleet.(*directory.Directory).Find(t.Context(), s.GetId()); err != nil {
				t.Fatalf("coordinator %d: %v", i, err)
			}
		}
	}
}

// BenchmarkPlace is new sessions a second through one coordinator, whose state is its own or shared by three.
func BenchmarkPlace(b *testing.B) {
	for _, coordinators := range []int{1, 3} {
		b.Run(fmt.Sprint("coordinators=", coordinators), func(b *testing.B) {
			c := identitytest.New(b)
			var members nodetest.Members
			for i := range 10 {
				n := nodetest.Start(b, fmt.Sprint("node-", i), c)
				n.Tell(func(c *cluster.Capacity) { c.Total, c.Used = 100_000, 50_000 })
				members = append(members, n)
			}
			var shared *state.Store
			if coordinators == 1 {
				shared = store(b)
			} else {
				shared = three(b)[2] // which does not lead
			}
			p := placer(b, members.Coordinator(), members, shared, 0)
			if _, err := p.Fleet.(*directory.Directory).List(b.Context(), "", false); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, _, err := p.Place(b.Context(), Request{User: fmt.Sprint("user-", next.Add(1)), Key: "default"}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}

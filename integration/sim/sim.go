package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"easel/coordinator/directory"
	"easel/pkg/cluster"
)

// Options is the size of a simulation. What a seed fixes is the world, who asks for what and when, and the dice of
// every member's network; the order in which goroutines run at the same instant it cannot fix.
type Options struct {
	Nodes, Coordinators int
	Seed                uint64
	Log                 func(format string, args ...any) // progress
}

// Sim is a cluster in one process. It must be made and used in a testing/synctest bubble.
type Sim struct {
	Options
	World        *World
	Network      *Network
	Nodes        []*Node
	Coordinators []*Coordinator

	joined time.Time // when the last node did
	byName map[string]*Node
	index  *index
	rng    *rand.Rand
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// shares is how many of the nodes and of the artists are in each region of Earth.
var nodeShares, artistShares = []float64{.22, .12, .06, .2, .12, .12, .1, .06}, []float64{.18, .12, .05, .2, .12, .15, .1, .08}

// New makes the members and lets them learn of one another, and returns when everybody knows everybody.
func New(ctx context.Context, o Options) (*Sim, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := Earth()
	s := &Sim{
		Options: o, World: w, Network: NewNetwork(w), byName: map[string]*Node{}, index: &index{of: map[string]directory.Placement{}},
		rng: rand.New(rand.NewPCG(o.Seed, 1)), stop: cancel,
	}
	if err := s.boot(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// joinEvery spaces the nodes that join: every member that learns of another keeps that as news to gossip, and all news
// of all members at once would take more memory than the members themselves.
const joinEvery = 100 * time.Millisecond

// boot spares the machine what thousands of nodes never do in life, to join in some minutes: while it lasts no packet
// between two nodes arrives, and the members learn of one another by comparing notes over streams. The first address to
// join knows them all when they have joined it; the second, which comes last, then tells everybody: it is not heard before,
// for whoever hears it does not join it.
func (s *Sim) boot(ctx context.Context) error {
	s.Network.Mute(true)
	key := make([]byte, 32)
	spots := make([]Spot, s.Options.Coordinators)
	wires := make([]*Transport, s.Options.Coordinators)
	for i := range spots {
		spots[i] = s.World.Stand(s.rng, []int{0, 3, 5}[i%3], time.Millisecond)
		wires[i] = s.Network.Attach(spots[i], s.Seed)
	}
	join := []string{wires[0].Addr(), wires[len(wires)-1].Addr()}
	coordinator := func(i int) error {
		g, err := s.member(ctx, cluster.RoleCoordinator, fmt.Sprintf("front-%d", i), spots[i], wires[i], key, join)
		if err == nil {
			s.Coordinators = append(s.Coordinators, newCoordinator(s, fmt.Sprintf("front-%d", i), spots[i], g, wires[i]))
		}
		return err
	}
	for i := range len(spots) - 1 {
		wires[i].loud.Store(true)
		if err := coordinator(i); err != nil {
			return err
		}
	}
	for i := range s.Options.Nodes {
		spot := s.World.Stand(s.rng, pick(s.rng, nodeShares), 2*time.Millisecond)
		n := &Node{
			Name: fmt.Sprintf("n%04d", i), Spot: spot, Wire: s.Network.Attach(spot, s.Seed), Total: 16 + 8*s.rng.IntN(3), Cards: kinds[i%len(kinds)],
			sessions: map[string]held{}, rng: rand.New(rand.NewPCG(s.Seed, uint64(100+i))),
		}
		var err error
		if n.Gossip, err = s.member(ctx, cluster.RoleNode, n.Name, spot, n.Wire, key, join); err != nil {
			return err
		}
		s.Nodes, s.byName[n.Name] = append(s.Nodes, n), n
		n.Publish()
		time.Sleep(joinEvery)
		if joined := len(s.Nodes); joined%500 == 0 {
			s.Log("%d nodes have joined", joined)
		}
	}
	s.joined = time.Now()
	// All have joined the first. What they tell one another meanwhile the second does not bring all of them at once.
	time.Sleep(max(time.Second, time.Duration(s.Options.Nodes)*joinEvery/2))
	if err := coordinator(len(spots) - 1); err != nil {
		return err
	}
	all := func() bool {
		for _, n := range s.Nodes {
			if n.Gossip.Size() < s.Options.Nodes+s.Options.Coordinators {
				return false
			}
		}
		return true
	}
	if took, ok := s.await(all, time.Second, 5*time.Minute); !ok {
		return fmt.Errorf("the members did not learn of one another in %v", took)
	}
	s.Log("everybody knows everybody")
	wires[len(wires)-1].loud.Store(true)
	s.drain()
	s.Log("the nodes have told all of the joining")
	s.Network.Mute(false)
	for _, n := range s.Nodes {
		s.wg.Go(func() { n.work(ctx) })
	}
	seen := func() bool {
		for _, c := range s.Coordinators {
			if len(c.Gossip.Nodes()) < s.Options.Nodes {
				return false
			}
		}
		return true
	}
	if took, ok := s.await(seen, time.Second, time.Minute); !ok {
		return fmt.Errorf("the coordinators did not hear of all nodes in %v", took)
	}
	return nil
}

// drain waits until the members have no more to say of the joining.
func (s *Sim) drain() {
	last := s.packets()
	for i := range 1000 {
		time.Sleep(5 * time.Second)
		now := s.packets()
		// At rest a member sends some ten packets a second, with news forty more.
		rate := float64(now-last) / 5 / float64(len(s.Nodes))
		if rate < 15 {
			return
		}
		if last = now; i%12 == 0 {
			s.Log("the nodes still tell of the joining: %.0f packets a second each", rate)
		}
	}
}

func (s *Sim) packets() (sum int64) {
	for _, n := range s.Nodes {
		sum += n.Wire.Packets.Load()
	}
	return sum
}

func (s *Sim) member(ctx context.Context, role, name string, spot Spot, wire *Transport, key []byte, join []string) (*cluster.Cluster, error) {
	meta := cluster.Meta{Place: s.World.Place(spot), Version: "sim"}
	if role == cluster.RoleNode {
		meta.URL = "https://" + name + ".example.org"
	}
	return cluster.Start(ctx, cluster.Config{
		Name: name, Role: role, Keys: [][]byte{key}, Join: join, Meta: meta, Transport: wire, Log: slog.New(slog.DiscardHandler),
	})
}

// Close ends all members. Nobody hears of it, for the others end too.
func (s *Sim) Close() error {
	s.Network.Mute(true)
	s.stop()
	s.wg.Wait()
	var mu sync.Mutex
	var errs []error
	shut := func(g *cluster.Cluster) {
		if g == nil {
			return
		}
		err := g.Close()
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	var closing sync.WaitGroup
	for _, n := range s.Nodes {
		closing.Go(func() { shut(n.Gossip) })
	}
	for _, c := range s.Coordinators {
		closing.Go(func() { shut(c.Gossip) })
	}
	closing.Wait()
	time.Sleep(10 * time.Second) // memberlist waits for nothing that it has begun
	return errors.Join(errs...)
}

// await looks every step whether cond holds, and tells how long that took.
func (s *Sim) await(cond func() bool, step, limit time.Duration) (took time.Duration, ok bool) {
	began := time.Now()
	for !cond() {
		if took = time.Since(began); took >= limit {
			return took, false
		}
		time.Sleep(step)
	}
	return time.Since(began), true
}

// pick draws an index by its share.
func pick(rng *rand.Rand, shares []float64) int {
	x := rng.Float64()
	for i, share := range shares {
		if x -= share; x < 0 {
			return i
		}
	}
	return len(shares) - 1
}

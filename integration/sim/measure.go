package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"easel/coordinator/placement"
	"easel/pkg/cluster"
)

// Spread is what was measured many times.
type Spread []float64

// At returns the value below which the part q of all lies.
func (s Spread) At(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (s Spread) String() string {
	return fmt.Sprintf("p50 %.3g, p99 %.3g, worst %.3g", s.At(.5), s.At(.99), s.At(1))
}

// Convergence is in how many seconds a change of a node's room was seen by parts of all members.
type Convergence struct{ Half, Most, All, Coordinators Spread }

// Converge lets nodes change, one after the other, and watches all members. No node that has changed of late is among
// them: it would gossip later.
func (s *Sim) Converge(rounds int) Convergence {
	var c Convergence
	for _, i := range s.rng.Perm(len(s.Nodes))[:rounds] {
		n := s.Nodes[i]
		if n.dead.Load() {
			continue
		}
		want := n.Total + 1 + s.rng.IntN(1000) // a total that nobody has
		n.mu.Lock()
		before := n.Total
		n.Total = want
		n.publish()
		n.mu.Unlock()
		began := time.Now()
		waiting := slices.Clone(s.Nodes)
		fronts := slices.Clone(s.Coordinators)
		knows := func(g *cluster.Cluster) bool {
			seen, ok := g.Node(n.Name)
			return ok && seen.Capacity.Total == want
		}
		var half, most, front float64
		_, _ = s.await(func() bool {
			at := time.Since(began).Seconds()
			waiting = slices.DeleteFunc(waiting, func(o *Node) bool { return o.dead.Load() || knows(o.Gossip) })
			fronts = slices.DeleteFunc(fronts, func(o *Coordinator) bool { return knows(o.Gossip) })
			if left := float64(len(waiting)) / float64(len(s.Nodes)); half == 0 && left <= .5 {
				half = at
			} else if most == 0 && left <= .01 {
				most = at
			}
			if front == 0 && len(fronts) == 0 {
				front = at
			}
			return len(waiting)+len(fronts) == 0
		}, 10*time.Millisecond, time.Minute)
		all := time.Since(began).Seconds()
		if most == 0 {
			most = all
		}
		c.Half, c.Most, c.All, c.Coordinators = append(c.Half, half), append(c.Most, most), append(c.All, all), append(c.Coordinators, front)
		n.mu.Lock()
		n.Total = before
		n.publish()
		n.mu.Unlock()
		time.Sleep(2 * time.Second) // until nobody repeats it
	}
	return c
}

// Traffic is bytes a second, headers included, and what members know of the distances between them.
type Traffic struct{ Node, Coordinator Spread }

// Traffic measures for a while what every member sends and receives.
func (s *Sim) Traffic(during time.Duration) Traffic {
	sum := func(t *Transport) float64 {
		return float64(t.Sent.Load()+t.Received.Load()+t.StreamSent.Load()+t.StreamRead.Load()) / during.Seconds()
	}
	var before, after []float64
	for _, n := range s.Nodes {
		before = append(before, sum(n.Wire))
	}
	for _, c := range s.Coordinators {
		before = append(before, sum(c.Wire))
	}
	time.Sleep(during)
	for _, n := range s.Nodes {
		after = append(after, sum(n.Wire))
	}
	for _, c := range s.Coordinators {
		after = append(after, sum(c.Wire))
	}
	for i := range after {
		after[i] -= before[i]
	}
	return Traffic{Node: after[:len(s.Nodes)], Coordinator: after[len(s.Nodes):]}
}

// Distances is by how much of the true round trip the coordinates of coordinators and nodes are wrong.
func (s *Sim) Distances() Spread {
	var wrong Spread
	for _, c := range s.Coordinators {
		here := c.Gossip.Coordinate()
		for _, n := range c.Gossip.Nodes() {
			truth := 2 * s.World.Delay(c.Spot, s.byName[n.Meta.Name].Spot).Seconds()
			if rtt, ok := cluster.RTT(here, n.Coordinate); ok {
				wrong = append(wrong, max(rtt.Seconds()-truth, truth-rtt.Seconds())/truth)
			}
		}
	}
	return wrong
}

// Suspicion is how often a living node was missing in a coordinator's view, and for how long in all.
type Suspicion struct {
	Times int
	Gone  time.Duration
}

// Watch looks for living nodes that are missing, for a while.
func (s *Sim) Watch(during time.Duration) Suspicion {
	const step = 200 * time.Millisecond
	var found Suspicion
	gone := map[[2]string]bool{}
	_, _ = s.await(func() bool {
		for _, c := range s.Coordinators {
			present := map[string]bool{}
			for _, n := range c.Gossip.Nodes() {
				present[n.Meta.Name] = true
			}
			for _, n := range s.Nodes {
				key := [2]string{c.Name, n.Name}
				missing := !n.dead.Load() && !present[n.Name]
				if missing && !gone[key] {
					found.Times++
				}
				if missing {
					found.Gone += step
				}
				gone[key] = missing
			}
		}
		return false
	}, step, during)
	return found
}

// Lose kills nodes, one after the other, and measures in seconds how long each stays in the view of any coordinator.
func (s *Sim) Lose(nodes int) Spread {
	var took Spread
	for range nodes {
		time.Sleep(time.Duration(s.rng.Int64N(int64(2 * time.Second))))
		n := s.Nodes[s.rng.IntN(len(s.Nodes))]
		if n.dead.Swap(true) {
			continue
		}
		s.Network.Kill(n.Wire.Addr())
		d, _ := s.await(func() bool {
			return !slices.ContainsFunc(s.Coordinators, func(c *Coordinator) bool { _, there := c.Gossip.Node(n.Name); return there })
		}, 10*time.Millisecond, time.Minute)
		took = append(took, d.Seconds())
	}
	return took
}

// Placements is what came of many requests.
type Placements struct {
	Placed, Failed, Double int
	Refusals, Silences     int64
	Took                   Spread // ms, from the request at the coordinator to the node's answer
	Chosen, Best           Spread // round trip from the artist to the node, ms; best is the nearest with room at that moment
	Beyond                 Spread // chosen - best
	GPUs, Unasked          int    // sessions with a GPU; of them, those whose picture the CPU encodes though nobody said that it may
	Sessions               []Placed
}

// Placed is a session and its node.
type Placed struct {
	Node    *Node
	Session string
}

// Place lets artists ask for sessions, so many a second, through any of the coordinators. Their browsers ping the
// candidates first, as the portal's page does. Artists in the region off have no network.
func (s *Sim) Place(ctx context.Context, sessions int, perSecond float64, off int) *Placements {
	p := &Placements{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var refusals, silences int64
	for _, c := range s.Coordinators {
		refusals, silences = refusals-c.Refusals.Load(), silences-c.Silences.Load()
	}
	for range sessions {
		time.Sleep(time.Duration(s.rng.ExpFloat64() / perSecond * float64(time.Second)))
		a := s.artist(off)
		wg.Go(func() {
			done := s.ask(ctx, a)
			mu.Lock()
			defer mu.Unlock()
			p.add(done)
		})
	}
	wg.Wait()
	for _, c := range s.Coordinators {
		refusals, silences = refusals+c.Refusals.Load(), silences+c.Silences.Load()
	}
	p.Refusals, p.Silences = refusals, silences
	for _, n := range s.Nodes {
		p.Double += n.tooMany()
	}
	return p
}

func (p *Placements) add(a asked) {
	if a.err != nil {
		p.Failed++
		return
	}
	p.Placed++
	if a.class != placement.ClassNone {
		p.GPUs++
		if a.encoder != placement.Any && !a.Node.Cards.Encoder {
			p.Unasked++
		}
	}
	p.Took = append(p.Took, ms(a.took))
	p.Chosen, p.Best, p.Beyond = append(p.Chosen, ms(a.chosen)), append(p.Best, ms(a.best)), append(p.Beyond, ms(a.chosen-a.best))
	p.Sessions = append(p.Sessions, a.Placed)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

type artist struct {
	name  string
	spot  Spot
	front *Coordinator
	rng   *rand.Rand
}

var artists atomic.Int64

func (s *Sim) artist(off int) artist {
	region := off
	for region == off {
		region = pick(s.rng, artistShares)
	}
	id := artists.Add(1)
	return artist{
		name: fmt.Sprint("artist", id), spot: s.World.Stand(s.rng, region, 15*time.Millisecond),
		front: s.Coordinators[s.rng.IntN(len(s.Coordinators))], rng: rand.New(rand.NewPCG(s.Seed, uint64(id))),
	}
}

type asked struct {
	Placed
	kind
	err                error
	took, chosen, best time.Duration
}

// kind is what artists ask for.
type kind struct{ class, encoder string }

// wishes is what they ask for, and which part of them each: parts of an H100 are asked for by who knows that it cannot encode.
var (
	wishes      = []kind{{class: placement.ClassNone}, {class: "shared"}, {class: "1g.10gb", encoder: placement.Any}}
	wishesShare = []float64{.9, .05, .05}
)

func (s *Sim) ask(ctx context.Context, a artist) asked {
	place := s.World.Place(a.spot)
	// What a database knows of an address is some hundred kilometres off.
	place.Latitude, place.Longitude = place.Latitude+3*(a.rng.Float32()-.5), place.Longitude+3*(a.rng.Float32()-.5)
	wish := wishes[pick(a.rng, wishesShare)]
	req := placement.Request{User: a.name, Key: "default", Class: wish.class, Encoder: wish.encoder, Place: place, Pings: map[string]float64{}}
	time.Sleep(s.World.Delay(a.spot, a.front.Spot))
	candidates := a.front.Router.Route(&req, 5)
	slowest := time.Duration(0)
	for _, c := range candidates {
		n := s.byName[c.Node.Meta.Name]
		if n.dead.Load() {
			continue
		}
		rtt := 2 * s.World.Delay(a.spot, n.Spot)
		req.Pings[n.Name] = ms(rtt) * (1 + .05*a.rng.Float64())
		slowest = max(slowest, rtt)
	}
	time.Sleep(slowest + 2*s.World.Delay(a.spot, a.front.Spot))
	best := s.nearest(a, wish.class, a.front.Router.Encoder(&req))
	began := time.Now()
	got, _, err := a.front.Placer.Place(ctx, req)
	if err != nil {
		return asked{err: err}
	}
	n := s.byName[got.Node.Name]
	return asked{
		Placed: Placed{n, got.GetId()}, kind: wish, took: time.Since(began), chosen: 2 * s.World.Delay(a.spot, n.Spot), best: best,
	}
}

// nearest is the round trip to the nearest node that has room for a class now and that the coordinator could reach.
func (s *Sim) nearest(a artist, class, encoder string) time.Duration {
	best := time.Duration(1<<63 - 1)
	for _, n := range s.Nodes {
		if d := 2 * s.World.Delay(a.spot, n.Spot); d < best && n.room(class, encoder) {
			if _, _, ok := a.front.Wire.reach(n.Wire.Addr()); ok {
				best = d
			}
		}
	}
	return best
}

package cluster

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// lossy is the network of this machine, on which packets are lost.
type lossy struct {
	memberlist.NodeAwareTransport
	part float64
}

func (l lossy) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	if rand.Float64() < l.part {
		return time.Now(), nil
	}
	return l.NodeAwareTransport.WriteToAddress(b, to)
}

// BenchmarkConvergence measures how long it takes until 99 % of 200 members know of a change of a node's room, over
// real sockets of which packets are lost, in real time. The simulator (integration/sim) does the same between continents.
func BenchmarkConvergence(b *testing.B) {
	const members = 200
	for _, loss := range []float64{.01, .05} {
		b.Run(fmt.Sprintf("members=%d/loss=%g%%", members, 100*loss), func(b *testing.B) {
			all := crowd(b, members, loss)
			var half, nearly samples
			for i := 0; b.Loop(); i++ { // another node each time, for one that has changed of late gossips later
				n := all[3+(i*7)%(members-3)]
				took := spread(b, all, n, 1000+i)
				half, nearly = append(half, took[members/2]), append(nearly, took[len(took)-1])
			}
			b.ReportMetric(half.at(.5), "half-p50-ms")
			b.ReportMetric(nearly.at(.5), "99%-p50-ms")
			b.ReportMetric(nearly.at(.99), "99%-p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// samples is in ms.
type samples []float64

func (s samples) at(q float64) float64 {
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// crowd starts members, three of them coordinators, and waits until all know all.
func crowd(b *testing.B, members int, loss float64) []*Cluster {
	b.Helper()
	key := newKey()
	var all []*Cluster
	b.Cleanup(func() {
		var closing sync.WaitGroup
		for _, c := range all {
			closing.Go(func() { _ = c.Close() })
		}
		closing.Wait()
	})
	for i := range members {
		t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{"127.0.0.1"}, Logger: memberlistLogger(slog.New(slog.DiscardHandler), newCounters()),
		})
		if err != nil {
			b.Fatal(err)
		}
		cfg := Config{Name: fmt.Sprintf("n%03d", i), Role: RoleNode, Keys: [][]byte{key}, Transport: lossy{t, loss}, Meta: Meta{URL: "https://n.example.org"}}
		if i < 3 {
			cfg.Role = RoleCoordinator
		}
		if i > 0 {
			cfg.Join = []string{all[0].Addr()}
		}
		c, err := Start(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	deadline := time.Now().Add(3 * time.Minute)
	for slices.ContainsFunc(all, func(c *Cluster) bool { return c.Size() < most(members) || c.queue.NumQueued() > 0 }) {
		if time.Now().After(deadline) {
			b.Fatal("the members did not learn of one another, or do not come to rest: is the machine busy with other things?")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return all
}

func most(members int) int { return members * 99 / 100 }

// spread changes n and returns after how many ms each of the members knew, sorted, until 99 % did.
func spread(b *testing.B, all []*Cluster, n *Cluster, total int) samples {
	b.Helper()
	if err := n.Publish(Capacity{Total: total}); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	waiting := slices.Clone(all)
	var took samples
	for len(took) < most(len(all)) {
		if time.Since(began) > time.Minute {
			b.Fatalf("%d members did not hear of a change", len(waiting))
		}
		time.Sleep(time.Millisecond)
		at := float64(time.Since(began)) / float64(time.Millisecond)
		waiting = slices.DeleteFunc(waiting, func(c *Cluster) bool {
			seen, ok := c.Node(n.cfg.Name)
			if !ok || seen.Capacity.Total != total {
				return false
			}
			took = append(took, at)
			return true
		})
	}
	return took
}

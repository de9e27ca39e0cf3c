package state

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func benchmarkUpdates(b *testing.B, stores []*Store) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var next atomic.Int64
			b.SetParallelism(callers) // on each CPU: the test's own number
			b.ReportAllocs()
			work := func(i int64) {
				err := stores[int(i)%len(stores)].Update(context.Background(), func(tx Tx) error {
					key := fmt.Sprintf("user%d", i%10000)
					if tx.Get("placements", key) == nil || i > 0 {
						tx.Put("placements", key, []byte(`{"intent":"0123456789abcdef","node":"node-a","session":"s0123456789abcdef"}`))
					}
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
			if callers == 1 {
				for b.Loop() {
					work(next.Add(1))
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						work(next.Add(1))
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func BenchmarkUpdateAlone(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "coordinator.db"), time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmarkUpdates(b, []*Store{s})
}

// BenchmarkUpdateThree has three coordinators on one machine, and one disk, share the work.
func BenchmarkUpdateThree(b *testing.B) {
	_, all := three(b)
	benchmarkUpdates(b, []*Store{all[0].Store, all[1].Store, all[2].Store})
}

func BenchmarkView(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "coordinator.db"), time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := add(b.Context(), s, "n"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := count(b, s, "n"); got != 1 {
			b.Fatal(got)
		}
	}
}

func BenchmarkBarrierOnAFollower(b *testing.B) {
	c, all := three(b)
	lead := c.leader()
	for _, m := range all {
		if m == lead {
			continue
		}
		for b.Loop() {
			if err := m.Barrier(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
}

package state_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"easel/coordinator/state"
	"easel/coordinator/state/statetest"
)

func benchmarkUpdates(b *testing.B, stores []*state.Store) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var next atomic.Int64
			b.SetParallelism(callers) // on each CPU: the test's own number
			b.ReportAllocs()
			work := func(i int64) {
				err := stores[int(i)%len(stores)].Update(context.Background(), func(tx state.Tx) error {
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
	s, err := state.Open(filepath.Join(b.TempDir(), "coordinator.db"), time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmarkUpdates(b, []*state.Store{s})
}

// BenchmarkUpdateThree has three coordinators on one machine, and one disk, share the work.
func BenchmarkUpdateThree(b *testing.B) {
	all := statetest.Start(b, 3)
	benchmarkUpdates(b, []*state.Store{all[0].Store, all[1].Store, all[2].Store})
}

func BenchmarkView(b *testing.B) {
	s, err := state.Open(filepath.Join(b.TempDir(), "coordinator.db"), time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	err = s.Update(b.Context(), func(tx state.Tx) error {
		tx.Put("accounts", "ada", []byte(`{"role":"user"}`))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = s.View(func(tx state.Tx) error {
			if tx.Get("accounts", "ada") == nil {
				b.Error("nothing is there")
			}
			return nil
		})
	}
}

// BenchmarkBarrierOnAFollower is what a lookup costs that misses.
func BenchmarkBarrierOnAFollower(b *testing.B) {
	for _, c := range statetest.Start(b, 3) {
		if c.Leader() {
			continue
		}
		for b.Loop() {
			if err := c.Barrier(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
}

package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// Files at random, one after the other, with sessions that come and steps that fail: after each the record, the card and what is handed
// out agree, and whoever was not in the way still holds what it held.
func TestLayoutsAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, nvmltest.A100())
	profiles := []string{"1g.5gb", "1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"}
	applied, failures := 0, 0
	for range 60 {
		file := whole
		switch random.IntN(6) {
		case 0:
		case 1:
			file = fmt.Sprintf("  - index: 0\n    shares: %d\n", 1+random.IntN(4))
		default:
			var some []string
			for range 1 + random.IntN(4) {
				some = append(some, profiles[random.IntN(len(profiles))])
			}
			file = mig(some...)
		}
		for _, s := range w.keeper.Slices() {
			if s.Unfit == "" && random.IntN(4) == 0 {
				w.held[s.ID] = Held{Slice: s, Session: "s", User: "u"}
			}
		}
		before := w.state()
		point := Failpoints()[random.IntN(len(Failpoints()))]
		if random.IntN(2) == 0 {
			if err := w.points.Arm(point + "=1*error"); err != nil {
				t.Fatal(err)
			}
		}
		events, err := w.apply(file)
		if err := w.points.Arm(point + "=off"); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			failures++
			if got := w.state(); got != before && len(w.keeper.Layout().Closed) == 0 {
				t.Fatalf("%s failed (%v): the card was %s and is %s", file, err, before, got)
			}
			w.restart() // what could not even be undone is undone now
		} else if slices.ContainsFunc(events, func(e Event) bool { return strings.Contains(e.Text, "make ") }) {
			applied++
		}
		w.sound()
		there := ids(w)
		for id := range w.held {
			if !strings.Contains(there+" ", id+" ") {
				t.Fatalf("%s took %s from its session without a word; there is %s", file, id, there)
			}
		}
	}
	t.Logf("%d applied, %d failed", applied, failures)
	if applied == 0 || failures == 0 {
		t.Fatal("that proves nothing")
	}
}

// Sessions are given slices, in transactions as noded's are, all the while that layouts are applied: none finds itself with a slice that is
// gone without having been asked to leave it.
func TestNobodyIsGivenASliceThatGoes(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	stop, given := make(chan struct{}), 0
	var taker sync.WaitGroup
	taker.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			err := w.db.Update(func(*bbolt.Tx) error {
				all := w.keeper.Slices()
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(all) == 0 {
					return nil
				}
				if s := all[n%len(all)]; s.Unfit == "" && w.held[s.ID].Session == "" {
					w.held[s.ID] = Held{Slice: s, Session: strconv.Itoa(n)}
					given++
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		for _, file := range []string{mig("1g.5gb", "1g.5gb", "3g.20gb"), mig("1g.5gb", "2g.10gb"), "  - index: 0\n    shares: 3\n", whole} {
			if _, err := w.apply(file); err != nil && !strings.Contains(err.Error(), "holds") {
				t.Error(err)
			}
			there := map[string]gpu.Slice{}
			for _, s := range w.keeper.Slices() {
				there[s.ID] = s
			}
			held, _ := w.Held()
			for _, h := range held {
				if s, is := there[h.Slice.ID]; !is || s.Class != h.Slice.Class {
					t.Errorf("%s: session %s holds %s, and there is %s", file, h.Session, h.Slice.ID, ids(w))
				}
			}
		}
	}
	close(stop)
	taker.Wait()
	if w.sound(); given < 10 {
		t.Fatalf("only %d slices were given", given)
	}
}

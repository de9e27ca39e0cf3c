package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"easel/coordinator/directory"
)

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx, cancel
}

func TestSwapIsDoneByOneAlone(t *testing.T) {
	shared := store(t)
	coordinators := []*directory.Index{directory.NewIndex(shared), directory.NewIndex(shared)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := map[string]int{}
	for i := range 40 {
		key := fmt.Sprint("key-", i%5)
		wg.Go(func() {
			err := coordinators[i%2].Swap(t.Context(), "ada", key, directory.Placement{}, directory.Placement{Intent: fmt.Sprint(i), Node: "n"})
			if err != nil && !errors.Is(err, directory.ErrMoved) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won[key]++
			}
		})
	}
	wg.Wait()
	for i := range 5 {
		if n := won[fmt.Sprint("key-", i)]; n != 1 {
			t.Errorf("key-%d was given to %d", i, n)
		}
	}
}

func TestHomesAreWhereSessionsWere(t *testing.T) {
	x := directory.NewIndex(store(t))
	for i, node := range []string{"n1", "n2", "n1", "n3", "n4", "n5", "n6", "n7", "n8", "n9"} {
		p := directory.Placement{Intent: "i", Node: node, Session: fmt.Sprint("s", i), At: 1}
		if err := x.Swap(t.Context(), "ada", fmt.Sprint(i), directory.Placement{}, p); err != nil {
			t.Fatal(err)
		}
	}
	_, homes, err := x.Get("ada", "0")
	if want := []string{"n1", "n3", "n4", "n5", "n6", "n7", "n8", "n9"}; err != nil || !slices.Equal(homes, want) {
		t.Errorf("homes %v, %v; want %v", homes, err, want)
	}
	if _, homes, _ := x.Get("ad", "0"); len(homes) != 0 {
		t.Errorf("somebody else has the homes %v", homes)
	}
}

func TestPlacementsOfOneUserAlone(t *testing.T) {
	x := directory.NewIndex(store(t))
	for _, user := range []string{"ada", "adam", "ad"} {
		if err := x.Swap(t.Context(), user, "k\x01", directory.Placement{}, directory.Placement{Intent: user, Node: "n"}); err != nil {
			t.Fatal(err)
		}
	}
	all, _, err := x.Of("ada")
	if err != nil || len(all) != 1 || all[0].User != "ada" || all[0].Key != "k\x01" || all[0].Intent != "ada" {
		t.Errorf("%+v, %v", all, err)
	}
	if all, _, err := x.Of(""); err != nil || len(all) != 3 {
		t.Errorf("everybody's: %+v, %v", all, err)
	}
}

// Many claims at once share writes: otherwise each would wait for its own turn at the disk.
func BenchmarkSwap(b *testing.B) {
	for _, at := range []int{1, 64} {
		b.Run(fmt.Sprint("at-once=", at), func(b *testing.B) {
			x := directory.NewIndex(store(b))
			b.SetParallelism(at)
			var mu sync.Mutex
			n := 0
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mu.Lock()
					n++
					key := fmt.Sprint(n)
					mu.Unlock()
					if err := x.Swap(context.Background(), "user-"+key, "default", directory.Placement{}, directory.Placement{Intent: key, Node: "n", Session: "s" + key}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

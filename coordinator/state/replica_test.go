package state

import (
	"sync"
	"testing"
)

func TestThreeCoordinatorsHaveOneState(t *testing.T) {
	_, all := three(t)
	const each = 20
	var wg sync.WaitGroup
	for _, m := range all {
		for range 4 {
			wg.Go(func() {
				for range each {
					if err := add(t.Context(), m.Store, "n"); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, m := range all {
		if got := latest(t, m.Store, "n"); got != 4*3*each {
			t.Errorf("%s counts %d, want %d", m.name, got, 4*3*each)
		}
	}
}

package authority

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"easel/coordinator/state/statetest"
)

// A join token lets one member in, also when two ask two coordinators at once; and the coordinator that is asked need not be the one
// that made it.
func TestTokenUsedAtOnceThroughThreeCoordinators(t *testing.T) {
	var all []*Authority
	for _, c := range statetest.Start(t, 3) {
		all = append(all, New(c.Store))
	}
	if err := all[0].Found(t.Context(), "c1", somewhere); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		secret := all[round%3].secret(t, "node", "")
		errs := make([]error, 6)
		var wg sync.WaitGroup
		for i := range errs {
			csr := request(t)
			wg.Go(func() {
				_, errs[i] = all[i%3].Join(t.Context(), secret, "node", fmt.Sprintf("n%d-%d", round, i), csr)
			})
		}
		wg.Wait()
		won := 0
		for i, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, ErrUsed):
				t.Errorf("%d: %v", i, err)
			}
		}
		if won != 1 {
			t.Errorf("the token let %d in", won)
		}
	}
}

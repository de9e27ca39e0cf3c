package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestThreeCoordinatorsHaveOneState(t *testing.T) {
	_, all := three(t)
	const each = 20
	var wg sync.WaitGroup
	for _, m := range all {
		for i := range 4 {
			wg.Go(func() {
				for range each {
					if err := add(t.Context(), m.Store, fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, m := range all {
		for i := range 4 {
			if got := latest(t, m.Store, fmt.Sprint(i)); got != 3*each {
				t.Errorf("%s counts %d, want %d", m.name, got, 3*each)
			}
		}
	}
}

// Nothing is lost or counted twice while a coordinator that is alone becomes one of three.
func TestGrowthUnderWrites(t *testing.T) {
	c := newCluster(t)
	first := c.start("a")
	ctx, stop := context.WithCancel(t.Context())
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := add(t.Context(), first.Store, fmt.Sprint(i)); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	written := func() {
		begun := done.Load()
		c.until("writes", func() bool { return done.Load() > begun+20 })
	}
	written()
	second := c.join("b")
	written()
	third := c.join("c")
	c.voters(3)
	written()
	stop()
	wg.Wait()
	for _, m := range []*coordinator{first, second, third} {
		sum := 0
		for i := range 4 {
			sum += latest(t, m.Store, fmt.Sprint(i))
		}
		if int64(sum) != done.Load() {
			t.Errorf("%s counts %d, want %d", m.name, sum, done.Load())
		}
	}
}

func TestTwoCoordinatorsHaveOneVote(t *testing.T) {
	c := newCluster(t)
	first, second := c.start("a"), c.join("b")
	c.until("the copy", func() bool { return len(second.Members()) == 2 })
	if got := fmt.Sprint(second.Members()[0].Standing, " ", second.Members()[1].Standing); got != "leader copy" {
		t.Errorf("two are %q", got)
	}
	if err := add(t.Context(), second.Store, "n"); err != nil {
		t.Fatal(err)
	}
	second.end()
	if err := add(t.Context(), first.Store, "n"); err != nil {
		t.Errorf("without the copy: %v", err)
	}
}

// A leader gives a vote, and is cut off before who gets it knows. It needs that very vote to lead again.
func TestVoteThatItsOwnerDoesNotKnowOf(t *testing.T) {
	c := newCluster(t)
	first, second := c.start("a"), c.join("b")
	c.until("the copy", func() bool { return second.replica.Load().mayVote() })
	c.silence("b")
	lead, copied := first.replica.Load(), second.replica.Load()
	var wg sync.WaitGroup
	wg.Go(func() { _ = lead.raft.AddVoter(copied.id, raft.ServerAddress(second.addr), 0, time.Second).Error() })
	c.until("the end of the lead", func() bool { return !first.Leader() })
	if n := copied.voters(); n != 1 {
		t.Fatalf("the copy knows of %d votes", n)
	}
	c.silence()
	for _, m := range []*coordinator{first, second} {
		if err := add(t.Context(), m.Store, "n"); err != nil {
			t.Errorf("on %s: %v", m.name, err)
		}
	}
	wg.Wait()
}

// While the leader is cut off, what is asked of the others waits for the next leader and succeeds.
func TestRequestsWaitForTheNextLeader(t *testing.T) {
	c, all := three(t)
	old := c.leader()
	var wg sync.WaitGroup
	for i := range 3 {
		c.isolate(old.name)
		for _, m := range all {
			if m == old {
				continue
			}
			wg.Go(func() {
				if err := add(t.Context(), m.Store, "n"); err != nil {
					t.Errorf("on %s: %v", m.name, err)
				}
			})
		}
		wg.Wait()
		c.isolate()
		if got := latest(t, old.Store, "n"); got != 2*(i+1) {
			t.Errorf("the old leader counts %d, want %d", got, 2*(i+1))
		}
		old = c.leader()
	}
}

// A leader that lost its power does not say that it will not answer.
func TestRequestsDoNotWaitForAMuteLeader(t *testing.T) {
	c, all := three(t)
	old := c.leader()
	for _, m := range all {
		if m == old {
			continue
		}
		if err := add(t.Context(), m.Store, "n"); err != nil { // connections stand
			t.Fatal(err)
		}
	}
	c.silence(old.name)
	begun := time.Now()
	var wg sync.WaitGroup
	for _, m := range all {
		if m == old {
			continue
		}
		wg.Go(func() {
			if err := add(t.Context(), m.Store, "n"); err != nil {
				t.Errorf("on %s: %v", m.name, err)
			}
			if err := m.Barrier(t.Context()); err != nil {
				t.Errorf("on %s: %v", m.name, err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begun); took > quick.patience/2 {
		t.Errorf("it took %v", took)
	}
	c.silence()
	if got := latest(t, old.Store, "n"); got != 4 {
		t.Errorf("the old leader counts %d", got)
	}
}

// A change whose answer is lost with the leader is made once: who waits learns of it from the next leader.
func TestLeaderLostInMidCommit(t *testing.T) {
	c, all := three(t)
	ctx, stop := context.WithCancel(t.Context())
	var done [3]atomic.Int64
	var wg sync.WaitGroup
	for i, m := range all {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := add(t.Context(), m.Store, m.name); err != nil {
					t.Errorf("on %s: %v", m.name, err)
					return
				}
				done[i].Add(1)
			}
		})
	}
	for range 4 {
		begun := [3]int64{done[0].Load(), done[1].Load(), done[2].Load()}
		c.until("writes through all", func() bool {
			return done[0].Load() > begun[0]+5 && done[1].Load() > begun[1]+5 && done[2].Load() > begun[2]+5
		})
		c.isolate(c.leader().name)
		begun = [3]int64{done[0].Load(), done[1].Load(), done[2].Load()}
		c.until("writes through two", func() bool {
			n := 0
			for i := range done {
				if done[i].Load() > begun[i]+2 {
					n++
				}
			}
			return n >= 2
		})
		c.isolate()
	}
	stop()
	wg.Wait()
	for _, m := range all {
		for i, writer := range all {
			if got := latest(t, m.Store, writer.name); int64(got) != done[i].Load() {
				t.Errorf("%s has %d changes by %s, who made %d", m.name, got, writer.name, done[i].Load())
			}
		}
	}
}

func TestWithoutAMajority(t *testing.T) {
	c, all := three(t)
	if err := add(t.Context(), all[0].Store, "n"); err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		latest(t, m.Store, "n")
	}
	c.isolate("a", "b", "c")
	c.until("no leader", func() bool { return !all[0].Leader() && !all[1].Leader() && !all[2].Leader() })
	for _, m := range all {
		if got := count(t, m.Store, "n"); got != 1 {
			t.Errorf("%s reads %d", m.name, got)
		}
		c.until("unreadiness", func() bool { return errors.Is(m.Ready(), ErrUnavailable) })
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		err := add(ctx, m.Store, "n")
		cancel()
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "fewer than 2 of the 3") || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s writes: %v", m.name, err)
		}
	}
	c.isolate()
	if got := latest(t, all[1].Store, "n"); got < 1 {
		t.Errorf("afterwards there are %d", got)
	}
	for _, m := range all {
		c.until("readiness", func() bool { return m.Ready() == nil })
	}
}

func TestRestartedCoordinatorsHaveTheirState(t *testing.T) {
	c, all := three(t)
	for range 5 {
		if err := add(t.Context(), all[1].Store, "n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range all {
		latest(t, m.Store, "n")
	}
	for _, m := range all {
		m.end()
	}
	alone := c.start("b") // without a majority, what it knew can be read
	if got := count(t, alone.Store, "n"); got != 5 {
		t.Errorf("on its own it reads %d", got)
	}
	if _, err := Open(c.path("c"), time.Second); !errors.Is(err, ErrReplicated) {
		t.Errorf("an operator's command on the files: %v", err)
	}
}

func TestRemovedCoordinator(t *testing.T) {
	c, all := three(t)
	gone := c.leader()
	gone.end()
	next := c.leader()
	if err := next.Remove(t.Context(), gone.name); err != nil {
		t.Fatal(err)
	}
	c.voters(1)
	for _, m := range all {
		if m != gone {
			if err := add(t.Context(), m.Store, "n"); err != nil {
				t.Errorf("on %s: %v", m.name, err)
			}
		}
	}
	c.join("d")
	c.voters(3)
	if err := c.leader().Remove(t.Context(), c.leader().name); err != nil {
		t.Errorf("the leader removes itself: %v", err)
	}
}

// One that comes back without its files must not be taken for the one that promised to keep entries: it has no vote until it has
// the state.
func TestCoordinatorThatLostItsFiles(t *testing.T) {
	c, _ := three(t)
	lost := c.leader()
	id := lost.replica.Load().id
	lost.end()
	if err := add(t.Context(), c.leader().Store, "n"); err != nil {
		t.Fatal(err)
	}
	c.forget(lost.name)
	back := c.join(lost.name)
	c.voters(3)
	if back.replica.Load().id == id {
		t.Error("it has the ID of before")
	}
	if got := latest(t, back.Store, "n"); got != 1 {
		t.Errorf("it counts %d", got)
	}
	if n := len(back.Members()); n != 3 {
		t.Errorf("%d members", n)
	}
}

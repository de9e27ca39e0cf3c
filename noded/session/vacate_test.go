package session

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// TestVacateTakesSlicesAndNothingElse: whoever holds one is told, and ends at the deadline; a neighbour hears nothing.
func TestVacateTakesSlicesAndNothingElse(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	leaves, stays := n.mustReserve("ann", gpu.Whole, ""), n.mustReserve("bob", gpu.Shared, "")
	n.untilState(leaves.ID, Ready)
	n.untilState(stays.ID, Ready)
	deadline := time.Now().Add(2 * time.Second)
	done := make(chan error, 1)
	go func() { done <- n.Vacate(t.Context(), []string{cardB}, deadline, "its card is divided anew") }()
	untilTold(t, h, leaves.ID, func(n contract.Notice) bool {
		return strings.Contains(n.Text, "divided anew") && n.Until.Equal(deadline)
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ended, _ := n.Get(leaves.ID)
	if ended.State != Stopped || ended.holds() || ended.Reason != "its GPU slice was taken away: its card is divided anew" || ended.at(Stopping).Before(deadline) {
		t.Fatalf("it ended as %+v", ended)
	}
	if left, _ := n.Get(stays.ID); left.State != Ready || left.Notice.Text != "" || h.notice(stays.ID).Text != "" {
		t.Fatalf("its neighbour is %+v", left)
	}
	held, err := n.Holdings()
	if err != nil || len(held) != 1 || held[0].Session != stays.ID || held[0].User != "bob" || held[0].Slice.ID != stays.GPU.ID {
		t.Fatalf("%+v, %v", held, err)
	}
	if err := n.Vacate(t.Context(), []string{cardB}, time.Now(), ""); err != nil {
		t.Fatalf("nobody holds it: %v", err)
	}
}

// TestVacateThatIsGivenUpIsTakenBack: the artist is told that the session stays.
func TestVacateThatIsGivenUpIsTakenBack(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s := n.mustReserve("ann", gpu.Whole, "")
	n.untilState(s.ID, Ready)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- n.Vacate(ctx, []string{cardB}, time.Now().Add(time.Hour), "its card is divided anew")
	}()
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text != "" })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), s.ID+" still holds GPU slice GPU-b") {
		t.Fatal(err)
	}
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text == "" })
	if got, _ := n.Get(s.ID); got.State != Ready || got.Notice.Text != "" {
		t.Fatalf("%+v", got)
	}
}

// TestVacateEndsWarmSessionsAtOnce: nobody's work is in them.
func TestVacateEndsWarmSessionsAtOnce(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	w := n.warmOf("1g.10gb", WarmDesktop)
	held, err := n.Get(w.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Vacate(t.Context(), []string{held.GPU.ID}, time.Now().Add(time.Hour), "its card is divided anew"); err != nil {
		t.Fatal(err)
	}
	n.untilReleased(w.ID)
}

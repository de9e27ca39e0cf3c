package session

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/stream/contract"
)

// order gives the node a duty and fails the test when it does not take it.
func (n *node) orderTo(o Order, untilBoot bool) int {
	n.t.Helper()
	sessions, err := n.SetDuty(o, untilBoot)
	if err != nil {
		n.t.Fatal(err)
	}
	return sessions
}

func (n *node) expectRefusal(reason string) {
	n.t.Helper()
	_, _, err := n.Reserve(n.t.Context(), Request{User: "zoe", Key: "new"})
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Reason != reason {
		n.t.Fatalf("a new session: %v, want a refusal for %q", err, reason)
	}
	s, err := n.Status(n.t.Context())
	if err != nil || !s.Draining || s.Full == "" {
		n.t.Fatalf("the node's status says nothing of it: %+v, %v", s, err)
	}
}

func untilTold(t *testing.T, h *host, id string, want func(contract.Notice) bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !want(h.notice(id)) {
		if time.Now().After(deadline) {
			t.Fatalf("the artist of %s was told %+v", id, h.notice(id))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestDrainTellsArtistsAndEndsSessionsAtItsDeadline(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	deadline := time.Now().Add(700 * time.Millisecond)
	if sessions := n.orderTo(Order{Duty: Draining, Deadline: deadline, Reason: "a new kernel"}, false); sessions != 1 {
		t.Fatalf("%d sessions", sessions)
	}
	n.expectRefusal("draining")
	if again, created := n.reserve("ann", "k"); created || again.ID != s.ID {
		t.Fatal("the session of a draining node could not be found again by its key")
	}
	untilTold(t, h, s.ID, func(n contract.Notice) bool {
		return strings.Contains(n.Text, "a new kernel") && n.Until.Equal(deadline)
	})
	if got, _ := n.Get(s.ID); got.Notice.Text == "" || got.State.Ended() {
		t.Fatalf("before the deadline: %+v", got)
	}
	n.untilReleased(s.ID)
	ended, _ := n.Get(s.ID)
	if ended.State != Stopped || !strings.Contains(ended.Reason, "a new kernel") || ended.at(Stopping).Before(deadline) || ended.Notice.Text != "" {
		t.Fatalf("it ended as %+v", ended)
	}
	n.expectNothingLeft(h)
}

// TestDrainOutlivesARestart: a noded that is killed while it drains goes on with it, past its deadline too.
func TestDrainOutlivesARestart(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	deadline := time.Now().Add(time.Second)
	n.orderTo(Order{Duty: Draining, Deadline: deadline}, false)
	n.stop()
	time.Sleep(time.Until(deadline))
	n = start(t, h, "", nil)
	n.expectRefusal("draining")
	n.untilReleased(s.ID)
	n.expectNothingLeft(h)
}

func TestUncordonTakesTheNoticeBack(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	n.orderTo(Order{Duty: Draining, Deadline: time.Now().Add(time.Hour)}, false)
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text != "" })
	n.stop() // whoever takes the notice back need not be who gave it
	n = start(t, h, "", nil)
	n.orderTo(Order{Duty: Serving}, false)
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text == "" })
	if _, created := n.reserve("bob", "k"); !created {
		t.Fatal("no new session")
	}
}

func TestNewStreamerIsToldOfTheDrain(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	n.orderTo(Order{Duty: Draining, Deadline: time.Now().Add(time.Hour)}, false)
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text != "" })
	before, _ := n.Get(s.ID)
	if err := h.KillWorker(t.Context(), before.Paths.Cgroup+"/streamer", before.Worker); err != nil {
		t.Fatal(err)
	}
	n.until(s.ID, "with another streamer", func(s Session) bool { return s.Worker != before.Worker && s.Steps["streamer"] == Done })
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text != "" })
}

func TestCordonKeepsSessions(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	n.orderTo(Order{Duty: Cordoned, Reason: "looking at it"}, false)
	n.expectRefusal("cordoned")
	n.stop()
	n = start(t, h, "", nil)
	n.expectRefusal("cordoned")
	if got, _ := n.Get(s.ID); got.State != Ready || got.Notice.Text != "" {
		t.Fatalf("%+v", got)
	}
	n.orderTo(Order{Duty: Serving}, false)
	n.reserve("bob", "k")
}

// TestDrainUntilBootEndsWithTheBoot: a host that drained itself to shut down serves again when it is back, and a
// cordon of before stands.
func TestDrainUntilBootEndsWithTheBoot(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	n.orderTo(Order{Duty: Draining}, true)
	n.stop()
	n = start(t, h, "", nil)
	n.expectRefusal("draining")
	n.stop()
	n = start(t, h, "", func(o *Options) { o.Boot = "the next" })
	n.reserve("ann", "k")
	n.orderTo(Order{Duty: Cordoned}, false)
	n.orderTo(Order{Duty: Draining}, true)
	n.stop()
	n = start(t, h, "", func(o *Options) { o.Boot = "the one after" })
	n.expectRefusal("cordoned")
}

func TestIsolatedNodeKeepsItsSessions(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	n.SetIsolated(true)
	n.expectRefusal("isolated")
	status, err := n.Status(t.Context())
	if err != nil || !status.Isolated || len(status.Degraded) == 0 {
		t.Fatalf("%+v, %v", status, err)
	}
	if got, _ := n.Get(s.ID); got.State != Ready {
		t.Fatalf("%+v", got)
	}
	n.SetIsolated(false)
	n.reserve("bob", "k")
}

func TestOrdersThatMakeNoSenseAreInvalid(t *testing.T) {
	n := start(t, newHost(t), "", nil)
	for _, o := range []Order{{}, {Duty: "resting"}, {Duty: Draining, Deadline: time.Now().Add(1000 * time.Hour)}} {
		if _, err := n.SetDuty(o, false); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	n.reserve("ann", "k")
}

// TestUnreadableDutyTakesNoSessions: what it was told may have been a drain.
func TestUnreadableDutyTakesNoSessions(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	n.stop()
	db, err := bbolt.Open(filepath.Join(h.run, "noded.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(keyOrder, []byte(`{"duty":"res`)) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n = start(t, h, "", nil)
	n.expectRefusal("cordoned")
	n.orderTo(Order{Duty: Serving}, false)
	n.reserve("ann", "k")
}

func TestStreamerThatDoesNotListenIsToldLater(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.mu.Lock()
	h.failing["notice"] = context.DeadlineExceeded
	h.mu.Unlock()
	n.orderTo(Order{Duty: Draining, Deadline: time.Now().Add(time.Hour)}, false)
	n.until(s.ID, "tried", func(Session) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.began["notice"] > 0
	})
	h.mu.Lock()
	delete(h.failing, "notice")
	h.mu.Unlock()
	untilTold(t, h, s.ID, func(n contract.Notice) bool { return n.Text != "" })
}

package session

import (
	"context"
	"sync"
	"testing"
	"time"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// life is one way through a session's life; each part returns false when noded was killed in it.
type life []func(n *node, h *host, id *string) bool

func reserveIt(n *node, _ *host, id *string) bool {
	return n.reserveFor(Request{User: "ann", Key: "k"}, id)
}

// reserveSlice is reserveIt with a part of a card.
func reserveSlice(n *node, _ *host, id *string) bool {
	return n.reserveFor(Request{User: "ann", Key: "k", Class: gpu.Shared}, id)
}

func (n *node) reserveFor(q Request, id *string) bool {
	done := make(chan struct{})
	go func() { // a kill ends the goroutine that meets it
		defer close(done)
		if s, _, err := n.Reserve(context.Background(), q); err == nil {
			*id = s.ID
		}
	}()
	<-done
	if *id == "" { // the caller was told nothing: it asks again by the same key
		all, err := n.List("", true)
		if err != nil {
			n.t.Fatal(err)
		}
		if len(all) > 0 {
			*id = all[0].ID
		}
	}
	select {
	case <-n.killed:
		<-n.ended
		return false
	default:
		return true
	}
}

func getReady(n *node, _ *host, id *string) bool { return n.untilState(*id, Ready) }

func connect(n *node, h *host, id *string) bool {
	h.say(*id, func(x *contract.Health) { x.Viewers, x.Path = 1, contract.PathDirect })
	return n.untilState(*id, Connected)
}

func detach(n *node, h *host, id *string) bool {
	h.say(*id, func(x *contract.Health) { x.Viewers, x.Path = 0, "" })
	return n.untilState(*id, Detached)
}

func stopIt(n *node, _ *host, id *string) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := n.Stop(context.Background(), *id, "enough"); err != nil {
			_, _ = n.Stop(context.Background(), *id, "enough") // a point failed the first
		}
	}()
	<-done
	return n.untilReleased(*id)
}

// claimIt is reserveIt on a node that has a warm session of a kind.
func claimIt(kind Warmth) life {
	begin := func(n *node, h *host, id *string) bool {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = n.Prepare(context.Background(), "", "", kind, time.Now().Add(time.Hour))
		}()
		<-done
		warm, err := n.Warm()
		if err != nil {
			n.t.Fatal(err)
		}
		if len(warm) == 0 { // a point ended the making of it
			select {
			case <-n.killed:
				<-n.ended
				return false
			default:
				return true
			}
		}
		*id = warm[0].ID
		if kind == WarmDesktop {
			h.mu.Lock()
			h.profiles["ann"] = true
			h.mu.Unlock()
		}
		return n.until(*id, "up", func(s Session) bool { return s.State == Ready && n.well(s.Record) || s.State.Ended() })
	}
	return life{begin, reserveIt}
}

func boxDies(n *node, h *host, id *string) bool {
	h.die(*id, 1)
	return n.untilReleased(*id)
}

// sliceIsBusy has the first attempt to free the slice fail.
func sliceIsBusy(_ *node, h *host, _ *string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busyFor = 1
	return true
}

var lives = map[string]life{
	"a whole life":           {reserveIt, getReady, connect, detach, connect, stopIt},
	"the container dies":     {reserveIt, getReady, boxDies},
	"one with a slice":       {reserveSlice, getReady, connect, detach, stopIt},
	"its slice is busy":      {reserveSlice, getReady, sliceIsBusy, stopIt},
	"stopped while it rose":  {reserveIt, stopIt},
	"a desktop is claimed":   append(claimIt(WarmDesktop), getReady, connect, stopIt),
	"a ready one is claimed": append(claimIt(WarmReady), getReady, connect, stopIt),
}

// TestKillAtEveryPoint kills noded at each failpoint of each life, starts it again, and wants every session
// either whole or gone whole. A point that no life meets fails the test: a new transition cannot dodge it.
func TestKillAtEveryPoint(t *testing.T) {
	var mu sync.Mutex
	met := map[string]bool{}
	t.Run("walk", func(t *testing.T) {
		for _, point := range Failpoints() {
			for name, life := range lives {
				t.Run(point+"/"+name, func(t *testing.T) {
					t.Parallel()
					if killAt(t, point, life) {
						mu.Lock()
						met[point] = true
						mu.Unlock()
					}
				})
			}
		}
	})
	for _, point := range Failpoints() {
		if !met[point] {
			t.Errorf("no life meets failpoint %s: a kill there is not tried", point)
		}
	}
}

func killAt(t *testing.T, point string, l life) (killed bool) {
	h := newHost(t)
	n := start(t, h, point+"=kill", nil)
	var id string
	for _, part := range l {
		if !part(n, h, &id) {
			killed = true
			break
		}
	}
	if !killed && !n.keeperKilled(id) {
		n.expectNothingLeft(h)
		return false
	}
	before, known := Record{}, false
	if r, err := n.store.Get(id); err == nil {
		before, known = r, true
	}
	n.stop()
	n = start(t, h, "", nil)
	n.reopened(h, id, before, known)
	if id == "" {
		s, _ := n.reserve("ann", "k")
		id = s.ID
		n.untilState(id, Ready)
	}
	if _, err := n.Stop(context.Background(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	n.untilReleased(id)
	n.expectNothingLeft(h)
	return true
}

// keeperKilled waits for the session's keeper to end, and tells whether it was killed.
func (n *node) keeperKilled(id string) bool {
	for n.keeperOf(id) != nil {
		select {
		case <-n.killed:
			<-n.ended
			return true
		case <-time.After(time.Millisecond):
		}
	}
	return false
}

// reopened checks the session after noded was killed and started again.
func (n *node) reopened(h *host, id string, before Record, known bool) {
	n.t.Helper()
	if !known {
		return
	}
	if before.Wanted == WantEnded {
		n.untilReleased(id)
		return
	}
	n.until(id, "alive or known to have failed", func(s Session) bool {
		return s.State == Failed || h.running(id) && s.Health.Seq > 0 && (s.State == Ready || s.State == Connected || s.State == Detached)
	})
	s, err := n.Get(id)
	if err != nil {
		n.t.Fatal(err)
	}
	if s.State == Failed {
		if h.running(id) {
			n.t.Fatalf("a session whose container runs has failed: %s", s.Reason)
		}
		return
	}
	if before.Steps["task"] == Done && s.InitPID != before.InitPID {
		n.t.Fatal("the session's container was replaced")
	}
	if before.Steps["streamer"] == Done && s.Worker != before.Worker {
		n.t.Fatal("the session's streamer was replaced although it lived")
	}
	if !h.running(id) || !h.WorkerAlive(s.Worker) {
		n.t.Fatalf("state %s, yet container running %v, streamer alive %v", s.State, h.running(id), h.WorkerAlive(s.Worker))
	}
}

// TestFailureAtEveryPoint fails each point once: the session must come through all the same.
func TestFailureAtEveryPoint(t *testing.T) {
	for _, point := range Failpoints() {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			n := start(t, h, point+"=1*error", nil)
			var id string
			reserveSlice(n, h, &id)
			if id == "" {
				reserveSlice(n, h, &id)
			}
			for _, part := range (life{getReady, connect, detach, stopIt}) {
				part(n, h, &id)
			}
			n.expectNothingLeft(h)
		})
	}
}

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"easel/noded/stream/contract"
	"easel/pkg/failpoint"
)

// warm begins a warm session and waits until it can be claimed.
func (n *node) warm(kind Warmth) string {
	n.t.Helper()
	w, err := n.Prepare(context.Background(), "", "", kind, time.Now().Add(time.Hour))
	if err != nil {
		n.t.Fatal(err)
	}
	n.until(w.ID, "up", func(s Session) bool { return s.State == Ready && n.well(s.Record) })
	return w.ID
}

func TestClaimGivesTheWarmthThatFitsTheUser(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 8 })
	ready, desktop := n.warm(WarmReady), n.warm(WarmDesktop)
	h.mu.Lock()
	h.profiles["old"] = true
	h.mu.Unlock()
	if s, created := n.reserve("old", "k"); s.ID != desktop || !created || s.User != "old" || s.Key != "k" {
		t.Fatalf("who has a profile got %+v", s.Record)
	}
	if s, _ := n.reserve("old", "k2"); s.Warmth != Cold {
		t.Fatalf("who has a profile got %+v when no desktop was left", s.Record)
	}
	if s, _ := n.reserve("new", "k"); s.ID != ready {
		t.Fatalf("who has no profile got %+v", s.Record)
	}
	for id, user := range map[string]string{ready: "new", desktop: "old"} {
		n.untilState(id, Ready)
		s, err := n.Get(id)
		if err != nil || s.WindowMS < 1 || s.Proto().Warmth != string(s.Warmth) || !s.Proto().Warm || len(s.Times) != 3 {
			t.Fatalf("%+v, %v", s.Record, err)
		}
		if b := h.boxes[id]; b.home != user || !b.awake {
			t.Fatalf("%s's container has the home of %q, awake %v", user, b.home, b.awake)
		}
	}
	second := n.warm(WarmReady)
	if s, _ := n.reserve("new", "k2"); s.ID == second {
		t.Fatal("whose first session lives got a GIMP without the profile that it makes")
	}
}

func TestTwoClaimsNeverGetTheSameSession(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max, o.Admission.PortLast = 40, 50099 })
	for range 8 {
		n.warm(WarmDesktop)
	}
	got := make([]Session, 16)
	var asking sync.WaitGroup
	for i := range got {
		asking.Go(func() {
			s, _, err := n.Reserve(t.Context(), Request{User: fmt.Sprintf("u%d", i), Key: "k"})
			if err != nil {
				t.Error(err)
			}
			got[i] = s
		})
	}
	asking.Wait()
	owner, claimed := map[string]string{}, 0
	for i, s := range got {
		if owner[s.ID] != "" || s.User != fmt.Sprintf("u%d", i) {
			t.Fatalf("session %s of %s went to %s and to u%d", s.ID, s.User, owner[s.ID], i)
		}
		owner[s.ID] = s.User
		if s.Warmth != Cold {
			claimed++
		}
	}
	if claimed != 8 {
		t.Fatalf("%d of 8 warm sessions were claimed", claimed)
	}
}

func TestOnlyAFitAndMatchingSessionIsClaimed(t *testing.T) {
	for name, spoil := range map[string]func(h *host, n *node, id string) Request{
		"another image": func(*host, *node, string) Request { return Request{Image: "easel.local/other:1"} },
		"not up yet": func(h *host, n *node, id string) Request {
			h.say(id, func(x *contract.Health) {
				x.Services = map[string]contract.Service{"xorg": {State: contract.Starting}, "gimp": {State: contract.Running}}
			})
			n.until(id, "heard", func(s Session) bool { return !n.well(s.Record) })
			return Request{}
		},
		"something in it ended": func(h *host, n *node, id string) Request {
			h.say(id, func(x *contract.Health) {
				x.Services = map[string]contract.Service{"xorg": {State: contract.Running, Restarts: 1}, "gimp": {State: contract.Running}}
			})
			n.untilReleased(id)
			return Request{}
		},
		"dead": func(h *host, n *node, id string) Request {
			h.die(id, 1)
			n.untilReleased(id)
			return Request{}
		},
		"retired": func(_ *host, n *node, id string) Request {
			if err := n.Retire(t.Context(), id, "enough"); err != nil {
				t.Fatal(err)
			}
			return Request{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			n := start(t, h, "", nil)
			id := n.warm(WarmReady)
			q := spoil(h, n, id)
			q.User, q.Key = "ann", "k"
			s, _, err := n.Reserve(t.Context(), q)
			if err != nil || s.ID == id || s.Warmth != Cold {
				t.Fatalf("%+v, %v", s.Record, err)
			}
		})
	}
}

func TestUnclaimedSessionEndsWhenItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", func(o *Options) { o.Grace = time.Second })
		id := n.warm(WarmDesktop)
		time.Sleep(30 * time.Minute)
		if s, err := n.Get(id); err != nil || s.State != Ready {
			t.Fatalf("after half its time: %+v, %v", s.Record, err)
		}
		time.Sleep(31 * time.Minute)
		n.untilReleased(id)
		if s, _ := n.Get(id); s.State != Stopped || !strings.Contains(s.Reason, "nobody claimed it") {
			t.Fatalf("%+v", s.Record)
		}
		n.expectNothingLeft(h)
		n.cut()
		<-n.ended
	})
}

func TestFullNodeGivesAWarmSessionsPlaceAway(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 2 })
	h.profiles["ann"] = true
	ready := n.warm(WarmReady) // not for her
	n.reserve("bob", "cold")   // bob has none: claims it
	second := n.warm(WarmReady)
	if s, err := n.Status(t.Context()); err != nil || s.Full != "" || s.Used != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	s, _ := n.reserve("ann", "k")
	if s.Warmth != Cold || s.ID == second {
		t.Fatalf("%+v", s.Record)
	}
	n.untilReleased(second)
	n.untilState(s.ID, Ready)
	if taken, err := n.Get(ready); err != nil || taken.User != "bob" {
		t.Fatalf("%+v, %v", taken.Record, err)
	}
	var refusal *Refusal
	if _, err := n.Prepare(t.Context(), "", "", WarmReady, time.Now().Add(time.Hour)); !errors.As(err, &refusal) || refusal.Reason != "full" {
		t.Fatalf("a warm session on a full node: %v", err)
	}
	if _, _, err := n.Reserve(t.Context(), Request{User: "cyd", Key: "k"}); !errors.As(err, &refusal) || refusal.Reason != "full" {
		t.Fatalf("a session that nothing gives way to: %v", err)
	}
}

func TestRetireLeavesAClaimedSessionAlone(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	id := n.warm(WarmReady)
	n.reserve("ann", "k")
	if err := n.Retire(t.Context(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	n.untilState(id, Ready)
}

func TestWarmSessionsAreNobodysInLists(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	id := n.warm(WarmReady)
	if all, err := n.List("", true); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	warm, err := n.Warm()
	if err != nil || len(warm) != 1 || warm[0].ID != id || !warm[0].Up || warm[0].Kind != WarmReady || warm[0].Digest == "" {
		t.Fatalf("%+v, %v", warm, err)
	}
}

// TestWarmSessionIsTakenUpAfterARestart: and can then be claimed.
func TestWarmSessionIsTakenUpAfterARestart(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	id := n.warm(WarmReady)
	n.stop()
	n = start(t, h, "", nil)
	n.until(id, "up", func(s Session) bool { return n.well(s.Record) })
	if s, _ := n.reserve("ann", "k"); s.ID != id || h.times("container") != 1 {
		t.Fatalf("%+v", s.Record)
	}
	n.untilState(id, Ready)
}

func TestReplayedIntentNamesTheSessionEvenEnded(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	q := Request{User: "ann", Key: "k", Intent: "i1", NotAfter: time.Now().Add(time.Minute)}
	first, created, err := n.Reserve(t.Context(), q)
	if err != nil || !created || first.Intent != "i1" || first.Proto().Intent != "i1" {
		t.Fatalf("%+v, %v", first.Record, err)
	}
	if _, err := n.Stop(t.Context(), first.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	n.untilReleased(first.ID)
	q.NotAfter = time.Now().Add(-time.Hour) // what was made is told of however late
	if again, created, err := n.Reserve(t.Context(), q); err != nil || created || again.ID != first.ID || !again.State.Ended() {
		t.Fatalf("%+v, %v, %v", again.Record, created, err)
	}
	q.User = "bob"
	if _, _, err := n.Reserve(t.Context(), q); !errors.Is(err, ErrInvalid) {
		t.Fatalf("the intent of another user: %v", err)
	}
}

func TestLateRequestMakesNoSession(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	n.warm(WarmReady)
	for _, tc := range []struct {
		ago  time.Duration
		late bool
	}{{-time.Second, false}, {clockLeeway / 2, false}, {clockLeeway + time.Second, true}, {time.Hour, true}} {
		q := Request{User: "ann", Key: tc.ago.String(), Intent: tc.ago.String(), NotAfter: time.Now().Add(-tc.ago)}
		_, created, err := n.Reserve(t.Context(), q)
		var refusal *Refusal
		if late := errors.As(err, &refusal) && refusal.Reason == "late"; late != tc.late || created == tc.late {
			t.Errorf("%s late: created %v, %v", tc.ago, created, err)
		}
	}
}

func TestWhoHasJustGotASessionGoesBeforeWarmOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", nil)
		s, _ := n.reserve("ann", "k")
		n.untilState(s.ID, Ready)
		if is, err := n.Starting(); err != nil || !is {
			t.Fatalf("%v, %v", is, err)
		}
		time.Sleep(firstMoments)
		if is, err := n.Starting(); err != nil || is {
			t.Fatalf("%v, %v", is, err)
		}
		n.cut()
		<-n.ended
	})
}

// BenchmarkClaim is a claim on a node's real database, synced to the disk, beside a hundred sessions that have ended and seven that live.
func BenchmarkClaim(b *testing.B) {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "noded.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	store, err := NewStore(db, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	m := New(Options{
		Image: "easel.local/gimp:trixie", Admission: Admission{Max: 8}, Store: store, Homes: &host{profiles: map[string]bool{}, failing: map[string]error{}},
		Points: failpoint.New(Failpoints()), Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
	})
	record := func(i int) Record {
		return Record{
			ID: newID(), User: "u", Key: fmt.Sprint(i), Image: m.settings().Image, Class: "none", Wanted: WantRunning, State: Connected, Created: time.Now(),
			Steps: map[string]Phase{"dirs": Done, "home": Done, "container": Done, "task": Done, "streamer": Done},
			Times: []StateTime{{Reserved, time.Now()}, {Starting, time.Now()}, {Ready, time.Now()}, {Connected, time.Now()}},
		}
	}
	var others []Record
	for i := range 107 {
		r := record(i)
		if i < 100 {
			r.State, r.Wanted, r.Released = Stopped, WantEnded, time.Now()
		}
		others = append(others, r)
	}
	change := func(records ...Record) {
		if err := store.Change(func([]Record) ([]Record, error) { return records, nil }); err != nil {
			b.Fatal(err)
		}
	}
	change(others...)
	var took []time.Duration
	last := others[0]
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		warm := record(i)
		warm.User, warm.Key, warm.Warmth, warm.State, warm.Expires = "", "", WarmReady, Ready, time.Now().Add(time.Hour)
		last.State, last.Released = Stopped, time.Now()
		change(warm, last) // the claimed one of before lives no more: the node is of one size
		last = warm
		k := &keeper{claimed: make(chan struct{}, 1)}
		k.health.Store(&contract.Health{Ready: true, Services: map[string]contract.Service{"gimp": {State: contract.Running}}})
		m.keepers = map[string]*keeper{warm.ID: k}
		b.StartTimer()
		begin := time.Now()
		s, _, err := m.Reserve(b.Context(), Request{User: fmt.Sprintf("new%d", i), Key: "k", Intent: fmt.Sprint(i)})
		took = append(took, time.Since(begin))
		if err != nil || s.ID != warm.ID {
			b.Fatalf("%+v, %v", s.Record, err)
		}
		if i > 100 {
			b.StopTimer()
			if err := store.Prune(time.Now().Add(-time.Hour), 100); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

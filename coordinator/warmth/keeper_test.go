package warmth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

func openBook(t *testing.T, path string) (*Book, *state.Store) {
	t.Helper()
	store, err := state.Open(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return NewBook(store), store
}

// fleet is nodes that write down what they are told.
type fleet struct {
	mu    sync.Mutex
	nodes []cluster.Node
	told  map[string]*easelv1.SetPoolRequest
	calls int
	deaf  string
}

func (f *fleet) Nodes() []cluster.Node { return f.nodes }

func (f *fleet) SetPool(_ context.Context, n cluster.Meta, req *easelv1.SetPoolRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if n.Name == f.deaf {
		return errors.New("no answer")
	}
	f.told[n.Name] = req
	return nil
}

func newKeeper(t *testing.T, f *fleet) *Keeper {
	book, _ := openBook(t, filepath.Join(t.TempDir(), "c.db"))
	return &Keeper{
		Book: book, Fleet: f, Leads: func() bool { return true }, Log: slog.New(slog.DiscardHandler),
		Wanted: NewWanted(prometheus.NewRegistry()), told: map[string]told{},
	}
}

func TestNodesAreToldTheirPartsOnceAndWhenTheyChange(t *testing.T) {
	f := &fleet{nodes: []cluster.Node{node("a", "eu", 8, 0), node("b", "us", 8, 0)}, told: map[string]*easelv1.SetPoolRequest{}, deaf: "b"}
	k := newKeeper(t, f)
	now := time.Now()
	step := func(at time.Time, calls int) {
		t.Helper()
		f.calls = 0
		all, err := k.step(t.Context(), at)
		if err != nil || all != (f.deaf == "" || calls == 0) {
			t.Fatal(all, err)
		}
		if f.calls != calls {
			t.Fatalf("%d nodes were told, want %d", f.calls, calls)
		}
	}
	step(now, 0) // there never was a policy
	if err := k.Book.SetPolicy(t.Context(), Policy{Mode: Fixed, Ready: 1, Desktop: 4}); err != nil {
		t.Fatal(err)
	}
	step(now, 2)
	f.deaf = ""
	step(now, 1) // the one that did not hear
	step(now, 0)
	total := map[string]uint32{}
	for _, req := range f.told {
		if req.GetOwn() {
			t.Errorf("told %v", req)
		}
		for _, p := range req.GetPools() {
			total[p.GetKind()] += p.GetWant()
			if p.GetClass() != "none" || p.GetImage() != "" {
				t.Errorf("told %v", p)
			}
		}
	}
	if total["ready"] != 1 || total["desktop"] != 4 {
		t.Errorf("told %v in all", total)
	}
	step(now.Add(time.Minute), 0)
	step(now.Add(again), 2)
	if was, err := k.Book.ClearPolicy(t.Context(), "", ""); err != nil || !was {
		t.Fatal(was, err)
	}
	step(now.Add(again), 2)
	if !f.told["a"].GetOwn() || !f.told["b"].GetOwn() {
		t.Errorf("told %v", f.told)
	}
	f.nodes = f.nodes[:1] // b is cut off; when it is back it is told again
	step(now.Add(again), 0)
	f.nodes = append(f.nodes, node("b", "us", 8, 0))
	step(now.Add(again), 1)
}

// TestChangedPolicyIsToldAtOnce: and what is told follows who leads.
func TestChangedPolicyIsToldAtOnce(t *testing.T) {
	f := &fleet{nodes: []cluster.Node{node("a", "eu", 8, 0)}, told: map[string]*easelv1.SetPoolRequest{}}
	k := newKeeper(t, f)
	var leads atomic.Bool
	k.Leads = leads.Load
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	told := func(want uint32) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			f.mu.Lock()
			pools := f.told["a"].GetPools()
			f.mu.Unlock()
			if len(pools) == 1 && pools[0].GetWant() == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the node was told %v, want %d", pools, want)
			}
		}
	}
	leads.Store(true)
	for want := range uint32(2) {
		if err := k.Book.SetPolicy(t.Context(), Policy{Mode: Fixed, Desktop: int(want) + 1}); err != nil {
			t.Fatal(err)
		}
		told(want + 1)
	}
	k.Book.Arrived(Arrival{}, time.Now())
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(k.Book.news) != 0 {
		t.Error("what had arrived was not written at the end")
	}
}

// TestNoRestOnceARoundWentByWhatIsOld: that may have changed while it went on.
func TestNoRestOnceARoundWentByWhatIsOld(t *testing.T) {
	var leads atomic.Bool
	k := newKeeper(t, &fleet{})
	k.Leads = leads.Load
	for name, change := range map[string]func() error{
		"another policy":    func() error { return k.Book.SetPolicy(t.Context(), Policy{Mode: Fixed, Desktop: 1}) },
		"another one leads": func() error { leads.Store(!leads.Load()); return nil },
	} {
		before := k.look()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if !k.rest(ctx, time.Hour, before) {
			t.Errorf("%s: it rests", name)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if k.rest(ctx, time.Hour, k.look()) {
		t.Error("nothing has changed, and it does not rest")
	}
}

func TestWhatWasAskedForOutlivesTheCoordinator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.db")
	book, store := openBook(t, path)
	now := time.Date(2026, 11, 26, 9, 3, 0, 0, time.UTC)
	for range 3 {
		book.Arrived(Arrival{Region: "eu", Warmth: "ready"}, now)
		book.Arrived(Arrival{Region: "us", Warmth: "desktop", Class: "none"}, now.Add(-24*time.Hour))
		book.Arrived(Arrival{Image: "other", Warmth: "cold"}, now)
	}
	check := func(book *Book) {
		t.Helper()
		h, err := book.history("", "none")
		if err != nil {
			t.Fatal(err)
		}
		s := h.series(now)
		if s.count(slotOf(now)) != 3 || s.count(slotOf(now.Add(-24*time.Hour))) != 3 || s.count(slotOf(now)-1) != 0 {
			t.Errorf("%+v", h)
		}
		if r := h.regions(); r["eu"] != 0.5 || r["us"] != 0.5 {
			t.Errorf("regions %v", r)
		}
		if share := h.readyShare(); share != 0.4 {
			t.Errorf("the share of those without a profile is %v", share)
		}
	}
	check(book) // before it is written
	if err := book.Write(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	check(book)
	book.Arrived(Arrival{}, now.Add(slot))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := book.Write(ended, now); err == nil {
		t.Fatal("written with a context that had ended")
	}
	if err := errors.Join(book.Write(t.Context(), now), store.Close()); err != nil {
		t.Fatal(err)
	}
	book, store = openBook(t, path)
	h, err := book.history("", "")
	if err != nil || h[dayOf(now)].Slots[int(slotOf(now.Add(slot))%int64(slotsOfDay))] != 1 {
		t.Errorf("what could not be written at first is lost: %+v, %v", h, err)
	}
	if err := book.Prune(t.Context(), now.AddDate(0, 0, daysKept)); err != nil {
		t.Fatal(err)
	}
	keys := 0
	_ = store.View(func(tx state.Tx) error {
		return tx.Each(bucketArrivals, func(string, []byte) error { keys++; return nil })
	})
	if keys != 2 { // yesterday's is too old by then
		t.Errorf("%d days are kept", keys)
	}
}

func TestForecastLearnsAClassAndRespectsItsBounds(t *testing.T) {
	h := history{}
	nine := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC) // a Monday
	for week := 1; week <= 4; week++ {
		for i := range 20 {
			at := nine.AddDate(0, 0, -7*week).Add(time.Duration(i-10) * 20 * time.Second)
			d := h[dayOf(at)]
			d.add(day{Slots: map[int]int{int(slotOf(at) - dayOf(at)*int64(slotsOfDay)): 1}})
			h[dayOf(at)] = d
		}
	}
	p := Policy{Mode: Forecast}
	sum := func(w Want) int { return w.Ready + w.Desktop }
	before, night := sum(p.Wants(h, nine.Add(-2*time.Minute))), sum(p.Wants(h, nine.Add(-6*time.Hour)))
	if before < 7 || before > 20 || night > 1 {
		t.Errorf("two minutes before the class %d, at night %d", before, night)
	}
	p.Min, p.Max = 2, 3
	if a, b := sum(p.Wants(h, nine.Add(-2*time.Minute))), sum(p.Wants(h, nine.Add(-6*time.Hour))); a != 3 || b != 2 {
		t.Errorf("bounded: %d and %d", a, b)
	}
	if n := sum(Policy{Mode: Forecast}.Wants(nil, nine)); n != 0 {
		t.Errorf("with no history %d", n)
	}
}

func TestDamagedStateIsNotAnEnd(t *testing.T) {
	book, store := openBook(t, filepath.Join(t.TempDir(), "c.db"))
	now := time.Now()
	err := store.Update(t.Context(), func(tx state.Tx) error {
		tx.Put(bucketPolicies, keyOf("x", ""), []byte(`{"mode":"of a later version"}`))
		tx.Put(bucketArrivals, dayKey("", "", dayOf(now)), []byte(`{"slots":{"99999":1}}`))
		tx.Put(bucketArrivals, keyOf("", "")+"\x00yesterday", []byte(`{`))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := book.Policies(); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if h, err := book.history("", ""); err != nil || len(h) != 0 {
		t.Errorf("%v, %v", h, err)
	}
	book.Arrived(Arrival{}, now)
	if err := book.Write(t.Context(), now); err != nil {
		t.Error(err)
	}
}

func TestPoliciesAreBounded(t *testing.T) {
	book, _ := openBook(t, filepath.Join(t.TempDir(), "c.db"))
	for i := range maxPolicies {
		if err := book.SetPolicy(t.Context(), Policy{Mode: Fixed, Image: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.SetPolicy(t.Context(), Policy{Mode: Fixed, Image: "more"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := book.SetPolicy(t.Context(), Policy{Mode: Forecast, Image: "1"}); err != nil {
		t.Error(err)
	}
	if err := book.SetPolicy(t.Context(), Policy{Mode: "guess"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"easel/noded/session"
)

// fakeSessions is a node's sessions in memory: a warm one takes three seconds to come up.
type fakeSessions struct {
	mu       sync.Mutex
	n        int
	warm     []session.Warm
	begun    []time.Time
	retired  []string
	failed   map[string]bool
	starting bool
	refuse   bool
	lacks    string // a class that has no slice to give
	fail     bool
	digest   string
	changed  chan struct{}
	most     int // that rose at the same time
}

const riseTime = 3 * time.Second

func (f *fakeSessions) ring() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeSessions) Warm() ([]session.Warm, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.warm), nil
}

func (f *fakeSessions) Starting() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.starting, nil
}

func (f *fakeSessions) Prepare(_ context.Context, image, class string, kind session.Warmth, expires time.Time) (session.Warm, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		return session.Warm{}, fmt.Errorf("begin: %w", &session.Refusal{Reason: "full"})
	}
	if f.lacks != "" && class == f.lacks {
		return session.Warm{}, fmt.Errorf("begin: %w", &session.Refusal{Reason: "gpu"})
	}
	if left := time.Until(expires); left < 3*time.Hour || left > 5*time.Hour {
		return session.Warm{}, fmt.Errorf("it would end in %s", left)
	}
	f.n++
	w := session.Warm{ID: fmt.Sprintf("s%d", f.n), Image: image, Class: class, Kind: kind, Digest: f.digest, Begun: time.Now()}
	f.warm, f.begun = append(f.warm, w), append(f.begun, time.Now())
	rising := 0
	for _, w := range f.warm {
		if !w.Up {
			rising++
		}
	}
	f.most = max(f.most, rising)
	time.AfterFunc(riseTime, func() { f.rise(w.ID) })
	return w, nil
}

func (f *fakeSessions) rise(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.warm, func(w session.Warm) bool { return w.ID == id })
	switch {
	case i < 0:
	case f.fail:
		f.failed[id] = true
		f.warm = slices.Delete(f.warm, i, i+1)
	default:
		f.warm[i].Up, f.warm[i].Took = true, riseTime
	}
	f.ring()
}

func (f *fakeSessions) Retire(_ context.Context, id, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retired = append(f.retired, id)
	f.warm = slices.DeleteFunc(f.warm, func(w session.Warm) bool { return w.ID == id })
	f.ring()
	return nil
}

func (f *fakeSessions) Get(id string) (session.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := session.Session{}
	s.State = session.Connected
	if f.failed[id] {
		s.State = session.Failed
	}
	return s, nil
}

func (f *fakeSessions) ImageDigest(context.Context, string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.digest, nil
}

func (*fakeSessions) DefaultImage() string { return "easel.local/gimp:trixie" }

func (f *fakeSessions) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// claim takes the oldest one that is up, as a user does.
func (f *fakeSessions) claim() {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.warm, func(w session.Warm) bool { return w.Up })
	if i >= 0 {
		f.warm = slices.Delete(f.warm, i, i+1)
	}
	f.ring()
}

func (f *fakeSessions) set(change func(*fakeSessions)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
	f.ring()
}

// look is what the fake has counted.
func (f *fakeSessions) look() (begun, most int, retired []string, warm []session.Warm) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.most, slices.Clone(f.retired), slices.Clone(f.warm)
}

func (f *fakeSessions) count(kind session.Warmth) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.warm {
		if w.Kind == kind && w.Up {
			n++
		}
	}
	return n
}

func openDB(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "noded.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func own() []Wish {
	return []Wish{{Kind: session.WarmReady, Want: 1}, {Kind: session.WarmDesktop, Want: 2}}
}

// run keeps a pool while test runs, in a time of its own.
func run(t *testing.T, change func(*Options), test func(*fakeSessions, *Pool)) {
	db := openDB(t)
	synctest.Test(t, func(t *testing.T) {
		f := &fakeSessions{failed: map[string]bool{}, digest: "sha256:1", changed: make(chan struct{})}
		o := Options{
			Sessions: f, DB: db, Own: own(), MaxAge: 4 * time.Hour, CPU: 0.7, Busy: func() (float64, bool) { return 0.1, true },
			Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler),
		}
		if change != nil {
			change(&o)
		}
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		test(f, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func want(t *testing.T, f *fakeSessions, ready, desktop int) {
	t.Helper()
	if r, d := f.count(session.WarmReady), f.count(session.WarmDesktop); r != ready || d != desktop {
		t.Fatalf("%d ready and %d desktop sessions, want %d and %d", r, d, ready, desktop)
	}
}

func TestPoolFillsItselfOneAtATimeAndRefills(t *testing.T) {
	run(t, nil, func(f *fakeSessions, p *Pool) {
		time.Sleep(time.Minute)
		want(t, f, 1, 2)
		f.claim()
		f.claim()
		time.Sleep(time.Minute)
		want(t, f, 1, 2)
		if begun, most, _, _ := f.look(); most != 1 || begun != 5 {
			t.Errorf("%d rose at once, %d were begun", most, begun)
		}
		states, err := p.States()
		if err != nil || len(states) != 2 || states[1].Warm != 1 || states[0].Warm != 2 || states[0].Want != 2 || states[0].Image != f.DefaultImage() {
			t.Errorf("%+v, %v", states, err)
		}
	})
}

func TestNothingIsBegunWhileSomebodyWaitsOrTheHostIsBusy(t *testing.T) {
	var mu sync.Mutex
	busy := 0.9
	run(t, func(o *Options) {
		o.Busy = func() (float64, bool) { mu.Lock(); defer mu.Unlock(); return busy, true }
	}, func(f *fakeSessions, _ *Pool) {
		time.Sleep(time.Minute)
		want(t, f, 0, 0)
		f.set(func(f *fakeSessions) { f.starting = true })
		mu.Lock()
		busy = 0.2
		mu.Unlock()
		time.Sleep(time.Minute)
		want(t, f, 0, 0)
		f.set(func(f *fakeSessions) { f.starting = false })
		time.Sleep(time.Minute)
		want(t, f, 1, 2)
	})
}

func TestFullNodeIsTriedAgainWhenItChanges(t *testing.T) {
	run(t, func(o *Options) { o.Sessions.(*fakeSessions).refuse = true }, func(f *fakeSessions, _ *Pool) {
		time.Sleep(time.Minute)
		want(t, f, 0, 0)
		f.set(func(f *fakeSessions) { f.refuse = false })
		time.Sleep(4 * time.Second)
		if begun, _, _, _ := f.look(); begun == 0 {
			t.Error("nothing was begun when there was room again")
		}
	})
}

// TestAClassWithoutASliceHoldsUpNoOther: rows are tried in turn.
func TestAClassWithoutASliceHoldsUpNoOther(t *testing.T) {
	run(t, func(o *Options) {
		o.Sessions.(*fakeSessions).lacks = "shared"
		o.Own = []Wish{{Class: "shared", Kind: session.WarmReady, Want: 4}, {Class: "none", Kind: session.WarmReady, Want: 2}}
	}, func(f *fakeSessions, _ *Pool) {
		time.Sleep(time.Minute)
		want(t, f, 2, 0)
		f.set(func(f *fakeSessions) { f.lacks = "" })
		time.Sleep(time.Minute)
		want(t, f, 6, 0)
	})
}

// TestBrokenImageDoesNotTurnTheHostIntoAHeater: sessions that do not come up are begun ever more rarely.
func TestBrokenImageDoesNotTurnTheHostIntoAHeater(t *testing.T) {
	run(t, func(o *Options) { o.Sessions.(*fakeSessions).fail = true }, func(f *fakeSessions, _ *Pool) {
		time.Sleep(time.Hour)
		if begun, _, _, _ := f.look(); begun < 5 || begun > 15 {
			t.Errorf("%d were begun within an hour", begun)
		}
		f.set(func(f *fakeSessions) { f.fail = false })
		time.Sleep(mostAgain + time.Minute)
		want(t, f, 1, 2)
	})
}

func TestSurplusAndStaleImagesAreRetired(t *testing.T) {
	run(t, nil, func(f *fakeSessions, p *Pool) {
		time.Sleep(time.Minute)
		if err := p.Set([]Wish{{Kind: session.WarmReady, Want: 1}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want(t, f, 1, 0)
		f.set(func(f *fakeSessions) { f.digest = "sha256:2"; f.retired = nil })
		time.Sleep(2*lookAgain + time.Minute)
		want(t, f, 1, 0)
		if _, _, retired, warm := f.look(); len(retired) != 1 || warm[0].Digest != "sha256:2" {
			t.Errorf("retired %v, there is %+v", retired, warm)
		}
	})
}

func TestHeldPoolIsEmptyWhateverIsWished(t *testing.T) {
	run(t, nil, func(f *fakeSessions, p *Pool) {
		time.Sleep(time.Minute)
		p.Hold()
		time.Sleep(10 * time.Second)
		want(t, f, 0, 0)
		if err := p.Set(own()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want(t, f, 0, 0)
	})
}

// TestOwnWishesChangeWhileItRuns, and stand below what a coordinator has told.
func TestOwnWishesChangeWhileItRuns(t *testing.T) {
	run(t, nil, func(f *fakeSessions, p *Pool) {
		time.Sleep(time.Minute)
		configure := func(ready int) {
			t.Helper()
			if err := p.Configure([]Wish{{Kind: session.WarmReady, Want: ready}}, 4*time.Hour, 0.7); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		configure(3)
		want(t, f, 3, 0)
		if err := p.Set([]Wish{{Kind: session.WarmDesktop, Want: 1}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want(t, f, 0, 1)
		configure(2)
		want(t, f, 0, 1)
		if err := p.SetOwn(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		want(t, f, 2, 0)
		if err := p.Configure([]Wish{{Kind: "lukewarm"}}, 4*time.Hour, 0.7); err == nil {
			t.Error("a wish that makes no sense was taken")
		}
	})
}

func TestWishesOutliveTheDaemon(t *testing.T) {
	db := openDB(t)
	open := func() *Pool {
		f := &fakeSessions{changed: make(chan struct{})}
		p, err := New(Options{Sessions: f, DB: db, Own: own(), Metrics: NewMetrics(prometheus.NewRegistry()), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := open()
	if !slices.Equal(p.wishes, own()) {
		t.Fatalf("at first %+v", p.wishes)
	}
	told := []Wish{{Image: "easel.local/other:1", Kind: session.WarmReady, Want: 3}}
	if err := errors.Join(p.Set(told), p.Set(told)); err != nil {
		t.Fatal(err)
	}
	if p = open(); !slices.Equal(p.wishes, told) {
		t.Fatalf("after a restart %+v", p.wishes)
	}
	if err := p.Set(nil); err != nil {
		t.Fatal(err)
	}
	if p = open(); len(p.wishes) != 0 {
		t.Fatalf("none wished for, and after a restart %+v", p.wishes)
	}
	if err := p.SetOwn(); err != nil {
		t.Fatal(err)
	}
	if p = open(); !slices.Equal(p.wishes, own()) {
		t.Fatalf("its own, and after a restart %+v", p.wishes)
	}
	err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(keyWish, []byte(`[{"kind":"lukewarm"}]`)) })
	if err != nil {
		t.Fatal(err)
	}
	if p = open(); !slices.Equal(p.wishes, own()) {
		t.Fatalf("after rubbish %+v", p.wishes)
	}
}

func TestWishThatMakesNoSenseIsRefused(t *testing.T) {
	p := &Pool{Options: Options{DB: openDB(t)}}
	for _, w := range []Wish{
		{Kind: "lukewarm", Want: 1},
		{Kind: session.Cold, Want: 1},
		{Kind: session.WarmReady, Want: -1},
		{Kind: session.WarmReady, Want: 5000},
		{Kind: session.WarmReady, Image: "a\nb"},
	} {
		if err := p.Set([]Wish{w}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if err := p.Set(make([]Wish, maxWishes+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
}

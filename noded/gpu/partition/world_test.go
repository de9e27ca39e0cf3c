package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/pkg/failpoint"
)

// world is a node's cards on the C double, a keeper of them, and sessions that hold slices.
type world struct {
	t       *testing.T
	machine *nvmltest.Machine
	host    *gpu.Host
	db      *bbolt.DB
	points  *failpoint.Set
	keeper  *Keeper
	boot    string
	device  func(nvml.Device) nvml.Device // nil, or what requests are made of

	mu      sync.Mutex
	held    map[string]Held
	vacated func(ids []string) error // nil: they end
	end     func()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newWorld(t *testing.T, models ...nvmltest.Model) *world {
	t.Helper()
	w := &world{t: t, machine: nvmltest.NewMachine(t, models...), held: map[string]Held{}, boot: "boot-1", points: failpoint.New(Failpoints())}
	t.Setenv(w.machine.Variable())
	w.open(gpu.Library(nvmltest.BuildDouble(t)))
	return w
}

// newMockWorld is the same on go-nvml's mock cards.
func newMockWorld(t *testing.T, model nvmltest.Model) *world {
	t.Helper()
	w := &world{t: t, held: map[string]Held{}, boot: "boot-1", points: failpoint.New(Failpoints())}
	w.open(nvmltest.NewMock(model))
	return w
}

func (w *world) open(lib nvml.Interface) {
	t := w.t
	t.Helper()
	w.host = gpu.Open(lib, quiet(), time.Now)
	t.Cleanup(w.host.Close)
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "noded.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w.db, db.NoSync = db, true
	t.Cleanup(func() { db.Close() })
	w.restart()
	t.Cleanup(func() {
		if w.end != nil {
			w.end()
		}
	})
}

// restart is another start of the daemon; with another boot, of the host.
func (w *world) restart() {
	w.t.Helper()
	if w.end != nil {
		w.end()
	}
	k, err := New(Options{DB: w.db, Cards: w, Boot: w.boot, Points: w.points, Log: quiet()})
	if err != nil {
		w.t.Fatal(err)
	}
	k.again, k.trying = time.Millisecond, 50*time.Millisecond
	if err := k.Recover(w.t.Context()); err != nil {
		w.t.Logf("recover: %v", err)
	}
	w.keeper = k
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	w.end = func() { cancel(); <-done }
	<-k.ready
}

// The cards, as the keeper sees them.

func (w *world) Inventory() gpu.Inventory    { return w.host.Inventory() }
func (w *world) Refresh(ctx context.Context) { w.host.Refresh(ctx) }
func (w *world) Uses(ctx context.Context, card string) ([]gpu.Use, error) {
	return w.host.Uses(ctx, card)
}

func (w *world) Ask(ctx context.Context, card string, request func(nvml.Device) error) error {
	return w.host.Ask(ctx, card, func(d nvml.Device) error {
		if w.device != nil {
			d = w.device(d)
		}
		return request(d)
	})
}

// The sessions.

func (w *world) Held() ([]Held, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.held)), nil
}

func (w *world) Vacate(_ context.Context, ids []string, _ time.Time, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.vacated != nil {
		if err := w.vacated(ids); err != nil {
			return err
		}
	}
	for _, id := range ids {
		delete(w.held, id)
	}
	return nil
}

// hold has a session hold a slice that is handed out.
func (w *world) hold(session, class string) gpu.Slice {
	w.t.Helper()
	for _, s := range w.keeper.Slices() {
		if _, taken := w.held[s.ID]; s.Class == class && s.Unfit == "" && !taken {
			w.held[s.ID] = Held{Slice: s, Session: session, User: "anna"}
			return s
		}
	}
	w.t.Fatalf("there is no %s among %s", class, w.slices())
	return gpu.Slice{}
}

// slices is what is handed out, in words.
func (w *world) slices() string {
	var words []string
	for _, s := range w.keeper.Slices() {
		word := s.Class
		if s.Unfit != "" {
			word += " (" + s.Unfit + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// apply applies a file and returns what was told, and the error at its end.
func (w *world) apply(file string) (events []Event, err error) {
	w.t.Helper()
	job, err := w.keeper.Apply(w.spec(file), 0, w)
	if err != nil {
		return nil, err
	}
	return w.follow(job)
}

func (w *world) follow(job *Job) (events []Event, err error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := job.Follow(ctx, func(e Event) error { events = append(events, e); return nil }); err != nil {
		w.t.Fatal(err)
	}
	if last := events[len(events)-1]; last.Error != "" {
		return events, errors.New(last.Error)
	}
	return events, nil
}

func (w *world) spec(file string) Spec {
	w.t.Helper()
	spec, err := Parse([]byte("version: 1\ncards:\n"+file), "gpu.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	return spec
}

// mig is a rule for the first card.
func mig(profiles ...string) string {
	return fmt.Sprintf("  - index: 0\n    mig: [%s]\n", strings.Join(profiles, ", "))
}

const whole = "  - index: 0\n    whole: true\n"

// state is the first card, in words: its mode and what is on it.
func (w *world) state() string {
	w.t.Helper()
	w.host.Refresh(w.t.Context())
	return describeState(w.t, w.keeper, w.host.Inventory().Cards[0])
}

func describeState(t *testing.T, k *Keeper, c gpu.Card) string {
	t.Helper()
	c.Faults = nil
	s := k.look(t.Context(), c)
	if s.Unasked != "" {
		t.Fatal(s.Unasked)
	}
	if !s.MIG.Enabled {
		if len(c.Instances) > 0 {
			t.Fatalf("MIG mode is off, and there are %v", c.Instances)
		}
		return "whole"
	}
	words := []string{"MIG"}
	for _, i := range s.Present {
		word := i.Place.String()
		if !i.Full {
			word += " (not whole)"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// sound fails unless the record, the cards and the slices agree.
func (w *world) sound() {
	w.t.Helper()
	w.host.Refresh(w.t.Context())
	checkSound(w.t, w.keeper)
}

func checkSound(t *testing.T, k *Keeper) {
	t.Helper()
	l := k.Layout()
	if len(l.Closed) > 0 || k.now.Load().Work != nil {
		t.Fatalf("work is left: %v, %+v", l.Closed, k.now.Load().Work)
	}
	seen := map[string]bool{}
	for _, s := range k.Slices() {
		if s.Unfit != "" || seen[s.ID] {
			t.Fatalf("slice %s (%s): %q", s.ID, s.Class, s.Unfit)
		}
		seen[s.ID] = true
	}
	for _, c := range k.cards.Inventory().Cards {
		d := l.Cards[c.UUID]
		if (d.Mode == MIG) != c.MIG.Enabled || c.MIG.Enabled && len(d.Made) != len(c.Instances) {
			t.Fatalf("card %d is to be %s (%v), and is %+v with %v", c.Index, d, d.Made, c.MIG, c.Instances)
		}
	}
}

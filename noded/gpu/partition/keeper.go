package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/pkg/failpoint"
)

// Cards are the host's cards, as the inventory has them.
type Cards interface {
	Inventory() gpu.Inventory
	// Refresh looks at the cards anew.
	Refresh(ctx context.Context)
	// Ask has a request made of a card, and gives up on a card that does not answer.
	Ask(ctx context.Context, card string, request func(nvml.Device) error) error
	// Uses lists the processes on a card.
	Uses(ctx context.Context, card string) ([]gpu.Use, error)
}

// Sessions are what may be in the way.
type Sessions interface {
	// Held is who holds what: ended sessions too, until nothing of them is left.
	Held() ([]Held, error)
	// Vacate tells the sessions that hold one of the slices why, ends them at the deadline, and returns when none of the slices is held, or
	// with an error.
	Vacate(ctx context.Context, slices []string, deadline time.Time, reason string) error
}

// Options is what a Keeper is made of.
type Options struct {
	DB     *bbolt.DB
	Cards  Cards
	Boot   string // names the host's boot
	Points *failpoint.Set
	Now    func() time.Time // nil for the clock
	Log    *slog.Logger
}

// Bounds of carrying out a plan.
const (
	// usePatience is how long a card may still be in use after its sessions ended.
	usePatience = 30 * time.Second
	useAgain    = 250 * time.Millisecond
	// makeBudget bounds the trying of places on one card.
	makeBudget = 5 * time.Minute
	// endPatience is how long sessions may take to end after their deadline.
	endPatience = 2 * time.Minute
	// MaxDrain bounds how far off a deadline may be.
	MaxDrain = 24 * time.Hour
)

// Keeper keeps a node's layout, and is alone in changing it.
type Keeper struct {
	db     *bbolt.DB
	cards  Cards
	boot   string
	points *failpoint.Set
	clock  func() time.Time
	log    *slog.Logger
	asking patience
	again  time.Duration // between two tries on what is in use
	trying time.Duration // of all such tries

	now   atomic.Pointer[record]
	owned sync.WaitGroup

	ready chan struct{} // closed when Run has begun
	mu    sync.Mutex
	ctx   context.Context // the work's; nil before Run and after its end
	job   *Job            // the latest
}

// New reads what is in force. It changes nothing.
func New(o Options) (*Keeper, error) {
	r, err := load(o.DB)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{db: o.DB, cards: o.Cards, boot: o.Boot, points: o.Points, clock: o.Now, log: o.Log, asking: usual(), again: useAgain, trying: usePatience, ready: make(chan struct{})}
	k.now.Store(&r)
	return k, nil
}

// Layout is what is in force. In a transaction that writes to the same database it cannot change before the transaction's end.
func (k *Keeper) Layout() Layout { return k.now.Load().layout() }

// Slices is what sessions can hold now.
func (k *Keeper) Slices() []gpu.Slice { return Slices(k.Layout(), k.cards.Inventory()) }

// Divided says in words how a card is divided; "" when nobody said.
func (k *Keeper) Divided(card string) string {
	l := k.Layout()
	d, told := l.Cards[card]
	switch why := l.Closed[card]; {
	case why != "":
		return why
	case !told:
		return ""
	}
	return d.String()
}

// Run lets layouts be applied until ctx ends, and returns when no work is left. What it interrupts, the next Recover ends.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx = ctx
	if k.unfinished() { // Recover had too little time
		job := newJob(k.clock)
		k.job = job
		k.owned.Go(func() { job.end(k.carryOut(ctx, job)) })
	}
	k.mu.Unlock()
	close(k.ready)
	<-ctx.Done()
	k.mu.Lock()
	k.ctx = nil
	k.mu.Unlock()
	k.owned.Wait()
	return nil
}

// unfinished tells whether work is recorded that can go on now.
func (k *Keeper) unfinished() bool {
	w := k.now.Load().Work
	return w != nil && slices.ContainsFunc(w.Tasks, func(t task) bool { return t.open() })
}

// ErrBusy is returned while a layout is being applied.
var ErrBusy = errors.New("a layout is being applied already")

// Plan says what applying a file would change now.
func (k *Keeper) Plan(ctx context.Context, spec Spec, sessions Sessions) (Plan, error) {
	inv := k.cards.Inventory()
	if inv.Absent != "" {
		return Plan{}, fmt.Errorf("plan %s: this node has no card to divide: %s", spec.Name, inv.Absent)
	}
	held, err := sessions.Held()
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", spec.Name, err)
	}
	return MakePlan(spec, k.Layout(), k.survey(ctx, inv), held), nil
}

// survey looks at every card.
func (k *Keeper) survey(ctx context.Context, inv gpu.Inventory) []State {
	all := make([]State, 0, len(inv.Cards))
	for _, c := range inv.Cards {
		all = append(all, k.look(ctx, c))
	}
	return all
}

// look is a card as it is. One that is not healthy is not asked: it may not answer.
func (k *Keeper) look(ctx context.Context, c gpu.Card) State {
	s := State{Card: c}
	if len(c.Faults) > 0 {
		return s
	}
	d := k.driver(c)
	err := func() (err error) {
		if s.MIG, err = d.mode(); err != nil || !s.MIG.Capable {
			return err
		}
		if s.Profiles, err = d.profiles(); err != nil {
			return err
		}
		s.Present, err = d.present()
		return err
	}()
	if err != nil {
		s.Unasked = err.Error()
		return s
	}
	s.Users = k.users(ctx, c.UUID)
	return s
}

// users names the processes on a card, in words.
func (k *Keeper) users(ctx context.Context, card string) (words []string) {
	uses, err := k.cards.Uses(ctx, card)
	if err != nil {
		k.log.Warn("cannot tell who uses a card", "card", card, "error", err)
	}
	for _, u := range uses {
		words = append(words, fmt.Sprintf("process %d (%s)", u.PID, u.Name))
	}
	return words
}

func (k *Keeper) driver(c gpu.Card) driver {
	return driver{cards: k.cards, uuid: c.UUID, memory: c.Memory, patience: k.asking}
}

// card finds a card that is there and well.
func (k *Keeper) card(uuid string) (gpu.Card, error) {
	all := k.cards.Inventory().Cards
	i := slices.IndexFunc(all, func(c gpu.Card) bool { return c.UUID == uuid })
	if i < 0 {
		return gpu.Card{}, fmt.Errorf("card %s is not there", uuid)
	}
	return all[i], nil
}

// Apply begins to apply a file, and returns at once: the work goes on whoever follows it. Sessions in the way have so much time.
func (k *Keeper) Apply(spec Spec, drain time.Duration, sessions Sessions) (*Job, error) {
	if drain < 0 || drain > MaxDrain {
		return nil, fmt.Errorf("apply %s: sessions cannot have %s: want 0 to %s", spec.Name, drain, MaxDrain)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ctx == nil:
		return nil, fmt.Errorf("apply %s: the daemon is starting or ending; try again", spec.Name)
	case k.job != nil && !k.job.ended():
		return nil, fmt.Errorf("apply %s: %w, since %s; wait for its end", spec.Name, ErrBusy, k.job.began.Format(time.TimeOnly))
	}
	ctx, job := k.ctx, newJob(k.clock)
	k.job = job
	k.owned.Go(func() {
		err := k.apply(ctx, job, spec, drain, sessions)
		if err != nil {
			k.log.Error("a GPU layout was not applied whole", "file", spec.Name, "error", err)
		}
		job.end(err)
	})
	return job, nil
}

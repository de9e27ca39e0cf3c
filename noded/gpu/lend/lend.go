// Package lend gives the slices of a node's cards to sessions and takes them back: it brings what a slice is made of into a container,
// sees that its memory is free before anybody else gets it, and measures what sessions use of it. Who holds what it does not know: that is
// in the sessions' records.
package lend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu"
)

// Cards are the host's cards.
type Cards interface {
	Inventory() gpu.Inventory
	// Uses lists the processes on a card or a MIG device. It gives up on one that does not answer.
	Uses(ctx context.Context, device string) ([]gpu.Use, error)
	// Ask has a question put to a card or a MIG device, and gives up as Uses does.
	Ask(ctx context.Context, device string, question func(nvml.Device) error) error
}

// Specifications bring devices into containers.
type Specifications interface {
	Make(ctx context.Context, session string, s gpu.Slice) (devices []string, err error)
	Remove(session string) error
	Made() (sessions []string, err error)
}

// Options is what a Lender is made of.
type Options struct {
	Cards     Cards
	Slices    func() []gpu.Slice // what the cards are divided into
	Specs     Specifications
	SessionOf func(pid int) (session string, alive bool) // "" for a process of no session
	Log       *slog.Logger
}

// Lender lends slices. Its methods are safe for concurrent use.
type Lender struct {
	Options
	look   time.Duration // between two looks at who uses the cards
	again  time.Duration // between two looks at a slice that is to be free
	within time.Duration // of which it must be

	seen atomic.Pointer[map[string]use] // by device
}

// use is who was seen to use a device.
type use struct {
	sessions map[string]share
	timed    bool // the driver says how busy each keeps the device
	strangers
}

// share is what a session's processes take of a device.
type share struct {
	memory uint64  // bytes
	busy   float64 // part of its time, 0 to 1
}

// strangers are processes of no session, in words; "" when there are none.
type strangers string

// Patience of a Lender.
const (
	lookEvery  = 5 * time.Second
	freeAgain  = 100 * time.Millisecond
	freeWithin = 20 * time.Second
	askWithin  = 5 * time.Second // one question to a card
)

// New gives a lender that has looked at nothing yet: Run does that.
func New(o Options) *Lender {
	l := &Lender{Options: o, look: lookEvery, again: freeAgain, within: freeWithin}
	l.seen.Store(&map[string]use{})
	return l
}

// Inventory is the cards as they were seen last.
func (l *Lender) Inventory() gpu.Inventory { return l.Cards.Inventory() }

// Slices is every slice, and why one is not handed out: besides what ails its card, a process of no session that uses what is to be a
// session's alone.
func (l *Lender) Slices() []gpu.Slice {
	all, seen := l.Options.Slices(), *l.seen.Load()
	for i := range all {
		if s := &all[i]; s.Unfit == "" && s.Class != gpu.Shared {
			s.Unfit = seen[s.Device()].unfitness()
		}
	}
	return all
}

func (s strangers) unfitness() string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%s, of no session, uses it: end that process", string(s))
}

// Used is what a session's processes took of their device when it was last looked at: bytes of its memory, and a part of its time, which is
// below 0 where the driver does not say. known is false for a device that could not be looked at.
func (l *Lender) Used(s gpu.Slice, session string) (memory uint64, busy float64, known bool) {
	u, known := (*l.seen.Load())[s.Device()]
	took := u.sessions[session]
	if !u.timed {
		took.busy = -1
	}
	return took.memory, took.busy, known
}

// Prepare makes what brings a slice into the container of a session.
func (l *Lender) Prepare(ctx context.Context, s gpu.Slice, session string) ([]string, error) {
	if s.Class != gpu.Shared { // who comes alone finds nobody there
		if err := l.busy(ctx, s, session); err != nil {
			return nil, fmt.Errorf("slice %s is not free: %w", s.ID, err)
		}
	}
	return l.Specs.Make(ctx, session, s)
}

// Prepared names the sessions that Prepare made something for and Free has not taken it away.
func (l *Lender) Prepared() ([]string, error) { return l.Specs.Made() }

// Free takes it away again and returns once the slice is seen to be free of the session's processes; a slice of class Whole or a MIG device,
// of any. A card that cannot be asked lends nothing until it is well again, and then it has forgotten what it held: nobody waits for it.
func (l *Lender) Free(ctx context.Context, s gpu.Slice, session string) error {
	if err := l.Specs.Remove(session); err != nil {
		return err
	}
	if s.ID == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.within)
	defer cancel()
	for {
		if why := l.beyondUse(s); why != "" {
			l.Log.Warn("a slice is taken back unseen", "slice", s.ID, "session", session, "reason", why)
			return nil
		}
		busy := l.busy(ctx, s, session)
		if busy == nil {
			return nil
		}
		timer := time.NewTimer(l.again)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after %s %w", l.within, busy)
		}
	}
}

// beyondUse is why nobody can look at a slice, which then is not handed out either; "" when its card answers.
func (l *Lender) beyondUse(s gpu.Slice) string {
	inv := l.Inventory()
	if inv.Absent != "" {
		return inv.Absent
	}
	i := slices.IndexFunc(inv.Cards, func(c gpu.Card) bool { return c.UUID == s.Card })
	if i < 0 {
		return "its card is gone"
	}
	c := inv.Cards[i]
	for _, f := range c.Faults {
		if f.Code == "lost" || f.Code == "asking" {
			return f.Text
		}
	}
	device := s.Device()
	if device != c.UUID && !slices.ContainsFunc(c.Instances, func(m gpu.Instance) bool { return m.UUID == device }) {
		return "its MIG device is gone"
	}
	return ""
}

// uses asks who uses a device. A question that has been put gets the time that it takes: to the host's cards one that is cut short says that
// the card does not answer.
func (l *Lender) uses(ctx context.Context, device string) ([]gpu.Use, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	return l.Cards.Uses(ctx, device)
}

// busy says who keeps a slice from being free; nil when nobody does.
func (l *Lender) busy(ctx context.Context, s gpu.Slice, session string) error {
	all, err := l.uses(ctx, s.Device())
	if err != nil {
		return fmt.Errorf("nobody can see whether slice %s is free: %w", s.ID, err)
	}
	var holders []gpu.Use
	for _, u := range all {
		of, alive := l.SessionOf(u.PID)
		if s.Class != gpu.Shared || of == session || !alive { // of one that has ended nobody can say whose it was
			holders = append(holders, u)
		}
	}
	if len(holders) == 0 {
		return nil
	}
	return errors.New(words(holders))
}

// words says who uses a device: "process 4242 (gimp) holds 300 MiB".
func words(uses []gpu.Use) string {
	slices.SortFunc(uses, func(a, b gpu.Use) int { return a.PID - b.PID })
	var all []string
	for _, u := range uses[:min(len(uses), 4)] {
		name := u.Name
		if name == "" {
			name = "it has ended"
		}
		all = append(all, fmt.Sprintf("process %d (%s) holds %d MiB", u.PID, name, u.Memory>>20))
	}
	if n := len(uses) - len(all); n > 0 {
		all = append(all, fmt.Sprintf("%d more do", n))
	}
	return strings.Join(all, ", ")
}

// usesOf looks who uses a device.
func (l *Lender) usesOf(ctx context.Context, device string) (use, error) {
	all, err := l.uses(ctx, device)
	if err != nil {
		return use{}, err
	}
	u := use{sessions: map[string]share{}}
	var others []gpu.Use
	for _, p := range all {
		switch of, alive := l.SessionOf(p.PID); {
		case of != "":
			took := u.sessions[of]
			took.memory += p.Memory
			u.sessions[of] = took
		case alive:
			others = append(others, p)
		}
	}
	u.strangers = strangers(words(others))
	return u, nil
}

// Run looks at who uses the cards until ctx ends.
func (l *Lender) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.look)
	defer ticker.Stop()
	for {
		l.lookAround(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// lookAround looks at each device that has a slice.
func (l *Lender) lookAround(ctx context.Context) {
	seen := map[string]use{}
	for _, s := range l.Options.Slices() {
		device := s.Device()
		if _, done := seen[device]; done || ctx.Err() != nil || l.beyondUse(s) != "" {
			continue
		}
		u, err := l.usesOf(ctx, device)
		if err != nil {
			l.Log.Debug("cannot see who uses a card", "device", device, "error", err)
			continue
		}
		l.measure(ctx, device, &u)
		seen[device] = u
	}
	l.tell(seen)
	l.seen.Store(&seen)
}

// tell logs strangers that were not there before, or are others now.
func (l *Lender) tell(seen map[string]use) {
	before := *l.seen.Load()
	for _, device := range slices.Sorted(maps.Keys(seen)) {
		if now := seen[device].strangers; now != "" && now != before[device].strangers {
			l.Log.Warn("a process of no session uses a card", "device", device, "who", string(now))
		}
	}
}

package partition

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"easel/noded/gpu"
)

// change is one card's way forward or back, step by step. Each step is recorded before it is done, and can be done again.
type change struct {
	*Keeper
	job *Job // nil at start
	t   task
	d   driver
}

// step is a part of a change.
type step struct {
	name string
	do   func(c *change, ctx context.Context) error
}

var forwards = []step{
	{"clear", (*change).clear},
	{"mode", (*change).setMode},
	{"make", (*change).make},
	{"verify", (*change).verify},
}

var backwards = []step{
	{"clear", (*change).clearMade},
	{"mode", (*change).resetMode},
	{"make", (*change).remake},
	{"verify", (*change).verifyBack},
}

// Failpoints lists every place of an application where a test may interrupt it.
func Failpoints() []string {
	names := []string{"gpu/closed", "gpu/drained", "gpu/instance", "gpu/half"}
	for _, s := range forwards {
		names = append(names, "gpu/begun-"+s.name, "gpu/made-"+s.name)
	}
	names = append(names, "gpu/committed")
	for _, s := range backwards {
		names = append(names, "gpu/undo-begun-"+s.name, "gpu/undo-made-"+s.name)
	}
	return append(names, "gpu/undone")
}

func (k *Keeper) hit(ctx context.Context, point string) error { return k.points.Hit(ctx, "gpu/"+point) }

func (c *change) tell(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.log.Info("dividing a card: "+text, "card", c.t.Card)
	if c.job != nil {
		c.job.add(Event{Card: c.t.Card, Index: c.t.Index, Text: text})
	}
}

// note records how far the card is.
func (c *change) note(p phase, more func(*task)) error { return c.noteAll(p, more, func(*record) {}) }

func (c *change) noteAll(p phase, more func(*task), all func(*record)) error {
	return c.update(func(r *record) {
		t := r.task(c.t.Card)
		t.Phase = p
		more(t)
		all(r)
		c.t = *t
	})
}

// forward brings the card to what it is to be.
func (c *change) forward(ctx context.Context) error {
	if err := c.walk(ctx, changing, "", forwards); err != nil {
		return err
	}
	to := c.t.To
	to.Made = slices.Concat(c.t.Keep, c.t.Made)
	slices.SortFunc(to.Made, func(a, b Place) int { return a.Start - b.Start })
	if err := c.commit(ctx, func(r *record) { r.Cards[c.t.Card], r.Boot = to, c.boot }); err != nil {
		return err
	}
	c.tell("it is %s now", to)
	_ = c.hit(ctx, "committed") // what is committed is not undone
	return nil
}

// back brings it to what it was.
func (c *change) back(ctx context.Context) error {
	if err := c.walk(ctx, undoing, "undo-", backwards); err != nil {
		return err
	}
	if err := c.commit(ctx, func(*record) {}); err != nil {
		return err
	}
	c.tell("it is as it was before")
	_ = c.hit(ctx, "undone")
	return nil
}

// commit opens the card again, after the inventory has seen it.
func (c *change) commit(ctx context.Context, change func(*record)) error {
	c.cards.Refresh(ctx)
	return c.noteAll(done, func(*task) {}, change)
}

// walk does the steps from the one that was begun.
func (c *change) walk(ctx context.Context, p phase, prefix string, steps []step) error {
	card, err := c.card(c.t.Card)
	if err != nil {
		return err
	}
	if p == changing && len(card.Faults) > 0 { // going back is tried in any case
		return errors.New(card.Faults[0].Text)
	}
	c.d = c.driver(card)
	from := max(0, slices.IndexFunc(steps, func(s step) bool { return s.name == c.t.Step }))
	for _, s := range steps[from:] {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.note(p, func(t *task) { t.Step = s.name }); err != nil {
			return err
		}
		if err := c.hit(ctx, prefix+"begun-"+s.name); err != nil {
			return err
		}
		if err := s.do(c, ctx); err != nil {
			return err
		}
		if err := c.hit(ctx, prefix+"made-"+s.name); err != nil {
			return err
		}
	}
	return nil
}

// patiently does what may be in use for a moment longer, such as by a process that is ending.
func (c *change) patiently(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, c.trying)
	defer cancel()
	ticker := time.NewTicker(c.again)
	defer ticker.Stop()
	for {
		err := do()
		if !errors.Is(err, errInUse) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			users := c.users(context.WithoutCancel(ctx), c.t.Card)
			if len(users) == 0 {
				users = []string{"no process is named; a service such as nvidia-persistenced or DCGM may hold the card"}
			}
			return fmt.Errorf("%w: %s", err, strings.Join(users, ", "))
		}
	}
}

// destroy takes away the instances at some places.
func (c *change) destroy(ctx context.Context, places []Place) error {
	there, err := c.d.present()
	if err != nil {
		return err
	}
	for _, p := range places {
		if !slices.ContainsFunc(there, func(i Instance) bool { return i.Place == p }) {
			continue
		}
		c.tell("destroy %s", p)
		if err := c.patiently(ctx, func() error { return c.d.destroy(p) }); err != nil {
			return err
		}
	}
	return nil
}

// clear takes away what was there and does not stay.
func (c *change) clear(ctx context.Context) error {
	if err := c.foreign(c.t.Was); err != nil {
		return err
	}
	return c.destroy(ctx, minus(c.t.Was, c.t.Keep))
}

// foreign fails when something is on the card that is not of known: it came after the plan was made, and is not ours to touch.
func (c *change) foreign(known []Place) error {
	there, err := c.d.present()
	if err != nil {
		return err
	}
	for _, i := range there {
		if !slices.Contains(known, i.Place) {
			return fmt.Errorf("something else than noded made %s meanwhile: stop what divides this card, and apply again", i.Place)
		}
	}
	return nil
}

func minus(a, b []Place) []Place {
	return slices.DeleteFunc(slices.Clone(a), func(p Place) bool { return slices.Contains(b, p) })
}

func (c *change) setMode(ctx context.Context) error { return c.bring(ctx, c.t.To.Mode == MIG) }

func (c *change) resetMode(ctx context.Context) error { return c.bring(ctx, c.t.MIG) }

// bring turns MIG mode on or off, if it is not so.
func (c *change) bring(ctx context.Context, on bool) error {
	now, err := c.d.mode()
	if err != nil {
		return err
	}
	if now == (gpu.MIG{Capable: true, Enabled: on, Pending: on}) || !now.Capable && !on {
		return nil
	}
	c.tell("turn MIG mode %s", map[bool]string{true: "on", false: "off"}[on])
	if err := c.patiently(ctx, func() error { return c.d.setMode(on) }); err != nil {
		return err
	}
	if now, err = c.d.mode(); err != nil {
		return err
	}
	if now.Enabled != on {
		return fmt.Errorf("turn MIG mode: %w", errReset)
	}
	return nil
}

// make tries one way after the other until the driver takes all of one.
func (c *change) make(ctx context.Context) error {
	if c.t.To.Mode != MIG {
		return nil
	}
	profiles, err := c.d.profiles()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, makeBudget)
	defer cancel()
	var refusal error
	tried := 0
	for made := range c.tries(profiles) {
		if ctx.Err() != nil {
			return fmt.Errorf("the driver took none of the first %d ways to place %s (%w): %w", tried, list(c.t.To.Profiles), context.Cause(ctx), refusal)
		}
		tried++
		if err := c.note(changing, func(t *task) { t.Made = made }); err != nil {
			return err
		}
		err := c.create(ctx, slices.Concat(c.t.Keep, made))
		if err == nil {
			return nil
		}
		if !errors.Is(err, errRefused) {
			return err
		}
		c.tell("%v; trying other places", err)
		refusal = err
		if err := c.destroy(ctx, minus(made, c.t.Keep)); err != nil {
			return err
		}
	}
	return fmt.Errorf("the driver took none of %d ways to place %s: %w", tried, list(c.t.To.Profiles), refusal)
}

// tries yields where the instances may lie: first where an interrupted try, or the layout of before the host's restart, had them.
func (c *change) tries(profiles []Profile) iter.Seq[[]Place] {
	return func(yield func([]Place) bool) {
		before := c.t.Made
		if len(before) > 0 && !yield(before) {
			return
		}
		for made := range arrangements(profiles, c.t.Keep, without(c.t.To.Profiles, c.t.Keep)) {
			if len(before) > 0 && slices.Equal(made, before) {
				continue
			}
			if !yield(made) {
				return
			}
		}
	}
}

// create makes the instances at some places, where they are not whole already.
func (c *change) create(ctx context.Context, places []Place) error {
	there, err := c.d.present()
	if err != nil {
		return err
	}
	for _, p := range places {
		if slices.ContainsFunc(there, func(i Instance) bool { return i.Place == p && i.Full }) {
			continue
		}
		if err := c.hit(ctx, "instance"); err != nil {
			return err
		}
		c.tell("make %s", p)
		if err := c.d.create(p, func() error { return c.hit(ctx, "half") }); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) verify(context.Context) error {
	return c.check(c.t.To.Mode == MIG, slices.Concat(c.t.Keep, c.t.Made))
}

func (c *change) verifyBack(context.Context) error { return c.check(c.t.MIG, c.t.Was) }

// check reads the card back.
func (c *change) check(on bool, want []Place) error {
	mode, err := c.d.mode()
	if err != nil {
		return err
	}
	if mode.Enabled != on {
		return fmt.Errorf("MIG mode reads %v after it was set to %v: something else divides this card", mode.Enabled, on)
	}
	if err := c.foreign(want); err != nil {
		return err
	}
	there, err := c.d.present()
	if err != nil {
		return err
	}
	for _, p := range want {
		if !slices.ContainsFunc(there, func(i Instance) bool { return i.Place == p && i.Full }) {
			return fmt.Errorf("%s is not there, or not whole, after it was made: something else divides this card", p)
		}
	}
	return nil
}

// clearMade takes away what was made.
func (c *change) clearMade(ctx context.Context) error {
	return c.destroy(ctx, minus(c.t.Made, c.t.Was))
}

// remake makes what was there.
func (c *change) remake(ctx context.Context) error { return c.create(ctx, c.t.Was) }

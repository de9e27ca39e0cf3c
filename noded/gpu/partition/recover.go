package partition

import (
	"context"
	"slices"
)

// Recover ends what a kill interrupted: what had touched nothing is taken back, all else is finished or, when that fails, undone. After a restart of
// the host it makes the instances of the layout again, which a boot takes away. It runs before sessions are taken
// up. An error is told, not fatal: the cards in question stay closed.
func (k *Keeper) Recover(ctx context.Context) error {
	r := k.now.Load()
	if w := r.Work; w != nil {
		k.log.Info("ending an interrupted division of GPUs", "file", w.File, "began", w.Began, "drained", w.Drained)
		if err := k.update(func(r *record) { r.resume(k.boot) }); err != nil {
			return err
		}
	}
	if err := k.restore(ctx); err != nil {
		return err
	}
	if k.now.Load().Work == nil {
		return nil
	}
	return k.carryOut(ctx, nil)
}

// resume says what goes on: tasks that had begun, and those that waited for this boot.
func (r *record) resume(boot string) {
	for i := range r.Work.Tasks {
		t, restarted := &r.Work.Tasks[i], r.Work.Boot != boot
		switch {
		case t.Phase == resets && restarted:
			t.Phase = changing
		case t.Phase == failed:
			t.Phase, t.Step = undoing, ""
		}
		if restarted {
			t.Step = "" // what was done may be gone
		}
	}
	r.Work.Boot = boot
	if !r.Work.Drained {
		r.Work.Tasks = slices.DeleteFunc(r.Work.Tasks, func(t task) bool { return t.Phase == waiting })
	}
	if len(r.Work.Tasks) == 0 {
		r.Work = nil
	}
}

// restore records as work what the host's restart took away.
func (k *Keeper) restore(ctx context.Context) error {
	r := k.now.Load()
	if r.Boot == "" || r.Boot == k.boot {
		return nil
	}
	var tasks []task
	for _, c := range k.cards.Inventory().Cards {
		d, told := r.Cards[c.UUID]
		if !told || d.Mode != MIG || r.layout().Closed[c.UUID] != "" {
			continue
		}
		s := k.look(ctx, c)
		if s.Unasked != "" || len(c.Faults) > 0 {
			k.log.Error("a card is not divided as before the host's restart: it cannot be asked", "card", c.UUID, "error", s.Unasked)
			continue
		}
		if t := toRestore(s, d); t != nil {
			tasks = append(tasks, *t)
		}
	}
	return k.update(func(r *record) {
		r.Boot = k.boot
		if len(tasks) > 0 {
			r.begin("the layout of before the host's restart", k.clock(), k.boot, tasks)
			r.Work.Drained = true
		}
	})
}

// toRestore is what is missing of a card's layout; nil when nothing is.
func toRestore(s State, d Division) *task {
	t := task{Card: s.UUID, Index: s.Index, To: d, MIG: s.MIG.Enabled}
	for _, i := range s.Present {
		t.Was = append(t.Was, i.Place)
		if slices.Contains(d.Made, i.Place) && i.usable() {
			t.Keep = append(t.Keep, i.Place)
		}
	}
	t.Made = minus(d.Made, t.Keep)
	if s.MIG.Enabled && len(t.Made) == 0 && len(t.Was) == len(t.Keep) {
		return nil
	}
	return &t
}

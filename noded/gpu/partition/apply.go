package partition

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// apply carries a file out: nothing is touched before the whole of it is known to be possible and nobody is in the way.
func (k *Keeper) apply(ctx context.Context, job *Job, spec Spec, drain time.Duration, sessions Sessions) error {
	p, err := k.Plan(ctx, spec, sessions)
	if err != nil {
		return err
	}
	told := p
	job.add(Event{Plan: &told})
	if why := p.Refusal(); why != "" {
		return fmt.Errorf("apply %s: nothing was touched: %s", spec.Name, why)
	}
	if !p.Changes() {
		return nil
	}
	if err := k.update(func(r *record) { r.begin(spec.Name, k.clock(), k.boot, tasksOf(p)) }); err != nil {
		return err
	}
	p, err = k.empty(ctx, job, p, spec, drain, sessions)
	if err != nil {
		if ctx.Err() != nil {
			return err // the next start takes it back
		}
		return errors.Join(err, k.reopen())
	}
	if err := k.update(func(r *record) { r.begin(spec.Name, k.clock(), k.boot, tasksOf(p)); r.Work.Drained = true }); err != nil {
		return err
	}
	if err := k.hit(ctx, "drained"); err != nil {
		return err
	}
	return k.carryOut(ctx, job)
}

func tasksOf(p Plan) (all []task) {
	for _, c := range p.Cards {
		if !c.Changes() {
			continue
		}
		t := task{Card: c.Card, Index: c.Index, To: c.To, MIG: c.from.MIG.Enabled, Keep: c.way.Keep}
		for _, i := range c.from.Present {
			t.Was = append(t.Was, i.Place)
		}
		all = append(all, t)
	}
	return all
}

// begin records work. What an earlier one left of other cards is kept.
func (r *record) begin(file string, at time.Time, boot string, tasks []task) {
	if r.settle(); r.Work != nil {
		for _, old := range r.Work.Tasks {
			if !slices.ContainsFunc(tasks, func(t task) bool { return t.Card == old.Card }) {
				tasks = append(tasks, old)
			}
		}
	}
	r.Work = &work{File: file, Began: at.UTC(), Boot: boot, Tasks: tasks}
}

// reopen takes back work that has touched nothing.
func (k *Keeper) reopen() error { return k.update((*record).settle) }

// emptyTries bounds how often a card is planned anew because somebody came, or left, meanwhile.
const emptyTries = 10

// empty ends the sessions in the way, and returns the plan as it is then. The cards are closed already but for what stays by the plan that is
// recorded. When another plan fits better who holds what by now, what stays is recorded anew, and then looked at again: somebody may have
// come before that to what does not stay any more.
func (k *Keeper) empty(ctx context.Context, job *Job, p Plan, spec Spec, drain time.Duration, sessions Sessions) (Plan, error) {
	if err := k.hit(ctx, "closed"); err != nil {
		return p, err
	}
	deadline := k.clock().Add(drain)
	waiting, cancel := context.WithTimeout(ctx, drain+endPatience)
	defer cancel()
	for range emptyTries {
		recorded := tasksOf(p)
		var err error
		if p, err = k.Plan(ctx, spec, sessions); err != nil {
			return p, err
		}
		if tasks := tasksOf(p); !reflect.DeepEqual(tasks, recorded) {
			if err := k.update(func(r *record) { r.begin(spec.Name, k.clock(), k.boot, tasks) }); err != nil {
				return p, err
			}
			continue
		}
		if why := p.Refusal(); why != "" { // by now: nobody is sent away for what cannot be done
			return p, fmt.Errorf("apply %s: nothing was touched: %s", spec.Name, why)
		}
		ids := p.inWay()
		if len(ids) == 0 {
			return p, nil
		}
		job.add(Event{Text: fmt.Sprintf("sessions in the way: %d, which end by %s", len(ids), deadline.Local().Format(time.TimeOnly))})
		if err := sessions.Vacate(waiting, ids, deadline, "its graphics card is divided anew"); err != nil {
			return p, fmt.Errorf("apply %s: end the sessions in the way: %w", spec.Name, err)
		}
	}
	return p, fmt.Errorf("apply %s: nothing was touched: sessions come to what is to go as often as they are ended there; drain the node, and try again", spec.Name)
}

// inWay are the slices whose sessions must leave.
func (p Plan) inWay() (ids []string) {
	for _, c := range p.Cards {
		for _, h := range c.InWay {
			ids = append(ids, h.Slice.ID)
		}
	}
	return ids
}

// carryOut does the tasks that are recorded, one after the other. One that fails is undone; the others go on.
func (k *Keeper) carryOut(ctx context.Context, job *Job) error {
	var errs []error
	w := k.now.Load().Work
	for _, t := range w.Tasks {
		if !t.open() {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("apply %s: the daemon ends; its next start goes on: %w", w.File, context.Cause(ctx))
		}
		if err := k.settleCard(ctx, job, t); err != nil {
			errs = append(errs, fmt.Errorf("card %d (%s): %w", t.Index, t.Card, err))
		}
	}
	if ctx.Err() == nil {
		errs = append(errs, k.update((*record).settle))
	}
	return errors.Join(errs...)
}

// settleCard brings a card forward or, when that fails, back.
func (k *Keeper) settleCard(ctx context.Context, job *Job, t task) error {
	run := &change{Keeper: k, job: job, t: t}
	var err error
	if t.Phase != undoing {
		if err = run.forward(ctx); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if errors.Is(err, errReset) {
			return errors.Join(fmt.Errorf("%w: restart the host, and noded does the rest", err),
				run.note(resets, func(t *task) { t.Why = err.Error() }))
		}
		run.tell("%v; taking back what was done", err)
		if err := run.note(undoing, func(t *task) { t.Why, t.Step = err.Error(), "" }); err != nil {
			return err
		}
	} else {
		err = errors.New(t.Why)
	}
	back := run.back(ctx)
	if back == nil {
		return fmt.Errorf("%w; the card is as it was before", err)
	}
	if ctx.Err() != nil {
		return back
	}
	why := fmt.Sprintf("%v; and it cannot be taken back: %v", err, back)
	return errors.Join(errors.New(why), run.note(failed, func(t *task) { t.Why = why }))
}

package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/failpoint"
)

// errEnding is why the making or watching of a session is interrupted: it is wanted ended.
var errEnding = errors.New("the session is to end")

// keeper drives one session: alone it moves what is towards what the record says should be. Others change
// the record (Manager.Stop) and then wake it.
type keeper struct {
	parts
	id      string
	paths   Paths
	began   time.Time // when this noded took the session up
	end     context.CancelCauseFunc
	claimed chan struct{}                   // holds one: look at the record again, somebody has claimed the session
	health  atomic.Pointer[contract.Health] // what the streamer last said
	notes   atomic.Pointer[string]          // what befell the session, for the artist
	crashes []time.Time                     // ends of streamers of late
	latency contract.Latency                // as the streamer told it last: listen's alone, and kept when a claim has the session watched anew

	heldBack atomic.Pointer[string] // why its slice is not free although it has ended
	refuses  atomic.Pointer[string] // what its streamer refuses to be told
}

// parts is what every keeper works with.
type parts struct {
	store      *Store
	containers Containers
	workers    Workers
	homes      Homes
	gpus       GPUs // nil on a node that has none
	encoders   Encoders
	streamers  Streamers
	points     *failpoint.Set
	log        *slog.Logger
	metrics    *Metrics
	media      []string
	relayPorts []uint16
	driver     string
	logLevel   string
	policy     func() contract.Policy // in force now
	grace      time.Duration
	startLimit time.Duration
	changed    func()
	heard      func() <-chan struct{} // closes at the next change of any session
}

// run keeps the session until it is over and holds nothing, or ctx ends; the session outlives ctx. living
// ends with ctx, or before it when the session is wanted ended.
func (k *keeper) run(ctx, living context.Context) {
	pause := backoff{first: 100 * time.Millisecond, most: 15 * time.Second}
	for ctx.Err() == nil {
		r, err := k.store.Get(k.id)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && !r.holds():
			return
		case err == nil && r.Wanted == WantEnded:
			err = k.unmake(ctx)
		case err == nil:
			if err = k.keep(living); context.Cause(living) == errEnding {
				err = nil
			}
		}
		if err == nil {
			pause.reset()
			continue
		}
		if ctx.Err() == nil {
			k.log.Warn("a session does not come forward; trying again", "error", err)
			pause.sleep(ctx)
		}
	}
}

// keep brings a wanted session up and stays with it until something must be done about it: the caller
// then looks at the record again.
func (k *keeper) keep(ctx context.Context) error {
	r, err := k.store.Get(k.id)
	if err != nil {
		return err
	}
	if r.State == Reserved {
		if err := k.enter(ctx, Starting, "", nil); err != nil {
			return err
		}
	}
	making, cancel := context.WithTimeout(ctx, k.startLimit)
	defer cancel()
	if err := k.makeAll(making); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if e, ended := k.hasEnded(ctx); ended {
			return k.fail(ctx, k.epitaph(e))
		}
		return k.fail(ctx, fmt.Sprintf("the node could not %v", err))
	}
	return k.observe(ctx)
}

// makeAttempts bounds how often a step that fails is tried again: a restart of containerd may lie between.
const makeAttempts = 6

func (k *keeper) makeAll(ctx context.Context) error {
	pause := backoff{first: 200 * time.Millisecond, most: 5 * time.Second}
	for attempt := 1; ; attempt++ {
		err := k.makeOnce(ctx)
		if err == nil || ctx.Err() != nil || attempt == makeAttempts {
			return err
		}
		if _, ended := k.hasEnded(ctx); ended {
			return err
		}
		k.log.Warn("a step of a session failed; trying again", "attempt", attempt, "error", err)
		pause.sleep(ctx)
	}
}

// makeOnce does every step that the session has and that is not recorded as done.
func (k *keeper) makeOnce(ctx context.Context) error {
	for _, s := range steps {
		r, err := k.store.Get(k.id)
		if err != nil {
			return err
		}
		if !s.isFor(r) || r.Steps[s.name] == Done {
			continue
		}
		if err := k.make(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.doing, err)
		}
	}
	return nil
}

// make does one step: recorded as begun before, as done after.
func (k *keeper) make(ctx context.Context, s step) error {
	r, err := k.store.Update(k.id, func(r *Record) error {
		if r.Wanted != WantRunning {
			return errEnding
		}
		if r.Steps == nil {
			r.Steps = map[string]Phase{}
		}
		r.Steps[s.name] = Begun
		return nil
	})
	if err != nil {
		return err
	}
	points := pointsOfStep(s.name)
	if err := k.points.Hit(ctx, points[0]); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	start := time.Now()
	result, err := s.do(limited, k, r)
	if err != nil {
		return err
	}
	k.log.Debug("a step of a session is made", "step", s.name, "took", time.Since(start).Round(time.Millisecond))
	if err := k.points.Hit(ctx, points[1]); err != nil {
		return err
	}
	if _, err := k.store.Update(k.id, func(r *Record) error {
		if result != nil {
			result(r)
		}
		r.Steps[s.name] = Done
		return nil
	}); err != nil {
		return err
	}
	return k.points.Hit(ctx, points[2])
}

// unmake undoes every step that was begun, the last first, and releases the session.
func (k *keeper) unmake(ctx context.Context) error {
	for i := len(steps) - 1; i >= 0; i-- {
		r, err := k.store.Get(k.id)
		if err != nil {
			return err
		}
		if r.Steps[steps[i].name] == "" {
			continue
		}
		if err := k.undo(ctx, steps[i], r); err != nil {
			return fmt.Errorf("undo \"%s\": %w", steps[i].doing, err)
		}
	}
	r, err := k.store.Get(k.id)
	if err != nil {
		return err
	}
	free := func(r *Record) { r.Released = time.Now() }
	if r.State == Stopping {
		err = k.enter(ctx, Stopped, "", free)
	} else {
		err = k.transition(ctx, release, func(r *Record) error { free(r); return nil })
	}
	if err == nil {
		k.log.Info("session is gone", "state", r.State, "reason", r.Reason)
	}
	return err
}

// undo takes one step back: cleared from the record only after it is gone.
func (k *keeper) undo(ctx context.Context, s step, r Record) error {
	points := pointsOfStep(s.name)
	if err := k.points.Hit(ctx, points[3]); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.timeout+endGrace)
	defer cancel()
	if err := s.undo(limited, k, r); err != nil {
		return err
	}
	if err := k.points.Hit(ctx, points[4]); err != nil {
		return err
	}
	if _, err := k.store.Update(k.id, func(r *Record) error { delete(r.Steps, s.name); return nil }); err != nil {
		return err
	}
	return k.points.Hit(ctx, points[5])
}

// enter moves the session to a state, with whatever else changes in the same transaction.
func (k *keeper) enter(ctx context.Context, next State, reason string, change func(*Record)) error {
	err := k.transition(ctx, string(next), func(r *Record) error {
		if err := r.enter(next, reason, time.Now()); err != nil {
			return err
		}
		if change != nil {
			change(r)
		}
		return nil
	})
	if err == nil {
		k.log.Info("session changes state", "state", next, "reason", reason)
	}
	return err
}

func (k *keeper) transition(ctx context.Context, name string, change func(*Record) error) error {
	points := pointsOfTransition(name)
	if err := k.points.Hit(ctx, points[0]); err != nil {
		return err
	}
	if _, err := k.store.Update(k.id, change); err != nil {
		return err
	}
	k.changed()
	return k.points.Hit(ctx, points[1])
}

// fail gives the session up for a reason; what it holds is taken away next.
func (k *keeper) fail(ctx context.Context, reason string) error {
	k.metrics.failed.Inc()
	return k.enter(ctx, Failed, words(reason, 2*maxWords), func(r *Record) { r.Wanted = WantEnded })
}

// finish ends a session that nobody uses.
func (k *keeper) finish(ctx context.Context, reason string) error {
	return k.enter(ctx, Stopping, reason, func(r *Record) { r.Wanted = WantEnded })
}

// backoff is a wait that doubles each time, up to a bound.
type backoff struct{ first, most, next time.Duration }

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) sleep(ctx context.Context) {
	b.next = min(max(b.first, b.next*2), b.most)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

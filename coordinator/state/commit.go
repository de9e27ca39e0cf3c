package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// Bounds of the tries to get a change through.
const (
	pauseMin = 5 * time.Millisecond
	pauseMax = 100 * time.Millisecond

	showPatience = time.Second
)

var (
	errNotLeading = errors.New("this coordinator does not lead")
	errNoLeader   = errors.New("no coordinator leads")
)

// update is Store.Update. A refusal by change counts when it was decided on a state that is up to date, for on a stale one it may
// be wrong.
func (r *replica) update(ctx context.Context, change func(Tx) error) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	fresh := false
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		commit, err := r.try(change)
		if err != nil {
			if fresh || errors.Is(err, ErrInvalid) {
				return err
			}
			if err := r.barrier(ctx); err != nil {
				return err
			}
			fresh = true
			continue
		}
		out, err := r.submit(ctx, commit)
		if err != nil {
			return err
		}
		if !out.conflict {
			r.show(ctx, out.index)
			return nil
		}
		if err := r.machine.wait(ctx, out.index); err != nil { // what it was with
			return r.unavailable(err)
		}
		fresh = false
		if !sleep(ctx, rand.N(pause)) {
			return fmt.Errorf("%w: others keep changing the same records; try again", ErrUnavailable)
		}
	}
}

// show waits until who asked sees here what was written; not long where this coordinator lags, for it is done.
func (r *replica) show(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, showPatience)
	defer cancel()
	_ = r.machine.wait(ctx, index)
}

// try runs a change on the state as it is here.
func (r *replica) try(change func(Tx) error) (commit *easelv1.StateCommit, err error) {
	err = r.machine.db.View(func(tx *bbolt.Tx) error {
		a := newAttempt(tx, true)
		if err := errors.Join(change(a), a.err); err != nil {
			return err
		}
		commit, err = a.commit()
		return err
	})
	return commit, err
}

// submit has the leader carry a commit out, whoever leads, and tries again until it knows the outcome or ctx ends.
func (r *replica) submit(ctx context.Context, commit *easelv1.StateCommit) (outcome, error) {
	known := "nothing was changed"
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		moved := r.leaderMoved.wait()
		out, err := r.submitOnce(ctx, commit)
		if err == nil || errors.Is(err, ErrInvalid) {
			return out, err
		}
		if !errors.Is(err, errNoLeader) && !errors.Is(err, raft.ErrNotLeader) {
			known = "whether the change was made is not known"
		}
		if !r.pause(ctx, moved, pause) {
			return outcome{}, fmt.Errorf("%w; %s", r.unavailable(err), known)
		}
	}
}

func (r *replica) submitOnce(ctx context.Context, commit *easelv1.StateCommit) (outcome, error) {
	if r.raft.State() == raft.Leader {
		return r.apply(ctx, commit)
	}
	var answer *connect.Response[easelv1.StateCommitResponse]
	err := r.askLeader(ctx, func(ctx context.Context, leader easelv1connect.StateServiceClient) (err error) {
		answer, err = leader.Commit(ctx, connect.NewRequest(&easelv1.StateCommitRequest{Commit: commit}))
		return err
	})
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return outcome{}, err
	}
	r.learn(ctx, answer.Msg.GetMark())
	return outcome{index: answer.Msg.GetIndex(), conflict: answer.Msg.GetConflict()}, nil
}

// apply carries a commit out through this raft, which leads.
func (r *replica) apply(ctx context.Context, commit *easelv1.StateCommit) (outcome, error) {
	if err := checkCommit(commit); err != nil {
		return outcome{}, err
	}
	raw, err := proto.Marshal(commit)
	if err != nil {
		return outcome{}, err
	}
	var future raft.ApplyFuture
	err = r.await(ctx, func() raft.Future {
		future = r.raft.Apply(raw, r.cfg.timing.patience)
		return future
	})
	if err != nil {
		return outcome{}, err
	}
	switch response := future.Response().(type) {
	case outcome:
		return response, nil
	case error:
		return outcome{}, response
	}
	return outcome{}, errStopped
}

// bounded is ctx with an end within the patience.
func (r *replica) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.cfg.timing.patience)
}

// pause waits a moment, shorter when another takes the lead. It returns false when there is no time left.
func (r *replica) pause(ctx context.Context, moved <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-moved:
	case <-timer.C:
	case <-r.ctx.Done():
		return false
	case <-ctx.Done():
		return false
	}
	return ctx.Err() == nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unavailable says what keeps the coordinators from agreeing, as far as this one sees.
func (r *replica) unavailable(cause error) error {
	if failing := r.machine.health(); failing != nil {
		return fmt.Errorf("%w: this one cannot write its database: %w", ErrUnavailable, failing)
	}
	servers, voters := r.servers(), 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if len(servers) == 0 {
		return fmt.Errorf("%w: this one is not a member yet: %w", ErrUnavailable, cause)
	}
	if _, id := r.raft.LeaderWithID(); id == "" {
		return fmt.Errorf("%w: none leads, because fewer than %d of the %d that have a vote hear each other; what they know can be read, but not changed (coordinator member list shows them)",
			ErrUnavailable, voters/2+1, voters)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

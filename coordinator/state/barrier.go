package state

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// Barriers that a coordinator begins. More callers than that share one, so that whoever invents cookies cannot have every
// request ask the leader.
const (
	barriersPerSecond = 500
	barriersAtOnce    = 50
)

// barrier is Store.Barrier.
func (r *replica) barrier(ctx context.Context) error {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	index, err := r.barriers.join(ctx, r.spawn, func() (uint64, error) {
		ctx, cancel := r.bounded(r.ctx)
		defer cancel()
		if err := r.bounds.Wait(ctx); err != nil {
			return 0, err
		}
		r.asks.Add(1)
		return r.readIndex(ctx)
	})
	if err == nil {
		err = r.machine.wait(ctx, index)
	}
	if err != nil && !errors.Is(err, ErrUnavailable) {
		err = r.unavailable(err)
	}
	return err
}

// Barriers is how often this coordinator asked who leads how far the state is.
func (s *Store) Barriers() uint64 {
	if r := s.replica.Load(); r != nil {
		return r.asks.Load()
	}
	return 0
}

// readIndex asks the leader, whoever leads, how far one must be to have seen all of before.
func (r *replica) readIndex(ctx context.Context) (uint64, error) {
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		moved := r.leaderMoved.wait()
		index, err := r.readIndexOnce(ctx)
		if err == nil {
			return index, nil
		}
		if !r.pause(ctx, moved, pause) {
			return 0, r.unavailable(err)
		}
	}
}

func (r *replica) readIndexOnce(ctx context.Context) (uint64, error) {
	if r.raft.State() == raft.Leader {
		return r.ownReadIndex(ctx)
	}
	var answer *connect.Response[easelv1.StateReadIndexResponse]
	err := r.askLeader(ctx, func(ctx context.Context, leader easelv1connect.StateServiceClient) (err error) {
		answer, err = leader.ReadIndex(ctx, connect.NewRequest(&easelv1.StateReadIndexRequest{}))
		return err
	})
	if err != nil {
		return 0, err
	}
	r.learn(ctx, answer.Msg.GetMark())
	return answer.Msg.GetIndex(), nil
}

// ownReadIndex is the leader's: it makes sure that it still leads after it looked.
func (r *replica) ownReadIndex(ctx context.Context) (uint64, error) {
	if !r.leads() {
		return 0, errNotLeading
	}
	committed := r.raft.CommitIndex()
	if err := r.await(ctx, r.raft.VerifyLeader); err != nil {
		return 0, fmt.Errorf("%w: %w", errNotLeading, err)
	}
	want, err := lastForMachine(r.logs, committed)
	if err != nil {
		return 0, err
	}
	err = r.machine.wait(ctx, want)
	return r.machine.index(), err
}

// flights lets callers share what one of them does; a caller never gets what began before it came.
type flights struct {
	mu   sync.Mutex
	next *flight // not begun
	busy bool
}

type flight struct {
	done  chan struct{}
	index uint64
	err   error
}

func (f *flights) join(ctx context.Context, spawn func(func()) error, do func() (uint64, error)) (uint64, error) {
	f.mu.Lock()
	if f.next == nil {
		f.next = &flight{done: make(chan struct{})}
	}
	mine := f.next
	if !f.busy {
		if err := spawn(func() { f.fly(do) }); err != nil {
			f.mu.Unlock()
			return 0, err
		}
		f.busy = true
	}
	f.mu.Unlock()
	select {
	case <-mine.done:
		return mine.index, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (f *flights) fly(do func() (uint64, error)) {
	for {
		f.mu.Lock()
		now := f.next
		f.next = nil
		f.busy = now != nil
		f.mu.Unlock()
		if now == nil {
			return
		}
		now.index, now.err = do()
		close(now.done)
	}
}

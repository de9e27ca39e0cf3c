package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"easel/coordinator/api"
	easelv1 "easel/pkg/api/easel/v1"
)

// patience is how long an artist goes on asking: longer than any round of faults.
const patience = time.Minute

// visitor is an artist during the random faults: opens and ends sessions, and remembers which it has.
type visitor struct {
	c        *Cluster
	name     string
	random   *rand.Rand
	has      map[string]held // by key
	requests int
}

// held is a session that the artist was given and did not end.
type held struct{ id, node string }

// work opens, looks up and ends sessions until working ends. What has been begun is brought to its end: asked again until it is
// answered, for faults pass.
func (v *visitor) work(working, ctx context.Context) error {
	for working.Err() == nil {
		key := fmt.Sprint(v.random.IntN(2))
		var err error
		switch v.random.IntN(4) {
		case 0:
			err = v.end(ctx, key)
		default:
			err = v.open(ctx, key)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		wait(working, time.Duration(100+v.random.IntN(700))*time.Millisecond)
	}
	return nil
}

// open asks for the session of a key. Another one than before is right when the old one was out of reach; whether it was, the end of the
// round shows: two must not live.
func (v *visitor) open(ctx context.Context, key string) error {
	var s api.Session
	err := v.c.through(ctx, patience, func(ctx context.Context, k *Coordinator) (err error) {
		v.requests++
		s, err = v.c.Create(ctx, k, v.name, key)
		if err == nil && !s.Live() {
			err = fmt.Errorf("the one of before is still %s", s.State) // it has its key until it is gone
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("open session %q: %w", key, err)
	}
	v.has[key] = held{s.ID, s.Node}
	return nil
}

func (v *visitor) end(ctx context.Context, key string) error {
	s, ok := v.has[key]
	if !ok {
		return nil
	}
	err := v.c.through(ctx, patience, func(ctx context.Context, k *Coordinator) error {
		v.requests++
		err := v.c.End(ctx, k, v.name, s.id)
		if statusOf(err) == 404 {
			return nil // an answer that got lost, asked for again; or it was lost with its node
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("end session %s: %w", s.id, err)
	}
	delete(v.has, key)
	return nil
}

// reopen asks for a session whose node died, until one can be used: of one that was just being made, the node finds out when it goes on.
func (v *visitor) reopen(ctx context.Context, key string) error {
	return eventually(ctx, patience, "a session in the place of one that died with its node", func() error {
		if err := v.open(ctx, key); err != nil {
			return err
		}
		s := v.has[key]
		now, err := v.c.Node(s.node).Await(ctx, s.id, settleLimit, func(s *easelv1.Session) bool { return settled(s) || !living(s) })
		if err == nil && !settled(now) {
			err = fmt.Errorf("%s is %v (%s)", s.id, now.GetState(), now.GetReason())
		}
		return err
	})
}

// check looks whether every session that the artist holds lives and shows its picture, but for those on nodes that died; of those the
// artist asks for new ones.
func (v *visitor) check(ctx context.Context, dead map[string]bool) error {
	for key, s := range v.has {
		n := v.c.Node(s.node)
		if dead[s.node] {
			if err := v.reopen(ctx, key); err != nil {
				return err
			}
			s = v.has[key]
			n = v.c.Node(s.node)
		}
		if _, err := n.Await(ctx, s.id, settleLimit, settled); err != nil {
			return fmt.Errorf("the session %q of a node that lived: %w", key, err)
		}
		var told api.Session
		if err := v.c.through(ctx, patience, func(ctx context.Context, k *Coordinator) (err error) {
			told, err = v.c.Create(ctx, k, v.name, key)
			return err
		}); err != nil {
			return fmt.Errorf("ask for session %q again: %w", key, err)
		}
		if told.ID != s.id {
			return fmt.Errorf("the session %q was %s on %s, is %s on %s", key, s.id, s.node, told.ID, told.Node)
		}
		look, err := v.c.Look(ctx, told.URL)
		if err != nil {
			return err
		}
		if err := look.Close(); err != nil {
			return err
		}
	}
	return nil
}

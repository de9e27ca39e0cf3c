package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"easel/coordinator/state"
	"easel/pkg/cluster"
)

const (
	// phaseBound is how long a phase of a rotation waits for members that do not say that they have applied it. They get all of
	// it with the trust, whenever they ask a coordinator again.
	phaseBound = 30 * time.Second
	// rotateEvery is how old a gossip key becomes.
	rotateEvery = 30 * 24 * time.Hour
)

// Rotate begins to replace the gossip key; the leading coordinator does the rest, see Run.
func (a *Authority) Rotate(ctx context.Context) error {
	err := a.store.Update(ctx, func(tx state.Tx) error { return errors.Join(rotate(tx, a.now()), bump(tx, a.now())) })
	if err != nil {
		return fmt.Errorf("rotate the gossip key: %w", err)
	}
	return nil
}

// rotate begins a rotation, or has another follow the one that is under way.
func rotate(tx state.Tx, now time.Time) error {
	g, founded, err := get[gossipRecord](tx, bucketCluster, keyGossip)
	if err != nil {
		return err
	}
	if !founded {
		return ErrNotFounded
	}
	if g.Phase != phaseSteady {
		g.Again = true
		return put(tx, bucketCluster, keyGossip, g)
	}
	g.Keys = append(g.Keys[:1:1], newGossipKey())
	return enter(tx, g, phaseAdd, now)
}

// enter writes the beginning of a phase, and its version of the trust.
func enter(tx state.Tx, g gossipRecord, phase string, now time.Time) error {
	if err := bump(tx, now); err != nil {
		return err
	}
	version, err := trustVersion(tx)
	if err != nil {
		return err
	}
	g.Phase, g.Version, g.Since = phase, version, now
	return put(tx, bucketCluster, keyGossip, g)
}

// advance takes the next step of a rotation when all members have applied the last one, and begins one when the key is old. It
// tells whether it did anything.
func (a *Authority) advance(ctx context.Context, view func() []cluster.Member) (bool, error) {
	due := false
	err := a.store.View(func(tx state.Tx) (err error) {
		due, err = a.due(tx, view)
		return err
	})
	if err != nil || !due {
		return false, err
	}
	err = a.store.Update(ctx, func(tx state.Tx) error {
		if due, err := a.due(tx, view); err != nil || !due {
			return err
		}
		g, _, err := get[gossipRecord](tx, bucketCluster, keyGossip)
		if err != nil {
			return err
		}
		switch g.Phase {
		case phaseAdd:
			g.Keys[0], g.Keys[1] = g.Keys[1], g.Keys[0]
			return enter(tx, g, phaseUse, a.now())
		case phaseUse:
			g.Keys, g.Again = g.Keys[:1], false
			again := mustRepeat(tx)
			if err := enter(tx, g, phaseSteady, a.now()); err != nil || !again {
				return err
			}
		}
		return rotate(tx, a.now())
	})
	return err == nil, err
}

func mustRepeat(tx state.Tx) bool {
	g, _, err := get[gossipRecord](tx, bucketCluster, keyGossip)
	return err == nil && g.Again
}

// rotating tells whether a rotation is under way.
func (a *Authority) rotating() bool {
	phase := phaseSteady
	err := a.store.View(func(tx state.Tx) error {
		g, _, err := get[gossipRecord](tx, bucketCluster, keyGossip)
		phase = g.Phase
		return err
	})
	return err == nil && phase != phaseSteady
}

// due tells whether a rotation can go on, or should begin. It looks at the members only while one is under way: they are many.
func (a *Authority) due(tx state.Tx, view func() []cluster.Member) (bool, error) {
	g, founded, err := get[gossipRecord](tx, bucketCluster, keyGossip)
	if err != nil || !founded {
		return false, err
	}
	age := a.now().Sub(g.Since)
	if g.Phase == phaseSteady {
		return age > rotateEvery, nil
	}
	if age > phaseBound {
		return true, nil
	}
	applied := map[string]bool{}
	for _, m := range view() {
		applied[memberKey(m.Meta.Role, m.Meta.Name)] = m.Meta.Trust >= g.Version
	}
	all := true
	err = eachMember(tx, func(role, name string, _ memberRecord) error {
		all = all && applied[memberKey(role, name)]
		return nil
	})
	return all, err
}

package session

import (
	"context"
	"errors"
	"time"

	"easel/noded/stream/contract"
)

// applyWarm moves a session that nobody has claimed to where its streamer says it is: up, or not fit to be given away any more.
func (k *keeper) applyWarm(ctx context.Context, r Record, h contract.Health) (ended bool, err error) {
	if what := ailing(h); what != "" {
		return true, k.discard(ctx, what)
	}
	if r.State == Starting && complete(r) && warmUp(h, r.Warmth) {
		return false, k.enter(ctx, Ready, "", nil)
	}
	return false, nil
}

// tooOld ends a warm session that nobody has claimed in time: what leaks does not add up, and an image may have changed.
func (k *keeper) tooOld(ctx context.Context) error {
	return k.discard(ctx, "nobody claimed it in time; a fresh one takes its place")
}

// discard ends the session unless it has been claimed: then there is no reason to any more, or its new user's keeper will find it.
func (k *keeper) discard(ctx context.Context, reason string) error {
	err := k.transition(ctx, string(Stopping), func(r *Record) error { return r.endWarm(reason, time.Now()) })
	if errors.Is(err, errTaken) {
		return nil
	}
	if err == nil {
		k.log.Info("warm session discarded", "reason", reason)
	}
	return err
}

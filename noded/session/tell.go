package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

const (
	tellPatience = 2 * time.Second // one streamer's answer
	// tellAtOnce is how many streamers are told at the same time.
	tellAtOnce = 16
)

// told is what an artist and the streamer were last told, and which streamer it was.
type told struct {
	worker Worker
	notice contract.Notice
	policy contract.Policy
}

// crier knows what every session was told: nil for one of before this daemon's start, which may have been
// told anything. A session that is not in it was told nothing.
type crier map[string]*told

// knows tells whether the artist has heard the notice, and the streamer the policy. A new streamer has heard no notice, and was started with
// the policy of then, which may not be that of now.
func (c crier) knows(r Record, n contract.Notice, p contract.Policy) (notice, policy bool) {
	t, known := c[r.ID]
	switch {
	case known && t == nil:
		return false, false
	case !known || t.worker != r.Worker:
		return n == contract.Notice{}, false
	}
	return t.notice == n, t.policy == p
}

// untold is what one session is to be told.
type untold struct {
	record    Record
	notice    contract.Notice
	sayNotice bool
	policy    contract.Policy
	sayPolicy bool
}

// tell tells every session's streamer, and returns false when one did not take it.
func (m *Manager) tell(ctx context.Context, sessions []untold, heard crier) bool {
	var mu sync.Mutex
	var group sync.WaitGroup
	slots, all := make(chan struct{}, tellAtOnce), true
	for _, s := range sessions {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			err := m.say(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				all = false
				m.log.Debug("a streamer was not told of the node's duty and policy yet", "session", s.record.ID, "error", err)
				return
			}
			heard[s.record.ID] = &told{worker: s.record.Worker, notice: s.notice, policy: s.policy}
		})
	}
	group.Wait()
	return all
}

// say tells one streamer what is new to it. What it refuses it is not told again: it is of another version, and keeps to what it was told before.
func (m *Manager) say(ctx context.Context, s untold) error {
	ctx, cancel := context.WithTimeout(ctx, tellPatience)
	defer cancel()
	dir := m.places.of(s.record.ID).Worker
	var policy, notice error
	if s.sayPolicy {
		policy = m.streamers.SetPolicy(ctx, dir, s.policy)
		m.noteRefusal(s.record.ID, policy)
	}
	if s.sayNotice {
		if notice = m.streamers.Notify(ctx, dir, s.notice); errors.Is(notice, ErrRefused) {
			m.log.Warn("a streamer refuses the node's notice: viewers find it in the session's status alone", "session", s.record.ID, "error", notice)
			notice = nil
		}
	}
	if errors.Is(policy, ErrRefused) {
		policy = nil
	}
	return errors.Join(policy, notice)
}

// policyRefused is what a session's status says while its streamer refuses the policy.
const policyRefused = "policy: this session's streamer is of another version and refuses the node's: it keeps to the one before until it is started anew"

// noteRefusal has a session's status say whether its streamer refuses the policy.
func (m *Manager) noteRefusal(id string, err error) {
	k := m.keeperOf(id)
	if k == nil {
		return
	}
	if !errors.Is(err, ErrRefused) {
		k.refuses.Store(nil)
		return
	}
	text := policyRefused
	k.refuses.Store(&text)
	m.log.Warn("a streamer refuses the node's policy, and keeps to the one before", "session", id, "error", err)
}

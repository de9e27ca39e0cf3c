package state

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"
)

// carrier is raft's transport, but for votes that this coordinator must not give. Others may still count at its address the one
// that was there before and lost its state; this one, which knows less, would elect a leader that lacks what that one had promised
// to keep.
type carrier struct {
	*raft.NetworkTransport
	calls chan raft.RPC
	ended chan struct{}
}

var errNoVoter = errors.New("this coordinator has no vote yet")

func newCarrier(t *raft.NetworkTransport) *carrier {
	return &carrier{NetworkTransport: t, calls: make(chan raft.RPC), ended: make(chan struct{})}
}

// Consumer is raft's.
func (c *carrier) Consumer() <-chan raft.RPC { return c.calls }

// run hands calls to raft until ctx ends.
func (c *carrier) run(ctx context.Context, mayVote func() bool) {
	defer close(c.ended)
	for {
		select {
		case call := <-c.NetworkTransport.Consumer():
			switch call.Command.(type) {
			case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
				if !mayVote() {
					call.Respond(nil, errNoVoter)
					continue
				}
			}
			select {
			case c.calls <- call:
			case <-ctx.Done():
				call.Respond(nil, raft.ErrRaftShutdown)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// mayVote tells whether raft's configuration, as it is known here, counts this very server among the voters.
func (r *replica) mayVote() bool {
	for _, s := range r.servers() {
		if s.ID == r.id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

package state

import (
	"context"
	"errors"
	"slices"

	"github.com/hashicorp/raft"

	easelv1 "easel/pkg/api/easel/v1"
)

// carrier is raft's transport, but for votes that this coordinator must not give. Others may still count at its address the one
// that was there before and lost its state; this one, which knows nothing yet, would elect a leader that lacks what that one had
// promised to keep.
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

// mark is what this coordinator, when it leads, tells who waits for an entry; nil when it does not know to lead.
func (r *replica) mark(index uint64) *easelv1.StateMark {
	term := r.leadTerm.Load()
	var entry raft.Log
	if term == 0 || r.logs.GetLog(index, &entry) != nil {
		return nil
	}
	return &easelv1.StateMark{Index: index, EntryTerm: entry.Term, Term: term, LeaderId: string(r.id), LeaderAddress: r.cfg.Address}
}

// learn gives raft the message by which the leader says that an entry is committed. The leader sends it too, but up to a tenth of
// a second later, and who asked waits to see what was written. It claims nothing that the leader did not say.
func (r *replica) learn(ctx context.Context, m *easelv1.StateMark) {
	if m == nil || m.GetLeaderId() == string(r.id) || r.machine.index() >= m.GetIndex() {
		return
	}
	leader := r.carrier.EncodePeer(raft.ServerID(m.GetLeaderId()), raft.ServerAddress(m.GetLeaderAddress()))
	call := raft.RPC{RespChan: make(chan raft.RPCResponse, 1), Command: &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.GetLeaderId()), Addr: leader},
		Term:      m.GetTerm(), PrevLogEntry: m.GetIndex(), PrevLogTerm: m.GetEntryTerm(), LeaderCommitIndex: m.GetIndex(),
	}}
	select {
	case r.carrier.calls <- call:
	case <-r.ctx.Done():
	case <-ctx.Done():
	}
}

// mayVote tells whether raft's configuration, as it is known here, counts this very server, if only as a copy: then it has all that
// was committed before it was counted in, and a leader that has just given it a vote needs that vote to lead on.
func (r *replica) mayVote() bool {
	return slices.ContainsFunc(r.servers(), func(s raft.Server) bool { return s.ID == r.id })
}

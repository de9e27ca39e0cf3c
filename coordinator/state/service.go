package state

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// maxMessage bounds a message between coordinators, in bytes: a change with its keys.
const maxMessage = 2*maxChange + 64<<10

// Handler is what coordinators ask of each other, with the path that it is for. The caller lets coordinators of the cluster through,
// and nobody else.
func (s *Store) Handler() (string, http.Handler) {
	return easelv1connect.NewStateServiceHandler(&service{s}, connect.WithReadMaxBytes(maxMessage))
}

type service struct{ store *Store }

// leading returns the replica of this coordinator if it leads, or a refusal that names who does.
func (s *service) leading() (*replica, error) {
	r := s.store.replica.Load()
	if r == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("this coordinator is alone"))
	}
	if r.raft.State() == raft.Leader {
		return r, nil
	}
	refusal := connect.NewError(connect.CodeFailedPrecondition, errNotLeading)
	addr, id := r.raft.LeaderWithID()
	if detail, err := connect.NewErrorDetail(&easelv1.StateNotLeading{Name: nameOf(id), Address: string(addr)}); err == nil {
		refusal.AddDetail(detail)
	}
	return nil, refusal
}

// Commit is StateService's.
func (s *service) Commit(ctx context.Context, req *connect.Request[easelv1.StateCommitRequest]) (*connect.Response[easelv1.StateCommitResponse], error) {
	r, err := s.leading()
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	out, err := r.apply(ctx, req.Msg.GetCommit())
	if err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(&easelv1.StateCommitResponse{Index: out.index, Conflict: out.conflict, Mark: r.mark(out.index)}), nil
}

// ReadIndex is StateService's.
func (s *service) ReadIndex(ctx context.Context, _ *connect.Request[easelv1.StateReadIndexRequest]) (*connect.Response[easelv1.StateReadIndexResponse], error) {
	r, err := s.leading()
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	index, err := r.ownReadIndex(ctx)
	if err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(&easelv1.StateReadIndexResponse{Index: index, Mark: r.mark(index)}), nil
}

// Attend is StateService's. The first that attends makes a coordinator that was alone the first of several.
func (s *service) Attend(ctx context.Context, req *connect.Request[easelv1.StateAttendRequest]) (*connect.Response[easelv1.StateAttendResponse], error) {
	if name := nameOf(raft.ServerID(req.Msg.GetId())); name != s.store.cfg.Network.Peer(ctx) {
		return nil, connect.NewError(connect.CodePermissionDenied, errors.New("a coordinator attends for itself alone"))
	}
	if s.store.replica.Load() == nil && !bytes.Equal(req.Msg.GetFounding(), make([]byte, foundingBytes)) {
		return nil, refuse(errOtherFounding)
	}
	if err := s.store.grow(); err != nil {
		return nil, refuse(err)
	}
	r, err := s.leading()
	if err != nil {
		return nil, err
	}
	if err := r.welcome(req.Msg); err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(&easelv1.StateAttendResponse{}), nil
}

// Remove is StateService's.
func (s *service) Remove(_ context.Context, req *connect.Request[easelv1.StateRemoveRequest]) (*connect.Response[easelv1.StateRemoveResponse], error) {
	r, err := s.leading()
	if err != nil {
		return nil, err
	}
	if err := r.remove(req.Msg.GetName()); err != nil {
		return nil, refuse(err)
	}
	return connect.NewResponse(&easelv1.StateRemoveResponse{}), nil
}

func refuse(err error) error {
	switch {
	case errors.Is(err, ErrInvalid):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, errNotLeading), errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

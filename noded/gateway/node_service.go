package gateway

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"

	"easel/noded/session"
)

// nodeService answers coordinators and the operator's command line.
type nodeService struct {
	sessions Sessions
	pool     Pool
}

// maxMessage bounds a NodeService request, in bytes.
const maxMessage = 64 << 10

func connectLimits() []connect.HandlerOption {
	return []connect.HandlerOption{connect.WithReadMaxBytes(maxMessage)}
}

func (n *nodeService) Reserve(ctx context.Context, req *connect.Request[easelv1.ReserveRequest]) (*connect.Response[easelv1.ReserveResponse], error) {
	q := session.Request{User: req.Msg.User, Key: req.Msg.Key, Class: req.Msg.Class, Image: req.Msg.Image, Encoder: req.Msg.Encoder, Intent: req.Msg.Intent}
	if req.Msg.NotAfter != nil {
		q.NotAfter = req.Msg.NotAfter.AsTime()
	}
	s, created, err := n.sessions.Reserve(ctx, q)
	if err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.ReserveResponse{Session: s.Proto(), Created: created}), nil
}

func (n *nodeService) Get(_ context.Context, req *connect.Request[easelv1.GetRequest]) (*connect.Response[easelv1.GetResponse], error) {
	s, err := n.sessions.Get(req.Msg.Id)
	if err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.GetResponse{Session: s.Proto()}), nil
}

func (n *nodeService) List(_ context.Context, req *connect.Request[easelv1.ListRequest]) (*connect.Response[easelv1.ListResponse], error) {
	all, err := n.sessions.List(req.Msg.User, req.Msg.Ended)
	if err != nil {
		return nil, connectError(err)
	}
	if req.Msg.Warm && req.Msg.User == "" {
		warm, err := n.warmSessions()
		if err != nil {
			return nil, connectError(err)
		}
		all = append(all, warm...)
	}
	resp := &easelv1.ListResponse{}
	for i := range all {
		resp.Sessions = append(resp.Sessions, all[i].Proto())
	}
	return connect.NewResponse(resp), nil
}

func (n *nodeService) Stop(ctx context.Context, req *connect.Request[easelv1.StopRequest]) (*connect.Response[easelv1.StopResponse], error) {
	s, err := n.sessions.Stop(ctx, req.Msg.Id, req.Msg.Reason)
	if err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.StopResponse{Session: s.Proto()}), nil
}

func (n *nodeService) Status(ctx context.Context, _ *connect.Request[easelv1.StatusRequest]) (*connect.Response[easelv1.StatusResponse], error) {
	s, err := n.sessions.Status(ctx)
	if err != nil {
		return nil, connectError(err)
	}
	resp := s.Proto()
	if resp.Pool, err = n.poolStatus(); err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(resp), nil
}

func (n *nodeService) Drain(_ context.Context, req *connect.Request[easelv1.DrainRequest]) (*connect.Response[easelv1.DrainResponse], error) {
	sessions, err := n.sessions.SetDuty(session.OrderOf(req.Msg), req.Msg.GetUntilBoot())
	if err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.DrainResponse{Sessions: uint32(sessions)}), nil
}

// refused is a refusal with its reason beside it.
func refused(err error, reason string) error {
	code := connect.CodeResourceExhausted
	switch reason {
	case "ending":
		code = connect.CodeUnavailable
	case "image", easelv1.RefusalClass, "late":
		code = connect.CodeFailedPrecondition
	}
	e := connect.NewError(code, err)
	e.Meta().Set(easelv1.RefusalHeader, reason)
	return e
}

// connectError gives an error the code that tells a coordinator what to do: another node, later, or never.
func connectError(err error) error {
	var refusal *session.Refusal
	switch {
	case errors.As(err, &refusal):
		return refused(err, refusal.Reason)
	case errors.Is(err, session.ErrNotFound):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, session.ErrInvalid):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return connect.NewError(connect.CodeInternal, err)
}

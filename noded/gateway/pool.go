package gateway

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"

	"easel/noded/pool"
	"easel/noded/session"
)

// Pool is what the gateway asks of the node's warm sessions.
type Pool interface {
	Set(wishes []pool.Wish) error
	SetOwn() error
	Hold()
	States() ([]pool.State, error)
}

// SetPool tells the node how many warm sessions to keep.
func (n *nodeService) SetPool(_ context.Context, req *connect.Request[easelv1.SetPoolRequest]) (*connect.Response[easelv1.SetPoolResponse], error) {
	if n.pool == nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("this node keeps no warm sessions"))
	}
	var err error
	switch m := req.Msg; {
	case m.Hold:
		n.pool.Hold()
	case m.Own:
		err = n.pool.SetOwn()
	default:
		var wishes []pool.Wish
		for _, p := range m.Pools {
			wishes = append(wishes, pool.Wish{Image: p.GetImage(), Class: p.GetClass(), Kind: session.Warmth(p.GetKind()), Want: int(p.GetWant())})
		}
		err = n.pool.Set(wishes)
	}
	if err != nil {
		return nil, connectError(err)
	}
	return connect.NewResponse(&easelv1.SetPoolResponse{}), nil
}

// poolStatus is the pool as Status tells it.
func (n *nodeService) poolStatus() ([]*easelv1.PoolStatus, error) {
	if n.pool == nil {
		return nil, nil
	}
	states, err := n.pool.States()
	if err != nil {
		return nil, err
	}
	var all []*easelv1.PoolStatus
	for _, s := range states {
		all = append(all, &easelv1.PoolStatus{
			Pool: &easelv1.Pool{Image: s.Image, Class: s.Class, Kind: string(s.Kind), Want: uint32(s.Want)},
			Warm: uint32(s.Warm), Starting: uint32(s.Starting),
		})
	}
	return all, nil
}

// warmSessions are those that nobody has claimed, as any session is told of.
func (n *nodeService) warmSessions() ([]session.Session, error) {
	warm, err := n.sessions.Warm()
	if err != nil {
		return nil, err
	}
	var all []session.Session
	for _, w := range warm {
		s, err := n.sessions.Get(w.ID)
		if err == nil { // else it is gone by now
			all = append(all, s)
		}
	}
	return all, nil
}

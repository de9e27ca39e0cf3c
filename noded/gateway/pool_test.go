package gateway

import (
	"errors"
	"slices"
	"testing"

	"connectrpc.com/connect"

	"easel/noded/pool"
	"easel/noded/session"
	easelv1 "easel/pkg/api/easel/v1"
)

type warmPool struct {
	wishes    []pool.Wish
	own, held bool
	err       error
}

func (p *warmPool) Set(wishes []pool.Wish) error { p.wishes = wishes; return p.err }
func (p *warmPool) SetOwn() error                { p.own = true; return p.err }
func (p *warmPool) Hold()                        { p.held = true }
func (p *warmPool) States() ([]pool.State, error) {
	return []pool.State{{Wish: pool.Wish{Image: "i", Class: "none", Kind: session.WarmDesktop, Want: 3}, Warm: 2, Starting: 1}}, p.err
}

func TestPoolIsToldAndTold(t *testing.T) {
	p := &warmPool{}
	s := &nodeService{sessions: &node{}, pool: p}
	set := func(req *easelv1.SetPoolRequest) error {
		_, err := s.SetPool(t.Context(), connect.NewRequest(req))
		return err
	}
	if err := set(&easelv1.SetPoolRequest{Pools: []*easelv1.Pool{{Image: "i", Class: "none", Kind: "ready", Want: 2}}}); err != nil {
		t.Fatal(err)
	}
	if want := []pool.Wish{{Image: "i", Class: "none", Kind: session.WarmReady, Want: 2}}; !slices.Equal(p.wishes, want) || p.own || p.held {
		t.Fatalf("%+v", p)
	}
	if err := errors.Join(set(&easelv1.SetPoolRequest{Own: true}), set(&easelv1.SetPoolRequest{Hold: true})); err != nil || !p.own || !p.held {
		t.Fatalf("%+v, %v", p, err)
	}
	status, err := s.Status(t.Context(), connect.NewRequest(&easelv1.StatusRequest{}))
	if err != nil || len(status.Msg.Pool) != 1 || status.Msg.Pool[0].Warm != 2 || status.Msg.Pool[0].Starting != 1 || status.Msg.Pool[0].Pool.Want != 3 {
		t.Fatalf("%v, %v", status, err)
	}
	p.err = pool.ErrInvalid
	if err := set(&easelv1.SetPoolRequest{Pools: []*easelv1.Pool{{Kind: "lukewarm"}}}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Fatal(err)
	}
	s.pool = nil
	if err := set(&easelv1.SetPoolRequest{}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Fatal(err)
	}
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/directory"
	"easel/coordinator/placement"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

// Coordinator is the gossip and the placement of a coordinator. Its calls to nodes take the time that they would take
// over the network; its state is shared with the other coordinators and answers at once.
type Coordinator struct {
	Name   string
	Spot   Spot
	Gossip *cluster.Cluster
	Wire   *Transport
	Router *placement.Router
	Placer *placement.Placer

	sim      *Sim
	Refusals atomic.Int64 // nodes that refused: the view was older than the node
	Silences atomic.Int64 // nodes that did not answer
	Doubts   atomic.Int64 // of them, those that may have made a session all the same
}

func newCoordinator(s *Sim, name string, spot Spot, g *cluster.Cluster, wire *Transport) *Coordinator {
	c := &Coordinator{Name: name, Spot: spot, Gossip: g, Wire: wire, sim: s}
	c.Router = placement.NewRouter(placement.RouterOptions{
		Config: placement.Defaults(), Members: g, Place: s.World.Place(spot), Own: g.Coordinate,
	})
	c.Placer = placement.New(placement.Options{
		Router: c.Router, Fleet: c, Index: s.index, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	return c
}

var errSilence = connect.NewError(connect.CodeUnavailable, errors.New("no answer"))

// reach returns a node and waits for as long as a message takes there.
func (c *Coordinator) reach(ctx context.Context, name string) (*Node, time.Duration, error) {
	n := c.sim.byName[name]
	_, delay, ok := c.Wire.reach(n.Wire.Addr())
	if !ok || n.dead.Load() {
		c.Silences.Add(1)
		<-ctx.Done() // nobody says that it is not there
		return nil, 0, errSilence
	}
	time.Sleep(delay)
	return n, delay, nil
}

// Reserve asks a node for a session.
func (c *Coordinator) Reserve(ctx context.Context, meta cluster.Meta, req *easelv1.ReserveRequest) (directory.Session, bool, error) {
	n, delay, err := c.reach(ctx, meta.Name)
	if err != nil {
		return directory.Session{}, false, err
	}
	id, created, err := n.reserve(req)
	time.Sleep(delay)
	if err != nil {
		c.Refusals.Add(1)
		return directory.Session{}, false, err
	}
	return session(id, req.GetUser(), req.GetKey(), meta), created, nil
}

func session(id, user, key string, node cluster.Meta) directory.Session {
	return directory.Session{Session: &easelv1.Session{Id: id, User: user, Key: key, State: easelv1.State_STATE_STARTING}, Node: node}
}

// Placed returns the session of a placement.
func (c *Coordinator) Placed(ctx context.Context, user, key string, p directory.Placement) (directory.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	n, delay, err := c.reach(ctx, p.Node)
	if err != nil {
		return directory.Session{}, fmt.Errorf("%w: %s", directory.ErrUnreachable, p.Node)
	}
	defer time.Sleep(delay)
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.sessions[p.Intent]; ok {
		return session(s.id, user, key, cluster.Meta{Name: n.Name}), nil
	}
	return directory.Session{}, directory.ErrNotFound
}

// Stop ends a session.
func (c *Coordinator) Stop(ctx context.Context, s directory.Session, _ string) (directory.Session, error) {
	n, _, err := c.reach(ctx, s.Node.Name)
	if err == nil {
		n.end(s.GetId())
	}
	return s, err
}

// Doubt counts what a directory would settle with the node later.
func (c *Coordinator) Doubt(string) { c.Doubts.Add(1) }

// index is the coordinators' common state.
type index struct {
	mu sync.Mutex
	of map[string]directory.Placement
}

func (x *index) Get(user, key string) (directory.Placement, []string, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.of[user+"\x00"+key], nil, nil
}

func (x *index) Swap(_ context.Context, user, key string, before, after directory.Placement) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.of[user+"\x00"+key] != before {
		return directory.ErrMoved
	}
	x.of[user+"\x00"+key] = after
	return nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
)

// viewLimit is how long a change among the members may take to reach every coordinator.
const viewLimit = 30 * time.Second

// AwaitView waits until every coordinator that runs would place sessions on so many nodes.
func (c *Cluster) AwaitView(ctx context.Context, nodes int) error {
	for _, k := range c.Coordinators {
		if k.PID() == 0 {
			continue
		}
		if err := eventually(ctx, viewLimit, fmt.Sprintf("%s sees %d nodes", k.name, nodes), func() error {
			seen, err := c.View(ctx, k)
			if err != nil {
				return err
			}
			reachable := 0
			for _, n := range seen {
				if n.Reachable {
					reachable++
				}
			}
			if reachable != nodes {
				return fmt.Errorf("it sees %+v", seen)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// Heal takes every fault back: networks, disks, stopped and dead processes. It returns when the cluster is whole again.
func (c *Cluster) Heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var errs []error
	for _, p := range c.places() {
		errs = append(errs, p.filter(ctx, rules{}))
	}
	for _, n := range c.Nodes {
		errs = append(errs, n.disk.thaw(), n.disk.free(), resume(n.Containerd), resume(n.Noded))
	}
	for _, k := range c.Coordinators {
		errs = append(errs, resume(k.Process))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(func() {
			err := errors.Join(startDead(ctx, n.Containerd), startDead(ctx, n.Noded))
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	for _, k := range c.Coordinators {
		wg.Go(func() {
			err := startDead(ctx, k.Process)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(append(errs, c.AwaitView(ctx, len(c.Nodes)))...)
}

// Check looks at all invariants.
func (c *Cluster) Check(ctx context.Context) error {
	return errors.Join(c.CheckTwins(ctx), c.CheckLeaks(ctx))
}

// EndAll ends every session that a node has and waits until they are gone.
func (c *Cluster) EndAll(ctx context.Context) error {
	return c.endAll(ctx, func(*easelv1.Session) bool { return true })
}

func (c *Cluster) endAll(ctx context.Context, ends func(*easelv1.Session) bool) error {
	var errs []error
	for _, n := range c.Nodes {
		if n.Noded.PID() == 0 {
			continue
		}
		sessions, err := n.Sessions(ctx)
		errs = append(errs, err)
		for _, s := range sessions {
			if !living(s) || s.GetUser() == "" || !ends(s) {
				continue
			}
			_, err := n.admin.Stop(ctx, connect.NewRequest(&easelv1.StopRequest{Id: s.GetId(), Reason: "end of a test"}))
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.CheckLeaks(ctx))...)
}

// Await waits until a session is in a state on its node, and returns it.
func (n *Node) Await(ctx context.Context, id string, limit time.Duration, good func(*easelv1.Session) bool) (found *easelv1.Session, err error) {
	err = eventually(ctx, limit, "session "+id+" on "+n.name, func() error {
		r, err := n.admin.Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
		if err != nil {
			return err
		}
		if found = r.Msg.GetSession(); !good(found) {
			return fmt.Errorf("it is %v (%s)", found.GetState(), found.GetReason())
		}
		return nil
	})
	return found, err
}

// Session makes a session through a coordinator, as often as an artist would try, and waits until it can be used.
func (c *Cluster) Session(ctx context.Context, k *Coordinator, user, key string) (*Node, *easelv1.Session, error) {
	made, err := c.Create(ctx, k, user, key)
	if err != nil {
		return nil, nil, err
	}
	n := c.Node(made.Node)
	if n == nil {
		return nil, nil, fmt.Errorf("the session %s is on %q, which is no node of this cluster", made.ID, made.Node)
	}
	s, err := n.Await(ctx, made.ID, time.Minute, settled)
	return n, s, err
}

// endOthers ends every session but one, and waits until they are gone.
func (c *Cluster) endOthers(ctx context.Context, kept string) error {
	return c.endAll(ctx, func(s *easelv1.Session) bool { return s.GetId() != kept })
}

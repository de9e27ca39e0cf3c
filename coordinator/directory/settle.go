package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

const (
	watchEvery = time.Second
	sweepTime  = 30 * time.Second
	// A node is settled with every sweepLeast, because one that hung may bring a late session up at any time; in a large cluster as
	// often as sweepPace for each of all nodes allows, but every sweepMost.
	sweepLeast = 10 * time.Second
	sweepMost  = time.Minute
	sweepPace  = 60 * time.Millisecond
	// unsettled is how long what the index and a node say apart may be a placement under way.
	unsettled = 90 * time.Second
	// lost sessions are told of for forgetLost. Should one come back all the same, it is taken in as any that
	// the index lacks.
	forgetEvery = time.Hour
	forgetLost  = 7 * 24 * time.Hour
)

// Run keeps watch over the nodes until ctx ends. On the leading coordinator it also settles what the index and
// the nodes say apart: with a node as soon as it is in the view, and with every node now and then.
func (d *Directory) Run(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	swept, forgot := map[string]sweep{}, time.Time{}
	for {
		nodes := d.due(swept)
		if d.Index.Leader() {
			if now := d.Now(); now.Sub(forgot) >= forgetEvery {
				forgot = now
				d.Forget(ctx)
			}
			for _, node := range d.Settle(ctx, nodes) {
				delete(swept, node)
			}
		} else {
			clear(swept)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Forget drops from the index what nodes that are long gone had.
func (d *Directory) Forget(ctx context.Context) {
	known, err := d.Index.census()
	old := d.Now().Add(-forgetLost).UnixMilli()
	for node, owners := range known.owners {
		if _, _, lost := d.whereabouts(node); lost == "" {
			continue
		}
		for id, o := range owners {
			if o.At < old {
				err = errors.Join(err, d.Index.Free(ctx, id, true))
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		d.Log.Warn("sessions of nodes that are gone stay in the index", "error", err)
	}
}

// sweep is when a node was settled with.
type sweep struct {
	arrivals int
	at       time.Time
}

// due returns the nodes that it is time to settle with, and notes that it was done.
func (d *Directory) due(swept map[string]sweep) (nodes []cluster.Meta) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	now := d.Now()
	every := min(max(sweepLeast, time.Duration(len(d.view.last))*sweepPace), sweepMost)
	old := every
	for _, last := range swept {
		if now.Sub(last.at) >= every {
			old = every / 2 // together, because every sweep reads the whole index
		}
	}
	for name, s := range d.view.nodes {
		if s.look != d.view.looks {
			delete(swept, name)
			continue
		}
		if last := swept[name]; last.arrivals != s.arrivals || now.Sub(last.at) >= old || d.doubted[name] {
			swept[name] = sweep{s.arrivals, now}
			nodes = append(nodes, s.meta)
		}
	}
	clear(d.doubted)
	return nodes
}

// Doubt has the node called name settled with soon: it may have made a session that it could not tell of.
func (d *Directory) Doubt(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubted[name] = true
}

// errUnderWay means that a session is placed at this moment, and can be settled when that is done.
var errUnderWay = errors.New("a session is placed at this moment")

// Settle makes the index agree with what these nodes have, and ends sessions that were superseded. It returns
// the names of nodes with which it must be done again.
func (d *Directory) Settle(ctx context.Context, nodes []cluster.Meta) (again []string) {
	if len(nodes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	known, err := d.Index.census()
	if err != nil {
		d.Log.Error("sessions are not settled with their nodes", "error", err)
		return nil
	}
	var mu sync.Mutex
	d.each(nodes, func(node cluster.Meta) {
		sessions, err := d.list(ctx, node, &easelv1.ListRequest{Ended: true})
		if err == nil {
			err = d.settleNode(ctx, node.Name, sessions, known)
		}
		if err == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		again = append(again, node.Name)
		if ctx.Err() == nil && !errors.Is(err, errUnderWay) {
			d.Log.Warn("sessions are not settled with their node, it is tried again", "node", node.Name, "error", err)
		}
	})
	return again
}

func (d *Directory) settleNode(ctx context.Context, node string, sessions []Session, known census) error {
	var errs []error
	there := map[string]bool{}
	for _, s := range sessions {
		there[s.GetId()] = true
		_, recorded := known.owners[node][s.GetId()]
		switch {
		case s.Live() && s.GetState() != easelv1.State_STATE_STOPPING:
			errs = append(errs, d.settleSession(ctx, s))
		case !s.Live() && recorded:
			errs = append(errs, d.Index.Free(ctx, s.GetId(), false))
		}
	}
	old := d.Now().Add(-unsettled).UnixMilli()
	for id, o := range known.owners[node] {
		if !there[id] && o.At < old {
			errs = append(errs, d.Index.Free(ctx, id, true))
		}
	}
	for _, p := range known.intents[node] {
		if p.At < old { // whoever wrote it is gone, and the node never made the session
			if err := d.Index.Swap(ctx, p.User, p.Key, p.Placement, Placement{}); !errors.Is(err, ErrMoved) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// settleSession makes a living session the one of its key, or ends it because another is.
func (d *Directory) settleSession(ctx context.Context, s Session) error {
	owner, recorded, err := d.Index.Owner(ctx, s.GetId())
	if err != nil {
		return err
	}
	if owner.Ended != "" {
		_, err := d.Stop(ctx, s, owner.Ended)
		return err
	}
	user, key := s.GetUser(), s.GetKey()
	p, _, err := d.Index.Get(user, key)
	if err != nil {
		return err
	}
	mine := Placement{
		Intent: s.GetIntent(), Node: s.Node.Name, Session: s.GetId(), Image: s.GetImage(), Class: s.GetClass(), At: s.GetCreated().AsTime().UnixMilli(),
	}
	if mine.Intent == "" {
		mine.Intent = s.GetId() // an operator's: no coordinator asked for it
	}
	switch {
	case p.Session == s.GetId() && recorded:
		return nil
	case p.Session == s.GetId(), p.Session == "" && p.Intent == mine.Intent, p == Placement{}:
		return d.adopt(ctx, s, p, mine)
	case p.Session == "":
		if p.At >= d.Now().Add(-unsettled).UnixMilli() {
			return errUnderWay
		}
		return d.adopt(ctx, s, p, mine)
	}
	return d.settleTwo(ctx, s, p, mine)
}

// settleTwo decides between a living session and the one that the index has for its key.
func (d *Directory) settleTwo(ctx context.Context, s Session, p, mine Placement) error {
	other, err := d.Placed(ctx, s.GetUser(), s.GetKey(), p)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !other.Live():
		return d.adopt(ctx, s, p, mine)
	case err != nil:
		return err
	}
	loser, winner := s, other
	if s.GetViewers() > 0 && other.GetViewers() == 0 {
		if err := d.adopt(ctx, s, p, mine); err != nil {
			return err
		}
		loser, winner = other, s
	}
	d.Log.Info("two sessions of one key: the one that is not used ends", "user", s.GetUser(), "ends", loser.GetId(), "node", loser.Node.Name, "stays", winner.GetId())
	_, err = d.Stop(ctx, loser, fmt.Sprintf("a session on %s took its place while %s was away", winner.Node.Name, loser.Node.Name))
	return err
}

// adopt makes s the session of its key; when somebody else was quicker, the next sweep looks again.
func (d *Directory) adopt(ctx context.Context, s Session, before, after Placement) error {
	err := d.Index.Swap(ctx, s.GetUser(), s.GetKey(), before, after)
	if errors.Is(err, ErrMoved) {
		return nil
	}
	return err
}

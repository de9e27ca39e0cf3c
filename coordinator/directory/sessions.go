package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
)

// Session is a session and the node that owns it.
type Session struct {
	*easelv1.Session
	Node cluster.Meta
	Lost string // why nothing can be known of it, for a person; "" when its node was asked
	// Wish is the encoder that a lost session was asked for with, for who asks again.
	Wish string
}

// Live tells whether a session is neither ended, failed nor lost.
func (s Session) Live() bool {
	switch s.GetState() {
	case easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED, easelv1.State_STATE_UNSPECIFIED:
		return false
	default:
		return s.Lost == ""
	}
}

// Listing is what the nodes that answered know.
type Listing struct {
	Sessions    []Session // newest first
	Unreachable []string  // names of nodes that did not answer
}

// Reserve makes the session that req asks for on a node, or returns the one that is there; created tells
// which. The node is asked once.
func (d *Directory) Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (s Session, created bool, err error) {
	answer, err := ask(ctx, d, node, 1, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.ReserveResponse], error) {
		return c.Reserve(ctx, connect.NewRequest(req))
	})
	if err != nil {
		return Session{}, false, fmt.Errorf("reserve a session on %s: %w", node.Name, err)
	}
	s, err = accept(node, answer.GetSession())
	return s, answer.GetCreated(), err
}

// Placed returns the session of a placement, from its node. It returns ErrNotFound when there is none yet or
// no more, and ErrUnreachable when the node could not be asked and is not given up.
func (d *Directory) Placed(ctx context.Context, user, key string, p Placement) (Session, error) {
	meta, known, lost := d.whereabouts(p.Node)
	switch {
	case lost != "":
		return lostSession(p.Session, ownerOf(user, key, p), lost), nil
	case !known:
		return Session{}, fmt.Errorf("session of %s: %w: %s", user, ErrUnreachable, p.Node)
	case p.Session == "":
		return Session{}, fmt.Errorf("session of %s on %s: %w", user, p.Node, ErrNotFound)
	}
	return d.get(ctx, meta, p.Session)
}

func lostSession(id string, o Owner, why string) Session {
	return Session{
		Session: &easelv1.Session{Id: id, User: o.User, Key: o.Key, Image: o.Image, Class: o.Class, Created: timestamppb.New(time.UnixMilli(o.At))},
		Node:    cluster.Meta{Name: o.Node}, Lost: why, Wish: o.Encoder,
	}
}

// Find returns the session called id from the node that owns it, as Placed does.
func (d *Directory) Find(ctx context.Context, id string) (Session, error) {
	if !idPattern.MatchString(id) {
		return Session{}, fmt.Errorf("session %q: %w", id, ErrNotFound)
	}
	owner, found, err := d.Index.Owner(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if !found || owner.Ended != "" {
		return Session{}, fmt.Errorf("session %q: %w", id, ErrNotFound)
	}
	return d.Placed(ctx, owner.User, owner.Key, Placement{Node: owner.Node, Session: id, Image: owner.Image, Class: owner.Class, Encoder: owner.Encoder, At: owner.At})
}

func (d *Directory) get(ctx context.Context, node cluster.Meta, id string) (Session, error) {
	answer, err := ask(ctx, d, node, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.GetResponse], error) {
		return c.Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
	})
	switch {
	case connect.CodeOf(err) == connect.CodeNotFound:
		return Session{}, fmt.Errorf("session %s on %s: %w", id, node.Name, ErrNotFound)
	case err != nil:
		return Session{}, fmt.Errorf("session %s: %w: %s: %w", id, ErrUnreachable, node.Name, err)
	}
	return accept(node, answer.GetSession())
}

// List asks the nodes that have sessions of user for them, or all nodes for everybody's (""); for ended ones
// too when told so. Lost sessions are listed as the index knows them.
func (d *Directory) List(ctx context.Context, user string, ended bool) (Listing, error) {
	placed, homes, err := d.Index.Of(user)
	if err != nil {
		return Listing{}, err
	}
	nodes := map[string]bool{}
	for _, p := range placed {
		nodes[p.Node] = true
	}
	if ended {
		for _, home := range homes {
			nodes[home] = true
		}
	}
	if user == "" {
		for _, n := range d.Nodes() {
			nodes[n.Meta.Name] = true
		}
	}
	all, askable := Listing{}, []cluster.Meta{}
	for name := range nodes {
		meta, known, lost := d.whereabouts(name)
		switch {
		case lost != "":
			all.Sessions = append(all.Sessions, lostOf(name, placed, lost)...)
		case known:
			askable = append(askable, meta)
		default:
			all.Unreachable = append(all.Unreachable, name)
		}
	}
	d.gather(ctx, askable, &easelv1.ListRequest{User: user, Ended: ended}, &all)
	slices.Sort(all.Unreachable)
	slices.SortFunc(all.Sessions, func(a, b Session) int {
		return cmp.Or(b.GetCreated().AsTime().Compare(a.GetCreated().AsTime()), cmp.Compare(a.GetId(), b.GetId()))
	})
	return all, nil
}

func lostOf(node string, placed []Placed, why string) (all []Session) {
	for _, p := range placed {
		if p.Node == node && p.Session != "" {
			all = append(all, lostSession(p.Session, ownerOf(p.User, p.Key, p.Placement), why))
		}
	}
	return all
}

// gather asks nodes for their sessions and adds what they tell to all. Sessions without a user wait for one
// and are nobody's yet.
func (d *Directory) gather(ctx context.Context, nodes []cluster.Meta, req *easelv1.ListRequest, all *Listing) {
	var mu sync.Mutex
	d.each(nodes, func(node cluster.Meta) {
		sessions, err := d.list(ctx, node, req)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			d.Log.Warn("node did not list its sessions", "node", node.Name, "error", err)
			all.Unreachable = append(all.Unreachable, node.Name)
		}
		all.Sessions = append(all.Sessions, sessions...)
	})
}

func (d *Directory) list(ctx context.Context, node cluster.Meta, req *easelv1.ListRequest) ([]Session, error) {
	answer, err := ask(ctx, d, node, 2, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.ListResponse], error) {
		return c.List(ctx, connect.NewRequest(req))
	})
	if err != nil {
		return nil, err
	}
	var all []Session
	for _, one := range answer.GetSessions() {
		if one.GetUser() == "" || req.GetUser() != "" && one.GetUser() != req.GetUser() {
			continue
		}
		if s, err := accept(node, one); err != nil {
			d.Log.Warn("session left out of a list", "node", node.Name, "error", err)
		} else {
			all = append(all, s)
		}
	}
	return all, nil
}

// Stop asks the owner of s to end it; reason is shown to the artist. A lost session ends when its node is
// back, and is gone from the index at once.
func (d *Directory) Stop(ctx context.Context, s Session, reason string) (Session, error) {
	if s.Lost != "" {
		if err := d.Index.End(ctx, s.GetId(), reason); err != nil {
			return Session{}, fmt.Errorf("end session %s, whose node is lost: %w", s.GetId(), err)
		}
		s.Lost, s.State, s.Reason = "", easelv1.State_STATE_STOPPED, reason
		return s, nil
	}
	answer, err := ask(ctx, d, s.Node, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.StopResponse], error) {
		return c.Stop(ctx, connect.NewRequest(&easelv1.StopRequest{Id: s.GetId(), Reason: reason}))
	})
	if err != nil {
		return Session{}, fmt.Errorf("end session %s on %s: %w", s.GetId(), s.Node.Name, err)
	}
	return accept(s.Node, answer.GetSession())
}

// EndAll asks for the end of every living session of a user and returns how many there were.
func (d *Directory) EndAll(ctx context.Context, user string) (int, error) {
	listing, err := d.List(ctx, user, false)
	if err != nil {
		return 0, err
	}
	var errs []error
	if len(listing.Unreachable) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", ErrUnreachable, strings.Join(listing.Unreachable, ", ")))
	}
	ended := 0
	for _, s := range listing.Sessions {
		if !s.Live() && s.Lost == "" {
			continue
		}
		if _, err := d.Stop(ctx, s, "the account "+user+" was removed"); err != nil {
			errs = append(errs, err)
			continue
		}
		ended++
	}
	return ended, errors.Join(errs...)
}

// accept takes a session that a node has told of, if it can be one of its own.
func accept(node cluster.Meta, s *easelv1.Session) (Session, error) {
	if s == nil || !idPattern.MatchString(s.GetId()) {
		return Session{}, fmt.Errorf("node %s told of a session with the ID %.40q, which is none", node.Name, s.GetId())
	}
	return Session{Session: s, Node: node}, nil
}

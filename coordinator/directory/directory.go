// Package directory is a coordinator's view of its nodes and, by asking them, of their sessions. It
// keeps no truth of its own: nodes own their sessions, and a view that is stale costs a question.
package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
	"easel/pkg/identity"
)

const (
	callTimeout   = 5 * time.Second // one question to one node
	attempts      = 3               // of a question that a node could not be asked
	firstBackoff  = 150 * time.Millisecond
	parallelNodes = 16
	maxAnswer     = 4 << 20 // bytes
	tokenLifetime = time.Minute
	// rememberNode is how long a node that left the view is still asked for its sessions: it may be
	// restarting, and its sessions run on.
	rememberNode = 2 * time.Minute
	maxHints     = 10000
)

// Errors of this package; others are those of the node, see connect.CodeOf.
var (
	ErrNotFound    = errors.New("there is no such session")
	ErrUnreachable = errors.New("a node that may have the session does not answer")
	ErrInsecure    = errors.New("its address is plain HTTP on a network; give the node a certificate (tls in noded.yaml)")
)

var idPattern = regexp.MustCompile(`^s[a-z2-7]{16}$`)

// Members is the gossip's view of the nodes.
type Members interface {
	Nodes() []cluster.Node
}

// Session is a session and the node that owns it.
type Session struct {
	*easelv1.Session
	Node cluster.Meta
}

// Live tells whether a session is neither ended nor failed.
func (s Session) Live() bool {
	switch s.GetState() {
	case easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED, easelv1.State_STATE_UNSPECIFIED:
		return false
	default:
		return true
	}
}

// Listing is what the nodes that answered know.
type Listing struct {
	Sessions    []Session // newest first
	Unreachable []string  // names of nodes that did not answer
}

// Directory asks nodes in the coordinator's name. Its methods are safe for concurrent use.
type Directory struct {
	members Members
	signer  *identity.Signer
	name    string
	http    *http.Client
	log     *slog.Logger
	now     func() time.Time

	mu     sync.Mutex
	recent map[string]remembered   // nodes seen lately, by name
	hints  map[string]cluster.Meta // where a session was seen last, by its ID
}

type remembered struct {
	meta cluster.Meta
	seen time.Time
}

// New returns a Directory for the coordinator called name, whose key signer holds.
func New(name string, members Members, signer *identity.Signer, log *slog.Logger) *Directory {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // tokens go to nodes and to nobody else
	transport.MaxIdleConnsPerHost = 8
	transport.ResponseHeaderTimeout = callTimeout
	return &Directory{
		members: members, signer: signer, name: name, log: log, now: time.Now,
		http: &http.Client{
			Transport:     transport,
			Timeout:       callTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		recent: map[string]remembered{}, hints: map[string]cluster.Meta{},
	}
}

// Close drops idle connections to nodes.
func (d *Directory) Close() { d.http.CloseIdleConnections() }

// Nodes returns the nodes in the view.
func (d *Directory) Nodes() []cluster.Node {
	nodes := d.members.Nodes()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	for _, n := range nodes {
		d.recent[n.Meta.Name] = remembered{meta: n.Meta, seen: now}
	}
	for name, r := range d.recent {
		if now.Sub(r.seen) > rememberNode {
			delete(d.recent, name)
		}
	}
	return nodes
}

// askable returns the nodes in the view and those that left it lately.
func (d *Directory) askable() []cluster.Meta {
	d.Nodes()
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]cluster.Meta, 0, len(d.recent))
	for _, r := range d.recent {
		all = append(all, r.meta)
	}
	slices.SortFunc(all, func(a, b cluster.Meta) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Reserve makes the session that req asks for on a node, or returns the one that is there; created tells
// which. It is asked again, with the same key, while the node cannot be reached.
func (d *Directory) Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (s Session, created bool, err error) {
	answer, err := ask(ctx, d, node, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.ReserveResponse], error) {
		return c.Reserve(ctx, connect.NewRequest(req))
	})
	if err != nil {
		return Session{}, false, fmt.Errorf("reserve a session on %s: %w", node.Name, err)
	}
	s, err = d.accept(node, answer.GetSession())
	return s, answer.GetCreated(), err
}

// List asks every node for the sessions of user ("" means everybody's); ended ones too when told so.
func (d *Directory) List(ctx context.Context, user string, ended bool) Listing {
	req := &easelv1.ListRequest{User: user, Ended: ended}
	var mu sync.Mutex
	var all Listing
	d.each(d.askable(), func(node cluster.Meta) {
		answer, err := ask(ctx, d, node, 2, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.ListResponse], error) {
			return c.List(ctx, connect.NewRequest(req))
		})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			d.log.Warn("node did not list its sessions", "node", node.Name, "error", err)
			all.Unreachable = append(all.Unreachable, node.Name)
			return
		}
		for _, one := range answer.GetSessions() {
			if s, err := d.accept(node, one); err != nil {
				d.log.Warn("session left out of a list", "node", node.Name, "error", err)
			} else if user == "" || s.GetUser() == user {
				all.Sessions = append(all.Sessions, s)
			}
		}
	})
	slices.Sort(all.Unreachable)
	slices.SortFunc(all.Sessions, func(a, b Session) int {
		return cmp.Or(b.GetCreated().AsTime().Compare(a.GetCreated().AsTime()), cmp.Compare(a.GetId(), b.GetId()))
	})
	return all
}

// Find returns the session called id from the node that owns it. It returns ErrNotFound when every node
// has answered that it does not know it, and ErrUnreachable when one could not be asked.
func (d *Directory) Find(ctx context.Context, id string) (Session, error) {
	if !idPattern.MatchString(id) {
		return Session{}, fmt.Errorf("session %q: %w", id, ErrNotFound)
	}
	nodes := d.askable()
	if hint, ok := d.hint(id); ok {
		s, err := d.get(ctx, hint, id)
		if err == nil || connect.CodeOf(err) != connect.CodeNotFound {
			return s, err
		}
	}
	var mu sync.Mutex
	var found Session
	var silent error
	d.each(nodes, func(node cluster.Meta) {
		s, err := d.get(ctx, node, id)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			found = s
		case connect.CodeOf(err) != connect.CodeNotFound:
			silent = err
		}
	})
	switch {
	case found.Session != nil:
		return found, nil
	case silent != nil:
		return Session{}, silent
	}
	return Session{}, fmt.Errorf("session %q: %w", id, ErrNotFound)
}

func (d *Directory) get(ctx context.Context, node cluster.Meta, id string) (Session, error) {
	answer, err := ask(ctx, d, node, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.GetResponse], error) {
		return c.Get(ctx, connect.NewRequest(&easelv1.GetRequest{Id: id}))
	})
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return Session{}, fmt.Errorf("session %s: %w: %s: %w", id, ErrUnreachable, node.Name, err)
	}
	if err != nil {
		return Session{}, err
	}
	return d.accept(node, answer.GetSession())
}

// Stop asks the owner of s to end it; reason is shown to the artist.
func (d *Directory) Stop(ctx context.Context, s Session, reason string) (Session, error) {
	answer, err := ask(ctx, d, s.Node, attempts, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.StopResponse], error) {
		return c.Stop(ctx, connect.NewRequest(&easelv1.StopRequest{Id: s.GetId(), Reason: reason}))
	})
	if err != nil {
		return Session{}, fmt.Errorf("end session %s on %s: %w", s.GetId(), s.Node.Name, err)
	}
	return d.accept(s.Node, answer.GetSession())
}

// NodeStatus is a node's own word beside what gossip says of it.
type NodeStatus struct {
	cluster.Node
	Status *easelv1.StatusResponse // nil when it did not answer
	Err    error
}

// Statuses asks every node in the view how it is.
func (d *Directory) Statuses(ctx context.Context) []NodeStatus {
	nodes := d.Nodes()
	all := make([]NodeStatus, len(nodes))
	metas := make([]cluster.Meta, len(nodes))
	at := map[string]int{}
	for i, n := range nodes {
		all[i].Node, metas[i], at[n.Meta.Name] = n, n.Meta, i
	}
	d.each(metas, func(node cluster.Meta) {
		one := &all[at[node.Name]]
		one.Status, one.Err = ask(ctx, d, node, 1, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.StatusResponse], error) {
			return c.Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
		})
	})
	return all
}

// Link returns the address that opens s in a browser, as its user. It works once and within a minute.
func (d *Directory) Link(s Session) (string, error) {
	now := d.now()
	token, err := d.signer.Sign(identity.Claims{
		Audience: identity.SessionAudience(s.GetId()), Subject: s.GetUser(), Scope: identity.ScopeView,
		IssuedAt: now, Expires: now.Add(tokenLifetime),
	})
	if err != nil {
		return "", fmt.Errorf("open session %s: %w", s.GetId(), err)
	}
	return joinURL(s.Node.URL, "/s/"+s.GetId()) + "#token=" + token, nil
}

// each calls f for every node, some at a time, and waits.
func (d *Directory) each(nodes []cluster.Meta, f func(cluster.Meta)) {
	var g errgroup.Group
	g.SetLimit(parallelNodes)
	for _, n := range nodes {
		g.Go(func() error {
			f(n)
			return nil
		})
	}
	_ = g.Wait() // f returns no error
}

// accept takes a session that a node has told of, if it can be one of its own.
func (d *Directory) accept(node cluster.Meta, s *easelv1.Session) (Session, error) {
	if s == nil || !idPattern.MatchString(s.GetId()) {
		return Session{}, fmt.Errorf("node %s told of a session with the ID %.40q, which is none", node.Name, s.GetId())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.hints { // forget any: a hint only saves questions
		if len(d.hints) < maxHints {
			break
		}
		delete(d.hints, id)
	}
	d.hints[s.GetId()] = node
	return Session{Session: s, Node: node}, nil
}

// hint is where a session was seen last, with the node's address of now.
func (d *Directory) hint(id string) (cluster.Meta, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node, ok := d.hints[id]
	if r, known := d.recent[node.Name]; known {
		node = r.meta
	} else {
		delete(d.hints, id) // a node gone for good must not keep its sessions "unreachable" for ever
		return cluster.Meta{}, false
	}
	return node, ok
}

// EndAll asks for the end of every living session of a user and returns how many there were.
func (d *Directory) EndAll(ctx context.Context, user string) (int, error) {
	listing := d.List(ctx, user, false)
	var errs []error
	if len(listing.Unreachable) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", ErrUnreachable, strings.Join(listing.Unreachable, ", ")))
	}
	ended := 0
	for _, s := range listing.Sessions {
		if !s.Live() {
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

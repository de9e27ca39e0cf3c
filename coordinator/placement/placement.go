// Package placement chooses the node for a new session: filters leave out nodes that cannot take it,
// scores order the rest, and the first that agrees has it. Nodes decide; the view only saves questions.
package placement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"connectrpc.com/connect"

	"easel/coordinator/directory"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

// maxTries bounds how many nodes are asked for one session.
const maxTries = 5

// Request is a session that somebody wants.
type Request struct {
	User  string
	Key   string // names the session among the user's living ones
	Image string // "" means the node's default
	Class string // "" means the node's default
}

// Fleet is what placement needs of the nodes.
type Fleet interface {
	Nodes() []cluster.Node
	List(ctx context.Context, user string, ended bool) directory.Listing
	Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (directory.Session, bool, error)
}

// ErrInvalid means that a node found the request itself wrong, so that no other is asked.
var ErrInvalid = errors.New("the session cannot be made as asked")

// NoRoom says why each node refused, or that there is none.
type NoRoom struct {
	Reasons []string // "node: reason"
}

func (e *NoRoom) Error() string {
	if len(e.Reasons) == 0 {
		return "no node is known yet; check that noded runs, and that both have the same cluster key"
	}
	return "no node can take a session now: " + strings.Join(e.Reasons, "; ")
}

// Placer places sessions. Its methods are safe for concurrent use.
type Placer struct {
	fleet   Fleet
	log     *slog.Logger
	filters []Filter
	scores  []Score

	mu    sync.Mutex
	turns map[string]*turn // who is placing what, by user and key
}

// turn lets one request at a time place the session of one user and key.
type turn struct {
	free    chan struct{}
	waiting int
}

// New returns a Placer with the standard filters and scores.
func New(fleet Fleet, log *slog.Logger) *Placer {
	return &Placer{
		fleet: fleet, log: log, turns: map[string]*turn{},
		filters: []Filter{hasImage},
		scores:  []Score{saysItHasRoom, freeShare, affinity},
	}
}

// Place returns the living session of (User, Key), or makes it on the best node that agrees; created tells
// which. Two requests for the same one at once get the same session. It fails with ErrInvalid or *NoRoom.
func (p *Placer) Place(ctx context.Context, req Request) (s directory.Session, created bool, err error) {
	done, err := p.takeTurn(ctx, req.User+"\x00"+req.Key)
	if err != nil {
		return directory.Session{}, false, fmt.Errorf("place the session: %w", err)
	}
	defer done()
	listing := p.fleet.List(ctx, req.User, false)
	for _, s := range listing.Sessions {
		if s.GetKey() == req.Key && s.Live() {
			return s, false, nil
		}
	}
	return p.reserve(ctx, req)
}

func (p *Placer) reserve(ctx context.Context, req Request) (directory.Session, bool, error) {
	candidates, reasons := p.rank(req, p.fleet.Nodes())
	wire := &easelv1.ReserveRequest{User: req.User, Key: req.Key, Image: req.Image, Class: req.Class}
	for i, node := range candidates {
		if i >= maxTries || ctx.Err() != nil {
			break
		}
		s, created, err := p.fleet.Reserve(ctx, node.Meta, wire)
		if err == nil {
			return s, created, nil
		}
		p.log.Info("node did not take a session", "node", node.Meta.Name, "user", req.User, "error", err)
		if connect.CodeOf(err) == connect.CodeInvalidArgument {
			return directory.Session{}, false, fmt.Errorf("%w: %s", ErrInvalid, message(err))
		}
		reasons = append(reasons, node.Meta.Name+": "+message(err))
	}
	return directory.Session{}, false, &NoRoom{Reasons: reasons}
}

// rank returns the nodes that pass every filter, best first, and why the others do not.
func (p *Placer) rank(req Request, nodes []cluster.Node) (candidates []cluster.Node, reasons []string) {
	for _, n := range nodes {
		if why := p.excluded(req, n); why != "" {
			reasons = append(reasons, n.Meta.Name+": "+why)
			continue
		}
		candidates = append(candidates, n)
	}
	slices.SortStableFunc(candidates, func(a, b cluster.Node) int {
		for _, score := range p.scores {
			if c := cmp.Compare(score(req, b), score(req, a)); c != 0 {
				return c
			}
		}
		return 0
	})
	return candidates, reasons
}

func (p *Placer) excluded(req Request, n cluster.Node) string {
	for _, f := range p.filters {
		if why := f(req, n); why != "" {
			return why
		}
	}
	return ""
}

// takeTurn waits until nobody else places the session called name. The turn must be given back.
func (p *Placer) takeTurn(ctx context.Context, name string) (done func(), err error) {
	p.mu.Lock()
	t, ok := p.turns[name]
	if !ok {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		p.turns[name] = t
	}
	t.waiting++
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(p.turns, name)
		}
	}
	select {
	case <-t.free:
		return func() { t.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// message is what the node said, without the codes of the protocol around it.
func message(err error) string {
	var c *connect.Error
	if errors.As(err, &c) {
		return c.Message()
	}
	return err.Error()
}

// Package directory is a coordinator's view of its nodes and of their sessions. It keeps no truth of its own:
// nodes own their sessions; an index, which all coordinators share, tells which node to ask.
package directory

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
)

// Errors of this package; others are those of the node, see connect.CodeOf.
var (
	ErrNotFound    = errors.New("there is no such session")
	ErrUnreachable = errors.New("a node that may have the session does not answer")
)

var idPattern = regexp.MustCompile(`^s[a-z2-7]{16}$`)

// Members is the gossip's view of the nodes.
type Members interface {
	Nodes() []cluster.Node
	Changed() <-chan struct{} // closed at the next change; ask for it before Nodes
}

// Directory asks nodes in the coordinator's name. Its methods are safe for concurrent use.
type Directory struct {
	Options
	clients *clients
	polls   *polls

	mu      sync.Mutex
	view    sightings
	doubted map[string]bool // nodes to settle with soon
}

// Options is what a Directory is made of.
type Options struct {
	Members Members
	Peers   Peers
	Signer  *identity.Signer // of links
	Index   *Index
	Log     *slog.Logger
	Now     func() time.Time // nil means time.Now
	// LookEvery spaces looks at a busy gossip; 0 means 50 ms, and less than 0 looks every time.
	LookEvery time.Duration
	// AskWithin bounds one question to one node; 0 means 5 s.
	AskWithin time.Duration
}

// New returns a Directory. Run must be called for sessions to be settled.
func New(o Options) *Directory {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LookEvery == 0 {
		o.LookEvery = 50 * time.Millisecond
	}
	if o.AskWithin == 0 {
		o.AskWithin = callTimeout
	}
	return &Directory{
		Options: o, view: sightings{began: o.Now(), nodes: map[string]sighting{}}, doubted: map[string]bool{}, clients: newClients(o.Peers), polls: newPolls(),
	}
}

// Close ends the questions that are under way, and drops idle connections to nodes.
func (d *Directory) Close() {
	d.polls.close()
	d.clients.close()
}

// Link returns the address that opens s in a browser, as its user. It works once and within a minute.
func (d *Directory) Link(s Session) (string, error) {
	now := d.Now()
	token, err := d.Signer.Sign(identity.Claims{
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

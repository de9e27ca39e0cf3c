// Package placement chooses the node for a new session: filters leave out nodes that cannot take it,
// scores order the rest, and the first that agrees has it. Nodes decide; the view only saves questions.
package placement

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/coordinator/directory"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

const (
	// maxTries bounds how many nodes are asked for one session in a round, and maxRounds the rounds: nodes
	// that refuse are asked once, those that cannot be reached again.
	maxTries  = 16
	maxRounds = 3
	// maxDoubts is how many of them may be nodes that have no room by their last record.
	maxDoubts = 3
	// firstPause is between the first two rounds.
	firstPause = 150 * time.Millisecond
	// maxMoves bounds how often one request starts anew because another coordinator was quicker.
	maxMoves = 8
	// reserveTimeout is a node's time to answer: the next candidate is asked then. What it makes all the same ends
	// when it is settled with.
	reserveTimeout = 5 * time.Second
	// reserveWithin is how long a node may take a request after it was made. It is as long as tokens are good,
	// because clocks differ.
	reserveWithin = time.Minute
)

// Fleet is what placement needs of the nodes.
type Fleet interface {
	// Placed returns the session of a placement; see directory.Directory.
	Placed(ctx context.Context, user, key string, p directory.Placement) (directory.Session, error)
	Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (directory.Session, bool, error)
	Stop(ctx context.Context, s directory.Session, reason string) (directory.Session, error)
	// Doubt says that a node may have made a session that nobody knows of.
	Doubt(node string)
}

// Index is where placements are written down, for all coordinators; see directory.Index.
type Index interface {
	Get(user, key string) (p directory.Placement, homes []string, err error)
	Swap(ctx context.Context, user, key string, before, after directory.Placement) error
}

// ErrInvalid means that a node found the request itself wrong, so that no other is asked.
var ErrInvalid = errors.New("the session cannot be made as asked")

// NoRoom says why each node refused, or that there is none.
type NoRoom struct {
	Reasons []string // "node: reason"
}

func (e *NoRoom) Error() string {
	if len(e.Reasons) == 0 {
		return "no node is known yet; check that noded runs and has joined this cluster"
	}
	return "no node can take a session now: " + strings.Join(e.Reasons, "; ")
}

// Placer places sessions. Its methods are safe for concurrent use.
type Placer struct {
	Options
	turns   turns
	metrics metrics
}

// Options is what a Placer is made of.
type Options struct {
	Router   *Router
	Fleet    Fleet
	Index    Index
	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time // nil means time.Now
}

// New returns a Placer.
func New(o Options) *Placer {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Placer{Options: o, turns: turns{of: map[string]*turn{}}, metrics: newMetrics(o.Registry)}
}

// Place returns the living session of (User, Key), or makes it on the best node that agrees; created tells
// which. Two requests for the same one at once, through any coordinators, get the same session. It fails with
// ErrInvalid, *NoRoom or directory.ErrUnreachable.
func (p *Placer) Place(ctx context.Context, req Request) (s directory.Session, created bool, err error) {
	began := p.Now()
	defer func() { p.metrics.placed(created, err, p.Now().Sub(began)) }()
	req.Encoder = p.Router.Encoder(&req)
	done, err := p.turns.take(ctx, req.User+"\x00"+req.Key)
	if err != nil {
		return directory.Session{}, false, fmt.Errorf("place the session: %w", err)
	}
	defer done()
	for range maxMoves {
		s, created, err = p.findOrMake(ctx, req)
		if !errors.Is(err, directory.ErrMoved) {
			return s, created, err
		}
		if err := context.Cause(ctx); err != nil {
			return directory.Session{}, false, fmt.Errorf("place the session: %w", err)
		}
	}
	return directory.Session{}, false, fmt.Errorf("place the session: %w", err)
}

// Candidates returns the nodes that Place would ask, best first.
func (p *Placer) Candidates(req Request) ([]Candidate, error) {
	if err := p.homes(&req); err != nil {
		return nil, err
	}
	return p.Router.Route(&req, maxCandidates), nil
}

// Explain tells of so many nodes at most why each would be asked first, later or never; total is how many there are.
func (p *Placer) Explain(req Request, most int) (first []Explanation, total int, err error) {
	if err := p.homes(&req); err != nil {
		return nil, 0, err
	}
	first, total = p.Router.Explain(&req, most)
	return first, total, nil
}

// Choices is what a user may ask for.
func (p *Placer) Choices(user, role string) []Choice { return p.Router.Choices(user, role) }

func (p *Placer) homes(req *Request) error {
	_, homes, err := p.Index.Get(req.User, req.Key)
	req.Homes = homes
	return err
}

// findOrMake returns directory.ErrMoved when another coordinator placed the session meanwhile.
func (p *Placer) findOrMake(ctx context.Context, req Request) (directory.Session, bool, error) {
	before, homes, err := p.Index.Get(req.User, req.Key)
	if err != nil {
		return directory.Session{}, false, err
	}
	req.Homes = homes
	a := &attempt{Placer: p, req: req, placed: before, asked: map[string]bool{}}
	if before.Intent == "" {
		return a.make(ctx)
	}
	s, err := p.Fleet.Placed(ctx, req.User, req.Key, before)
	switch {
	case err == nil && s.Live():
		return s, false, nil
	case err == nil, before.Session != "" && errors.Is(err, directory.ErrNotFound):
		return a.make(ctx) // it has ended, or is lost
	case before.Session == "" && errors.Is(err, directory.ErrNotFound):
		return a.resume(ctx)
	}
	return directory.Session{}, false, err
}

// attempt is one request on its way through the candidates.
type attempt struct {
	*Placer
	req     Request
	placed  directory.Placement // as the index has it
	asked   map[string]bool     // nodes
	refused []string            // "node: reason"
	silent  []string            // nodes that did not answer
	tries   int
	doubts  int  // tries of doubtful nodes
	spent   bool // the intent in placed gives no session any more
}

// resume asks the node of an intent that somebody wrote and did not, or not yet, bring to its end. The node
// gives the same session for it, if it made one; it makes none when the intent is old, and can be asked anew.
func (a *attempt) resume(ctx context.Context) (directory.Session, bool, error) {
	if c, ok := a.Router.Node(a.placed.Node, a.req.Class); ok {
		s, created, err := a.reserve(ctx, &c)
		if err == nil || final(err) {
			return s, created, err
		}
		if a.Now().UnixMilli() > a.placed.At+reserveWithin.Milliseconds() {
			a.asked, a.refused = map[string]bool{}, nil
		}
	}
	return a.make(ctx)
}

// make asks candidates, best first, until one agrees.
func (a *attempt) make(ctx context.Context) (directory.Session, bool, error) {
	pause := firstPause
	for round := 1; ; round++ {
		away := 0
		for a.tries < round*maxTries && ctx.Err() == nil {
			c, ok := a.next()
			if !ok || c.Doubtful && a.doubts >= round*maxDoubts {
				break
			}
			if c.Doubtful {
				a.doubts++
			}
			s, created, err := a.claim(ctx, &c)
			switch {
			case err == nil || final(err):
				return s, created, err
			case unreachable(err):
				away++
			}
		}
		if away == 0 || round == maxRounds || !sleep(ctx, pause) {
			break
		}
		pause *= 3
		clear(a.asked)
	}
	return a.giveUp(ctx)
}

// next decides anew, because what was refused a moment ago, to this request or another, is known by now.
func (a *attempt) next() (Candidate, bool) {
	for _, c := range a.Router.Route(&a.req, maxCandidates) {
		if !a.asked[c.Node.Meta.Name] {
			return c, true
		}
	}
	return Candidate{}, false
}

var errIndex = errors.New("where the session goes cannot be written down")

// final tells that asking another node is of no use.
func final(err error) bool {
	return errors.Is(err, ErrInvalid) || errors.Is(err, directory.ErrMoved) || errors.Is(err, errIndex)
}

// claim writes down that the candidate is about to be asked, and asks it. A node that did not answer is
// asked with the intent of before: it may have made the session.
func (a *attempt) claim(ctx context.Context, c *Candidate) (directory.Session, bool, error) {
	if a.placed.Node == c.Node.Meta.Name && a.placed.Session == "" && !a.spent {
		return a.reserve(ctx, c)
	}
	intent := directory.Placement{
		Intent: rand.Text(), Node: c.Node.Meta.Name, Image: a.req.Image, Class: a.req.Class, Encoder: a.req.Encoder, At: a.Now().UnixMilli(),
	}
	if err := a.Index.Swap(ctx, a.req.User, a.req.Key, a.placed, intent); err != nil {
		return directory.Session{}, false, indexError(err)
	}
	a.placed, a.spent = intent, false
	return a.reserve(ctx, c)
}

func indexError(err error) error {
	if errors.Is(err, directory.ErrMoved) {
		return err
	}
	return fmt.Errorf("%w: %w", errIndex, err)
}

// reserve asks the node of the intent in a.placed.
func (a *attempt) reserve(ctx context.Context, c *Candidate) (directory.Session, bool, error) {
	node := c.Node.Meta
	a.tries++
	a.asked[node.Name] = true
	answered := c.Ask()
	asking, cancel := context.WithTimeout(ctx, reserveTimeout)
	defer cancel()
	s, created, err := a.Fleet.Reserve(asking, node, &easelv1.ReserveRequest{
		User: a.req.User, Key: a.req.Key, Image: a.req.Image, Class: a.req.Class, Encoder: a.req.Encoder, Intent: a.placed.Intent,
		NotAfter: timestamppb.New(time.UnixMilli(a.placed.At).Add(reserveWithin)),
	})
	answered(err == nil && created)
	switch {
	case err == nil && !s.Live(): // the session of this intent
		a.spent = true
		delete(a.asked, node.Name)
		return directory.Session{}, false, a.refuse(c, errors.New("the session has ended already"))
	case err == nil:
		if created && c.Source != "" {
			a.metrics.distance.WithLabelValues(c.Source).Observe(c.Distance / 1000)
		}
		return a.record(ctx, s, created)
	case connect.CodeOf(err) == connect.CodeInvalidArgument:
		return directory.Session{}, false, errors.Join(fmt.Errorf("%w: %s", ErrInvalid, message(err)), a.drop(ctx))
	}
	return directory.Session{}, false, a.refuse(c, err)
}

func (a *attempt) refuse(c *Candidate, err error) error {
	node := c.Node.Meta.Name
	a.spent = a.spent || !unreachable(err)
	if unreachable(err) {
		a.silent = append(a.silent, node)
	}
	switch code := connect.CodeOf(err); {
	case reason(err) == easelv1.RefusalClass || reason(err) == easelv1.RefusalGPU:
		c.RefusedClass(message(err), "", a.Now())
	case reason(err) == easelv1.RefusalEncoder:
		c.RefusedClass(message(err), Hardware, a.Now())
	case unreachable(err) || code == connect.CodeResourceExhausted || code == connect.CodeUnavailable:
		c.Refused(message(err), a.Now()) // whoever asks; other refusals are about this request
	}
	a.metrics.refused(err)
	a.Log.Info("node did not take a session", "node", node, "user", a.req.User, "error", err)
	a.refused = append(a.refused, node+": "+message(err))
	return err
}

// record writes down which session it became. When another coordinator gave the key to another node meanwhile,
// the session that nobody knows of ends.
func (a *attempt) record(ctx context.Context, s directory.Session, created bool) (directory.Session, bool, error) {
	after := a.placed
	after.Session = s.GetId()
	err := a.Index.Swap(ctx, a.req.User, a.req.Key, a.placed, after)
	if err == nil {
		a.metrics.tries.Observe(float64(a.tries))
		for _, node := range a.silent {
			a.Fleet.Doubt(node)
		}
		return s, created, nil
	}
	if now, _, getErr := a.Index.Get(a.req.User, a.req.Key); getErr == nil && now.Session == s.GetId() {
		return s, created, nil // another coordinator came upon the intent and wrote the same down
	}
	if errors.Is(err, directory.ErrMoved) && created {
		if _, stopErr := a.Fleet.Stop(ctx, s, "another coordinator placed the session elsewhere at the same moment"); stopErr != nil {
			a.Log.Warn("a session that was placed twice ends later", "session", s.GetId(), "node", s.Node.Name, "error", stopErr)
		}
	}
	return directory.Session{}, false, indexError(err)
}

// giveUp says why there is no session. The last intent is taken back, unless its node may have made one: who
// asks again gets that.
func (a *attempt) giveUp(ctx context.Context) (directory.Session, bool, error) {
	if a.spent {
		if err := a.drop(ctx); err != nil {
			a.Log.Warn("an intent stays in the index until it is swept", "user", a.req.User, "error", err)
		}
	}
	a.metrics.tries.Observe(float64(a.tries))
	if err := context.Cause(ctx); err != nil {
		return directory.Session{}, false, fmt.Errorf("place the session: %w", err)
	}
	asked := map[string]bool{}
	for _, r := range a.refused {
		node, _, _ := strings.Cut(r, ": ")
		asked[node] = true
	}
	others := a.Router.reasons(&a.req, func(node string) bool { return asked[node] })
	return directory.Session{}, false, &NoRoom{Reasons: append(a.refused, others...)}
}

func (a *attempt) drop(ctx context.Context) error {
	if a.placed.Intent == "" {
		return nil
	}
	err := a.Index.Swap(context.WithoutCancel(ctx), a.req.User, a.req.Key, a.placed, directory.Placement{})
	if errors.Is(err, directory.ErrMoved) {
		return nil
	}
	return err
}

// unreachable tells that a node did not answer, which a refusal is not.
func unreachable(err error) bool {
	var c *connect.Error
	return errors.As(err, &c) && !connect.IsWireError(err)
}

// reason is the short word of a node's refusal, "" when it gives none.
func reason(err error) string {
	var c *connect.Error
	if errors.As(err, &c) {
		return c.Meta().Get(easelv1.RefusalHeader)
	}
	return ""
}

// sleep waits, and returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
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

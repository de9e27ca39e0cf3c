package placement

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"easel/pkg/cluster"
)

const (
	// rebuildEvery spaces the views of a busy gossip, and rebuildShare keeps the making of large ones to a part
	// of the time; renewAfter is when a view is made anew though nothing was heard, because silence is news too.
	rebuildEvery = 50 * time.Millisecond
	rebuildShare = 20
	renewAfter   = time.Second
	// maxCandidates bounds what a decision keeps.
	maxCandidates = 8
)

// Request is a session that somebody wants.
type Request struct {
	User  string
	Role  string // of the user, for policies
	Key   string // names the session among the user's living ones
	Image string // "" means the node's default
	Class string // "" means "none": without a GPU
	// Encoder is Hardware or Any; "" means what the configuration says. It says nothing for a session without a GPU.
	Encoder string

	Place cluster.Place      // where the client's address is, as far as is known
	Pings map[string]float64 // round trips in ms, by node, as the client's browser measured them
	Homes []string           // nodes that have the user's home
}

// Members is the gossip's view of the nodes.
type Members interface {
	Nodes() []cluster.Node
	Changed() <-chan struct{} // closed at the next change; ask for it before Nodes
}

// Router decides which nodes suit a session. It asks nobody. Its methods are safe for concurrent use.
type Router struct {
	members Members
	place   cluster.Place
	own     func() cluster.Coordinate
	now     func() time.Time
	every   time.Duration

	config  atomic.Pointer[settings]
	current atomic.Pointer[prepared]
	queries sync.Pool

	mu      sync.Mutex // one view is made at a time
	ledgers map[string]*ledger
}

// prepared is a view, and what tells that it is old.
type prepared struct {
	*view
	here    origin
	changed <-chan struct{}
	keep    time.Duration // how long it serves though something changed
}

// RouterOptions is what a Router is made of.
type RouterOptions struct {
	Config  Config
	Members Members
	Place   cluster.Place             // where this coordinator stands
	Own     func() cluster.Coordinate // likewise in the space of round trips; nil means not known
	Now     func() time.Time          // nil means time.Now
	Every   time.Duration             // spaces views of a busy gossip; 0 means 50 ms, less than 0 none
}

// NewRouter returns a Router; cfg must have passed Check.
func NewRouter(o RouterOptions) *Router {
	r := &Router{members: o.Members, place: o.Place, own: o.Own, now: o.Now, every: o.Every, ledgers: map[string]*ledger{}}
	if r.now == nil {
		r.now = time.Now
	}
	if r.every == 0 {
		r.every = rebuildEvery
	}
	r.queries.New = func() any { return &query{} }
	r.Configure(o.Config)
	return r
}

// Configure makes later decisions follow cfg, which must have passed Check.
func (r *Router) Configure(cfg Config) { r.config.Store(newSettings(cfg)) }

// view returns the nodes as of now, or of a moment ago: many decisions share one view.
func (r *Router) view() *prepared {
	p := r.current.Load()
	if p != nil && r.fresh(p) {
		return p
	}
	if p == nil || r.now().Sub(p.made) > 2*renewAfter {
		r.mu.Lock()
	} else if !r.mu.TryLock() {
		return p // somebody makes the next one
	}
	defer r.mu.Unlock()
	if p = r.current.Load(); p != nil && r.fresh(p) {
		return p
	}
	began := r.now()
	p = &prepared{changed: r.members.Changed()}
	p.view = newView(r.members.Nodes(), r.ledgers, began)
	p.here = newOrigin(p.view, r.place, r.own)
	if r.every > 0 {
		p.keep = max(r.every, rebuildShare*r.now().Sub(began))
	}
	r.current.Store(p)
	return p
}

func (r *Router) fresh(p *prepared) bool {
	age := r.now().Sub(p.made)
	if age < p.keep {
		return true
	}
	select {
	case <-p.changed:
		return false
	default:
		return age < renewAfter
	}
}

// Candidate is a node that suits.
type Candidate struct {
	Node     *cluster.Node // not to be changed
	Score    float64
	Distance float64 // estimated round trip, ms
	Source   string  // how that is known
	Doubtful bool    // by its last record it is full or draining

	ledger *ledger
	class  *tally // of the ledger; nil when the node tells nothing of the class
}

// Refused makes later decisions prefer other nodes, for some seconds or until this one's next record.
func (c *Candidate) Refused(why string, now time.Time) {
	c.ledger.refused.Store(&refusal{why: why, at: now})
}

// RefusedClass likewise, for who asks for the same class, and with Hardware for who needs a card's encoder.
func (c *Candidate) RefusedClass(why, encoder string, now time.Time) {
	if c.class != nil {
		c.class.refused.Store(&refusal{why: why, at: now, encoder: encoder})
	}
}

// Ask counts a reservation that is about to be asked for against the node, for every decision until it is
// answered: answered must be called, with whether the node took it. A session that it took counts until
// the node's next record.
func (c *Candidate) Ask() (answered func(took bool)) {
	tallies := []*tally{&c.ledger.tally}
	if c.class != nil {
		tallies = append(tallies, c.class)
	}
	for _, t := range tallies {
		t.pending.Add(1)
	}
	return func(took bool) {
		for _, t := range tallies {
			if took {
				t.granted.Add(1)
			}
			t.pending.Add(-1)
		}
	}
}

// Route returns the nodes that suit a request best, at most so many, best first. Nodes that by their last
// record are full or draining come after all others, because that may be over.
func (r *Router) Route(req *Request, most int) []Candidate {
	p := r.view()
	q := r.ask(p, req)
	defer r.queries.Put(q)
	best, last := top{most: min(most, maxCandidates)}, top{most: min(most, maxCandidates)}
	for i := range p.seats {
		s := &p.seats[i]
		switch q.judge(s) {
		case yes:
			best.offer(s.index, q.total(s, best.floor()))
		case perhaps:
			last.offer(s.index, q.total(s, last.floor()))
		}
	}
	candidates := make([]Candidate, 0, min(best.most, best.n+last.n))
	for _, from := range []*top{&best, &last} {
		for _, e := range from.entries[:from.n] {
			if len(candidates) < cap(candidates) {
				c := q.candidate(&p.seats[e.seat], e.score)
				c.Doubtful = from == &last
				candidates = append(candidates, c)
			}
		}
	}
	return candidates
}

// Node returns a node of the view as a candidate for a class, whether it suits or not.
func (r *Router) Node(name, class string) (Candidate, bool) {
	p := r.view()
	i, ok := p.byName[name]
	if !ok {
		return Candidate{}, false
	}
	s := &p.seats[i]
	c := Candidate{Node: s.node, ledger: s.ledger}
	if r := s.roomOf(p.find(cmp.Or(class, ClassNone))); r != nil {
		c.class = r.tally
	}
	return c, true
}

// Encoder is what a node is to be asked for, so that a request that does not say follows the configuration.
func (r *Router) Encoder(req *Request) string {
	return r.config.Load().encoderOf(req.Class, req.Encoder)
}

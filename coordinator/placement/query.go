package placement

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// query is a request in a view's numbers, with room to work in.
type query struct {
	*Request
	now          time.Time
	policy       *Policy
	barred       bool    // the policy does not allow the class
	regions      []int32 // that the policy allows, nil for all
	image, class int32
	gpu          bool // a class with a GPU is asked for
	hardware     bool // the card must encode the picture
	mark         uint64
	pack         bool
	weights      []float64 // of scores
	terms        []term    // of a total
	homes        []int32
	pings        []ping
	distance     []float32 // ms, by seat
	sources      []source
	sites        []float32 // ms by view.sites, none when it is not known where who asks is
	areas        []float32 // ms to the nearest measured node, by a zone's or region's number; 0 when there is none

	// Of the seat that is looked at.
	room *room // of the class, nil when it has none
	free int32 // sessions of the class that it can take, by its last record and the ledger
}

// term is a score that counts. rest is the most that those after it can add to a total.
type term struct {
	weight, rest float64
	value        func(*query, *seat) float64
}

// settings is a configuration, made ready for decisions.
type settings struct {
	Config
	weights []float64 // of scores
	terms   []term    // the scores that count
}

func newSettings(cfg Config) *settings {
	s := &settings{Config: cfg}
	for i := range scores {
		w := scores[i].weight(&cfg.Weights)
		if s.weights = append(s.weights, w); w > 0 {
			s.terms = append(s.terms, term{weight: w, value: scores[i].value})
		}
	}
	for i := len(s.terms) - 2; i >= 0; i-- {
		s.terms[i].rest = s.terms[i+1].rest + s.terms[i+1].weight
	}
	return s
}

// look makes q's filters and scores speak of a seat.
func (q *query) look(s *seat) {
	q.room = s.roomOf(q.class)
	q.free = s.free(q.room, q.hardware && s.encoder)
}

func (q *query) className() string { return cmp.Or(q.Class, ClassNone) }

type ping struct {
	seat int32
	ms   float32
}

// ask makes a query of a request; it goes back to r.queries.
func (r *Router) ask(p *prepared, req *Request) *query {
	q, cfg := r.queries.Get().(*query), r.config.Load()
	q.Request, q.now, q.policy, q.pack = req, r.now(), cfg.policyOf(req.User, req.Role), cfg.Strategy == Pack
	q.weights, q.terms = cfg.weights, cfg.terms
	q.image, q.class = p.find(req.Image), p.find(q.className())
	q.gpu, q.hardware = q.className() != ClassNone, cfg.encoderOf(req.Class, req.Encoder) == Hardware
	q.mark = mark(req.User + "\x00" + req.Key)
	q.barred, q.regions = false, nil
	if q.policy != nil {
		q.barred = !q.policy.Allows(req.Class)
		for _, region := range q.policy.Regions {
			q.regions = append(q.regions, p.find(region))
		}
	}
	q.homes, q.pings = q.homes[:0], q.pings[:0]
	for _, name := range req.Homes {
		if i, ok := p.byName[name]; ok {
			q.homes = append(q.homes, i)
		}
	}
	for name, ms := range req.Pings {
		if i, ok := p.byName[name]; ok {
			q.pings = append(q.pings, ping{i, float32(ms)})
		}
	}
	q.distance = slices.Grow(q.distance[:0], len(p.seats))[:len(p.seats)]
	q.sources = slices.Grow(q.sources[:0], len(p.seats))[:len(p.seats)]
	q.locate(p.view, &p.here)
	return q
}

type verdict uint8

const (
	no verdict = iota
	perhaps
	yes
)

func (q *query) judge(s *seat) verdict {
	q.look(s)
	v := yes
	for i := range filters {
		if f := &filters[i]; !f.passes(q, s) {
			if !f.passing {
				return no
			}
			v = perhaps
		}
	}
	return v
}

// total is of the seat that q looks at. It stops where the seat cannot come above floor any more: most nodes are too far.
func (q *query) total(s *seat, floor float64) float64 {
	sum := 0.0
	for i := range q.terms {
		t := &q.terms[i]
		sum += t.weight * t.value(q, s)
		if sum+t.rest < floor {
			break
		}
	}
	return sum
}

func (q *query) candidate(s *seat, score float64) Candidate {
	c := Candidate{
		Node: s.node, Score: score, Distance: float64(q.distance[s.index]), Source: q.sources[s.index].String(), ledger: s.ledger,
	}
	if r := s.roomOf(q.class); r != nil {
		c.class = r.tally
	}
	return c
}

// top keeps the best of what it is offered, best first.
type top struct {
	most, n int
	entries [maxCandidates]entry
}

type entry struct {
	seat  int32
	score float64
}

// floor is what an offer must be above, with some room for how sums are rounded.
func (t *top) floor() float64 {
	if t.n < t.most || t.n == 0 {
		return math.Inf(-1)
	}
	return t.entries[t.n-1].score - 1e-9
}

func (t *top) offer(seat int32, score float64) {
	if t.n == t.most && (t.n == 0 || score <= t.entries[t.n-1].score) {
		return
	}
	t.n = min(t.n+1, t.most)
	at := t.n - 1
	for ; at > 0 && t.entries[at-1].score < score; at-- {
		t.entries[at] = t.entries[at-1]
	}
	t.entries[at] = entry{seat, score}
}

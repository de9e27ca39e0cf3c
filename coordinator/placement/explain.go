package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Explanation is why one node won or lost.
type Explanation struct {
	Node     string         `json:"node"`
	Rank     int            `json:"rank"` // 1 is asked first; 0 is never asked
	Total    float64        `json:"total"`
	Distance float64        `json:"distance_ms"`
	Filters  []FilterResult `json:"filters"`
	Scores   []ScoreResult  `json:"scores"`
}

// FilterResult is what a filter found.
type FilterResult struct {
	Name   string `json:"name"`
	Passes bool   `json:"passes"`
	Why    string `json:"why,omitempty"` // it does not
}

// ScoreResult is what a score found; Value times Weight goes into the total.
type ScoreResult struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Weight float64 `json:"weight"`
	Why    string  `json:"why"`
}

// Explain tells of nodes what Route thinks of them, the ones that are asked first and the rest after: of so many at most. total is how many
// there are.
func (r *Router) Explain(req *Request, most int) (first []Explanation, total int) {
	p := r.view()
	q := r.ask(p, req)
	defer r.queries.Put(q)
	type judged struct {
		seat    int
		verdict verdict
		total   float64
	}
	all := make([]judged, len(p.seats))
	for i := range p.seats {
		s := &p.seats[i]
		all[i] = judged{i, q.judge(s), q.total(s, math.Inf(-1))}
	}
	slices.SortStableFunc(all, func(a, b judged) int {
		return cmp.Or(cmp.Compare(b.verdict, a.verdict), cmp.Compare(b.total, a.total))
	})
	for i, one := range all[:min(len(all), most)] {
		e := q.explain(&p.seats[one.seat])
		if one.verdict != no {
			e.Rank = i + 1
		}
		first = append(first, e)
	}
	return first, len(all)
}

func (q *query) explain(s *seat) Explanation {
	q.look(s)
	e := Explanation{Node: s.node.Meta.Name, Total: q.total(s, math.Inf(-1)), Distance: float64(q.distance[s.index])}
	for _, f := range filters {
		result := FilterResult{Name: f.name, Passes: f.passes(q, s)}
		if !result.Passes {
			result.Why = f.why(q, s)
		}
		e.Filters = append(e.Filters, result)
	}
	for i, score := range scores {
		e.Scores = append(e.Scores, ScoreResult{
			Name: score.name, Value: score.value(q, s), Weight: q.weights[i], Why: score.why(q, s),
		})
	}
	return e
}

// maxReasons bounds how many nodes are named to who gets no session.
const maxReasons = 10

// reasons says why nodes that were not asked are no candidates: node by node in a small cluster, by counts in a
// large one.
func (r *Router) reasons(req *Request, asked func(node string) bool) []string {
	p := r.view()
	q := r.ask(p, req)
	defer r.queries.Put(q)
	named, counts := []string{}, map[string]int{}
	for i := range p.seats {
		s := &p.seats[i]
		if asked(s.node.Meta.Name) {
			continue
		}
		q.look(s)
		for _, f := range filters {
			if !f.passes(q, s) {
				named = append(named, s.node.Meta.Name+": "+f.why(q, s))
				counts[f.name]++
				break
			}
		}
	}
	if len(named) <= maxReasons {
		return named
	}
	named = named[:0]
	for _, f := range filters {
		if n := counts[f.name]; n > 0 {
			named = append(named, fmt.Sprintf("%d other nodes do not suit by %s", n, f.name))
		}
	}
	return named
}

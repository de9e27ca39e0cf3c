package state

import easelv1 "easel/pkg/api/easel/v1"

// maxOutcomes is how many commits are remembered. One that is sent again because its answer was lost comes within seconds; this
// many take longer.
const maxOutcomes = 16384

type commitID [16]byte

// outcome is what became of a commit.
type outcome struct {
	id       commitID
	index    uint64
	conflict bool
}

// outcomes remembers the latest, so that a commit that is sent twice is carried out once.
type outcomes struct {
	byID  map[commitID]outcome
	order []commitID // oldest first, from next on around
	next  int
}

func newOutcomes() *outcomes { return &outcomes{byID: map[commitID]outcome{}} }

func (o *outcomes) of(id commitID) (outcome, bool) {
	out, ok := o.byID[id]
	return out, ok
}

func (o *outcomes) add(out outcome) {
	o.byID[out.id] = out
	if len(o.order) < maxOutcomes {
		o.order = append(o.order, out.id)
		return
	}
	delete(o.byID, o.order[o.next])
	o.order[o.next] = out.id
	o.next = (o.next + 1) % maxOutcomes
}

// each visits them, oldest first.
func (o *outcomes) each(visit func(outcome)) {
	for i := range o.order {
		visit(o.byID[o.order[(o.next+i)%len(o.order)]])
	}
}

func (o *outcomes) join(later *outcomes) { later.each(o.add) }

func (o *outcomes) list() []*easelv1.StateOutcome {
	all := make([]*easelv1.StateOutcome, 0, len(o.order))
	o.each(func(out outcome) {
		all = append(all, &easelv1.StateOutcome{Id: out.id[:], Index: out.index, Conflict: out.conflict})
	})
	return all
}

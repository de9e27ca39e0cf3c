package placement

import (
	"cmp"
	"slices"
)

// Choice is a kind of session that somebody may ask for, and how many of them there is room for now.
type Choice struct {
	Class   string `json:"class"`
	Encoder string `json:"encoder,omitempty"` // Hardware, or Any where the CPU would encode the picture; "" without a GPU
	Free    int    `json:"free"`
	Total   int    `json:"total"`
}

// Choices returns what the nodes that a user may be on offer, by their last records: first sessions without a GPU, then classes by name, those
// with an encoder before those without.
func (r *Router) Choices(user, role string) []Choice {
	p := r.view()
	q := r.ask(p, &Request{User: user, Role: role})
	defer r.queries.Put(q)
	found := map[Choice]*Choice{}
	for i := range p.seats {
		s := &p.seats[i]
		if q.regions != nil && !slices.Contains(q.regions, s.region) {
			continue
		}
		for j := range s.rooms {
			class := p.texts[s.rooms[j].class]
			if q.policy.Allows(class) {
				q.offer(s, &s.rooms[j], class, found)
			}
		}
	}
	all := make([]Choice, 0, len(found))
	for _, c := range found {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Choice) int {
		none := func(c Choice) int {
			if c.Class == ClassNone {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(none(a), none(b)), cmp.Compare(a.Class, b.Class), cmp.Compare(b.Encoder, a.Encoder))
	})
	return all
}

// offer adds a room of a seat to what was found. Of a room in which places are free and none has an encoder, the CPU would encode.
func (q *query) offer(s *seat, r *room, class string, found map[Choice]*Choice) {
	encoder := ""
	if class != ClassNone {
		if encoder = Any; s.encoder && (r.encoders > 0 || r.total <= r.used) {
			encoder = Hardware
		}
	}
	key := Choice{Class: class, Encoder: encoder}
	if found[key] == nil {
		found[key] = &Choice{Class: class, Encoder: encoder}
	}
	c := found[key]
	c.Total += int(max(0, r.total))
	if healthy(q, s) && !s.full {
		c.Free += int(max(0, s.free(r, encoder == Hardware)))
	}
}

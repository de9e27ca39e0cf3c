package partition

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
)

// Profile is one kind of GPU instance that a card can have.
type Profile struct {
	Name   string  `json:"name"`
	Most   int     `json:"most"` // at the same time, when there are no others
	Places []Place `json:"places"`
}

// way is one way to have the wanted instances on a card.
type way struct {
	Keep []Place // are there and stay
	Make []Place // are to be made, largest first
}

func (w way) all() []Place { return append(slices.Clone(w.Keep), w.Make...) }

// ways yields every way to have the wanted profiles on a card, those first that keep most of what is dear (somebody's session
// is in it), then most of what is there.
func ways(profiles []Profile, present, dear []Place, want []string) iter.Seq[way] {
	return func(yield func(way) bool) {
		for _, keep := range keeps(present, dear, want) {
			for made := range arrangements(profiles, keep, without(want, keep)) {
				if !yield(way{Keep: keep, Make: made}) {
					return
				}
			}
		}
	}
}

// keeps are all choices of present instances that are wanted, the best first. A card has at most eight.
func keeps(present, dear []Place, want []string) [][]Place {
	var all [][]Place
	if len(present) > maxInstances {
		return nil
	}
	for set := range uint(1) << len(present) {
		keep := make([]Place, 0, bits.OnesCount(set))
		for i, p := range present {
			if set&(1<<i) != 0 {
				keep = append(keep, p)
			}
		}
		if len(without(want, keep)) == len(want)-len(keep) { // each is a wanted one
			all = append(all, keep)
		}
	}
	worth := func(keep []Place) int {
		n := 0
		for _, p := range keep {
			if slices.Contains(dear, p) {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b []Place) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(len(b), len(a)))
	})
	return all
}

// without is the wanted profiles that are not among the kept.
func without(want []string, keep []Place) []string {
	rest := slices.Clone(want)
	for _, p := range keep {
		if i := slices.Index(rest, p.Profile); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		}
	}
	return rest
}

// arrangements yields every way to lay the wanted profiles on a card beside what is there. Instances of one profile
// are alike, so they are laid in the order of their places alone.
func arrangements(profiles []Profile, there []Place, want []string) iter.Seq[[]Place] {
	byName := map[string]Profile{}
	for _, p := range profiles {
		byName[p.Name] = p
	}
	return func(yield func([]Place) bool) {
		laid := slices.Clone(there)
		var lay func(next int) bool
		lay = func(next int) bool {
			if next == len(want) {
				return yield(slices.Clone(laid[len(there):]))
			}
			p := byName[want[next]]
			if number(laid, p.Name) >= p.Most {
				return true
			}
			for _, at := range p.Places {
				if next > 0 && want[next-1] == want[next] && at.Start <= laid[len(laid)-1].Start {
					continue
				}
				if slices.ContainsFunc(laid, at.overlaps) {
					continue
				}
				laid = append(laid, at)
				on := lay(next + 1)
				laid = laid[:len(laid)-1]
				if !on {
					return false
				}
			}
			return true
		}
		lay(0)
	}
}

func number(places []Place, profile string) (n int) {
	for _, p := range places {
		if p.Profile == profile {
			n++
		}
	}
	return n
}

// first is the best way; false when there is none.
func first(all iter.Seq[way]) (way, bool) {
	for w := range all {
		return w, true
	}
	return way{}, false
}

package allocate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// BenchmarkChoose decides on a node of eight H100s, divided at random, of whose slices half are held.
func BenchmarkChoose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	n := divided(r, nvmltest.H100(), 8)
	for i, s := range n.Slices {
		n.Held[s.ID] = i%2 == 0
	}
	rooms := slices.DeleteFunc(n.Rooms(), func(r Room) bool { return r.Used == r.Total })
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := Choose(n, Want{Class: rooms[i%len(rooms)].Class}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(len(n.Slices)), "slices")
}

// chooser is a way to choose; what it is measured against.
type chooser func(n Node, w Want) (gpu.Slice, error)

// firstFit takes the first slice that will do.
func firstFit(n Node, w Want) (gpu.Slice, error) {
	o := look(n)
	for _, s := range n.Slices {
		s.Encoder = s.Encoder && o.encoders(s.Card) != 0
		if s.Class == w.Class && s.Unfit == "" && !n.Held[s.ID] && (s.Encoder || !w.Encoder) {
			return s, nil
		}
	}
	return gpu.Slice{}, n.lack(w)
}

// BenchmarkServed asks small nodes, whose cards differ in how they are divided and in their encoders, for slices until more were asked for
// than there are, and counts who was served beside the most who could have been, had all wishes been known before (1 is as good).
func BenchmarkServed(b *testing.B) {
	for name, choose := range map[string]chooser{"allocate": Choose, "first-fit": firstFit} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(3, 4))
			served, most := 0, 0
			for range b.N {
				n := mixed(r)
				wants := make([]Want, 4+r.IntN(6))
				for i := range wants {
					wants[i] = Want{Class: []string{gpu.Whole, gpu.Shared}[r.IntN(2)], Encoder: r.IntN(2) == 0}
				}
				most += mostServed(n, wants)
				for _, w := range wants {
					if s, err := choose(n, w); err == nil {
						served++
						n.Held[s.ID] = true
						if s.Encoder {
							n.Encoding[s.Card]++
						}
					}
				}
			}
			b.ReportMetric(float64(served)/float64(most), "served/optimal")
		})
	}
}

// mixed is up to four cards, whole or in shares, some with encoders, of which some have a limit.
func mixed(r *rand.Rand) Node {
	n := Node{Held: map[string]bool{}, Encoding: map[string]int{}}
	for i := range 2 + r.IntN(3) {
		c := gpu.Card{UUID: fmt.Sprintf("GPU-%d", i), Engines: gpu.Engines{Sessions: r.IntN(3)}}
		n.Cards = append(n.Cards, c)
		encodes := r.IntN(2) == 0
		one := func(id, class string) {
			s := slice(id, class, c.UUID)
			s.Encoder = encodes
			n.Slices = append(n.Slices, s)
		}
		if r.IntN(2) == 0 {
			one(c.UUID, gpu.Whole)
			continue
		}
		for k := range 1 + r.IntN(3) {
			one(fmt.Sprintf("%s#%d", c.UUID, k+1), gpu.Shared)
		}
	}
	return n
}

// mostServed is how many of the wishes can be served at best: it tries every slice, or none, for each.
func mostServed(n Node, wants []Want) int {
	if len(wants) == 0 {
		return 0
	}
	w, rest := wants[0], wants[1:]
	best := mostServed(n, rest)
	o, tried := look(n), map[string]bool{}
	for _, s := range n.Slices {
		alike := s.Card + s.Class // slices of one card are as good as each other
		if n.Held[s.ID] || tried[alike] || s.Class != w.Class || w.Encoder && (!s.Encoder || o.encoders(s.Card) == 0) {
			continue
		}
		tried[alike] = true
		n.Held[s.ID] = true
		if w.Encoder {
			n.Encoding[s.Card]++
		}
		best = max(best, 1+mostServed(n, rest))
		if w.Encoder {
			n.Encoding[s.Card]--
		}
		delete(n.Held, s.ID)
		if best == len(wants) {
			break
		}
	}
	return best
}

// BenchmarkRoomKept has sessions come and go on two cards of seven small MIG devices each, and looks how many halves of a card stay free
// whole, in which a larger device could be made without ending anybody. Optimal is the best choice of as many devices by who could move
// sessions at will; nobody can, so 1 is out of reach.
func BenchmarkRoomKept(b *testing.B) {
	for name, choose := range map[string]chooser{"allocate": Choose, "first-fit": firstFit, "at-random": atRandom(rand.New(rand.NewPCG(9, 9)))} {
		b.Run(name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			kept, best := 0, 0
			for range b.N {
				a, as := migCard("a", 0, 1, 2, 3, 4, 5, 6)
				c, cs := migCard("b", 0, 1, 2, 3, 4, 5, 6)
				n := Node{Cards: []gpu.Card{a, c}, Slices: append(as, cs...), Held: map[string]bool{}}
				for range 200 {
					if held := heldIDs(n); len(held) > 0 && (len(held) > 6 || r.IntN(2) == 0) {
						delete(n.Held, held[r.IntN(len(held))])
					} else if s, err := choose(n, Want{Class: "1g.10gb"}); err == nil {
						n.Held[s.ID] = true
					}
					kept += wholeHalves(n)
					best += bestHalves(len(n.Held))
				}
			}
			b.ReportMetric(float64(kept)/float64(best), "room/optimal")
		})
	}
}

// atRandom takes any slice that will do.
func atRandom(r *rand.Rand) chooser {
	return func(n Node, w Want) (gpu.Slice, error) {
		n.Slices = slices.Clone(n.Slices)
		r.Shuffle(len(n.Slices), func(i, j int) { n.Slices[i], n.Slices[j] = n.Slices[j], n.Slices[i] })
		return firstFit(n, w)
	}
}

func heldIDs(n Node) (ids []string) {
	for _, s := range n.Slices {
		if n.Held[s.ID] {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// wholeHalves counts the aligned halves of cards in which nothing is held.
func wholeHalves(n Node) (whole int) {
	for _, c := range n.Cards {
		used := [2]bool{}
		for _, i := range c.Instances {
			if n.Held[i.UUID] {
				used[i.Start/4] = true
			}
		}
		for _, u := range used {
			if !u {
				whole++
			}
		}
	}
	return whole
}

// bestHalves is how many halves of the two cards can be free when so many devices are held: the halves have room for 4, 3, 4 and 3.
func bestHalves(held int) (whole int) {
	whole = 4
	for _, room := range []int{4, 4, 3, 3} {
		if held <= 0 {
			break
		}
		held -= room
		whole--
	}
	return whole
}

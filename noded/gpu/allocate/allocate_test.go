package allocate

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/noded/gpu/partition"
)

func slice(id, class, card string) gpu.Slice { return gpu.Slice{ID: id, Class: class, Card: card} }

// migCard has instances of one memory slice each, by their places.
func migCard(uuid string, starts ...int) (gpu.Card, []gpu.Slice) {
	c := gpu.Card{UUID: uuid}
	var all []gpu.Slice
	for _, at := range starts {
		id := fmt.Sprintf("MIG-%s%d", uuid, at)
		c.Instances = append(c.Instances, gpu.Instance{UUID: id, Profile: "1g.10gb", Start: at, Size: 1})
		all = append(all, slice(id, "1g.10gb", uuid))
	}
	return c, all
}

func held(ids ...string) map[string]bool {
	all := map[string]bool{}
	for _, id := range ids {
		all[id] = true
	}
	return all
}

func TestChoosesWhatWastesLeast(t *testing.T) {
	large, small := slice("large", gpu.Whole, "large"), slice("small", gpu.Whole, "small")
	large.Memory, small.Memory = 80<<30, 40<<30
	encodes, plain := slice("encodes", gpu.Whole, "e"), slice("plain", gpu.Whole, "p")
	encodes.Encoder = true
	near, far := slice("near", gpu.Whole, "n"), slice("far", gpu.Whole, "f")
	far.NUMA = 1
	other := slice("other", gpu.Whole, "o")
	used, free := slice("used", gpu.Shared, "A"), slice("free", gpu.Shared, "B")
	sharing := slice("sharing", gpu.Shared, "A")
	a, as := migCard("a", 0, 1, 2, 3)
	b, bs := migCard("b", 0, 1, 2, 3)
	mig := Node{Cards: []gpu.Card{a, b}, Slices: append(as, bs...)}
	for name, c := range map[string]struct {
		node Node
		want Want
		gets string
	}{
		"the least memory":            {Node{Slices: []gpu.Slice{large, small}}, Want{Class: gpu.Whole}, "small"},
		"no encoder unless asked":     {Node{Slices: []gpu.Slice{encodes, plain}}, Want{Class: gpu.Whole}, "plain"},
		"an encoder when asked":       {Node{Slices: []gpu.Slice{plain, encodes}}, Want{Class: gpu.Whole, Encoder: true}, "encodes"},
		"CPUs that others do not use": {Node{Slices: []gpu.Slice{other, near, far}, Held: held("other")}, Want{Class: gpu.Whole}, "far"},
		"the card with fewest shares": {Node{Slices: []gpu.Slice{sharing, used, free}, Held: held("sharing")}, Want{Class: gpu.Shared}, "free"},
		"the hole in a used pair":     {Node{mig.Cards, mig.Slices, held("MIG-a0", "MIG-b3"), nil}, Want{Class: "1g.10gb"}, "MIG-a1"},
		"no pair that is whole":       {Node{mig.Cards, mig.Slices, held("MIG-a0", "MIG-a1", "MIG-a2"), nil}, Want{Class: "1g.10gb"}, "MIG-a3"},
		"no half card that is whole":  {Node{mig.Cards, mig.Slices, held("MIG-b0", "MIG-b1"), nil}, Want{Class: "1g.10gb"}, "MIG-b2"},
	} {
		got, err := Choose(c.node, c.want)
		if err != nil || got.ID != c.gets {
			t.Errorf("%s: got %q (%v), want %q", name, got.ID, err, c.gets)
		}
	}
}

func TestLackSaysWhy(t *testing.T) {
	limited := slice("a", gpu.Shared, "A")
	limited.Encoder = true
	unfit := slice("a", gpu.Whole, "A")
	unfit.Unfit = "XID 79: it fell off the bus"
	card := []gpu.Card{{UUID: "A", Engines: gpu.Engines{Sessions: 1}}}
	for name, c := range map[string]struct {
		node         Node
		want         Want
		reason, says string
	}{
		"no card":           {Node{}, Want{Class: gpu.Whole}, LacksClass, "no GPU"},
		"no such class":     {Node{Slices: []gpu.Slice{limited, limited}}, Want{Class: "1g.10gb"}, LacksClass, "only of shared:"},
		"all held":          {Node{Slices: []gpu.Slice{limited}, Held: held("a")}, Want{Class: gpu.Shared}, LacksSlice, "held by a session"},
		"all unfit":         {Node{Slices: []gpu.Slice{unfit}}, Want{Class: gpu.Whole}, LacksSlice, "fell off the bus"},
		"encoders taken":    {Node{Slices: []gpu.Slice{limited}, Cards: card, Encoding: map[string]int{"A": 1}}, Want{gpu.Shared, true}, LacksEncoder, "is taken"},
		"no encoder engine": {Node{Slices: []gpu.Slice{slice("a", gpu.Whole, "A")}}, Want{gpu.Whole, true}, LacksEncoder, "no encoder engine"},
	} {
		_, err := Choose(c.node, c.want)
		var lack *Lack
		if !errors.As(err, &lack) || lack.Reason != c.reason || !strings.Contains(lack.Text, c.says) {
			t.Errorf("%s: %v, want reason %q and words %q", name, err, c.reason, c.says)
		}
	}
}

// divided is cards of a model, divided at random: whole, in shares, or by MIG at places that the model has.
func divided(r *rand.Rand, m nvmltest.Model, cards int) Node {
	inv, layout := gpu.Inventory{}, partition.Layout{Cards: map[string]partition.Division{}}
	for i := range cards {
		c := gpu.Card{UUID: fmt.Sprintf("GPU-%d", i), Model: m.Name, Memory: m.MemoryMB << 20, NUMA: i / 4, Engines: gpu.Engines{Encode: m.Encode}}
		if len(m.Encode) > 0 {
			c.Engines.Sessions = 3
		}
		switch k := r.IntN(4); {
		case k == 0:
		case k == 1 || m.Slices == 0:
			layout.Cards[c.UUID] = partition.Division{Mode: partition.Shared, Shares: 1 + r.IntN(8)}
		default:
			c.MIG = gpu.MIG{Capable: true, Enabled: true, Pending: true}
			c.Instances = instances(r, m, c.UUID)
		}
		inv.Cards = append(inv.Cards, c)
	}
	return Node{Cards: inv.Cards, Slices: partition.Slices(layout, inv), Held: map[string]bool{}, Encoding: map[string]int{}}
}

// instances fills a card with random profiles until none fits any more.
func instances(r *rand.Rand, m nvmltest.Model, card string) (all []gpu.Instance) {
	compute, taken := m.Slices, [memorySlices]bool{}
	profiles := slices.Sorted(maps.Keys(m.MIGProfiles.GpuInstancePlacements))
	type place struct {
		profile int
		at      nvml.GpuInstancePlacement
	}
	for {
		var fit []place
		for _, p := range profiles {
			for _, at := range m.MIGProfiles.GpuInstancePlacements[p] {
				info, is := m.MIGProfiles.GpuInstanceProfiles[p]
				if is && gpu.ValidClass(m.ProfileName(p)) && int(info.SliceCount) <= compute && !slices.Contains(taken[at.Start:at.Start+at.Size], true) {
					fit = append(fit, place{p, at})
				}
			}
		}
		if len(fit) == 0 {
			return all
		}
		f := fit[r.IntN(len(fit))]
		info := m.MIGProfiles.GpuInstanceProfiles[f.profile]
		compute -= int(info.SliceCount)
		for s := f.at.Start; s < f.at.Start+f.at.Size; s++ {
			taken[s] = true
		}
		all = append(all, gpu.Instance{
			UUID: fmt.Sprintf("MIG-%s-%d", card, len(all)), Profile: m.ProfileName(f.profile), Start: int(f.at.Start), Size: int(f.at.Size),
			Memory: info.MemorySizeMB << 20,
		})
	}
}

// TestTenThousandAllocationsAndReleases keeps a book of its own beside the allocator's answers: nothing is handed out twice, nothing is lost,
// and what is free of each class is what was told.
func TestTenThousandAllocationsAndReleases(t *testing.T) {
	for _, model := range []nvmltest.Model{nvmltest.A100(), nvmltest.H100(), nvmltest.H200(), nvmltest.B200(), nvmltest.L40S(), nvmltest.RTXPro6000()} {
		t.Run(model.Name, func(t *testing.T) {
			const seed = 1
			r := rand.New(rand.NewPCG(seed, uint64(model.MemoryMB)))
			n := divided(r, model, 8)
			total := map[string]int{}
			for _, s := range n.Slices {
				total[s.Class]++
			}
			classes := slices.Sorted(maps.Keys(total))
			lent, granted, refused := map[string]gpu.Slice{}, 0, 0
			for range 10_000 {
				if len(lent) > 0 && r.IntN(100) < 48 {
					ids := slices.Sorted(maps.Keys(lent))
					giveBack(n, lent, ids[r.IntN(len(ids))])
					continue
				}
				w := Want{Class: classes[r.IntN(len(classes))], Encoder: r.IntN(4) == 0}
				room := roomOf(t, n, w.Class)
				if free := total[w.Class] - len(ofClass(lent, w.Class)); room.Total != total[w.Class] || room.Total-room.Used != free || room.Encoders > free {
					t.Fatalf("class %s: told %+v, and %d of %d are free", w.Class, room, free, total[w.Class])
				}
				s, err := Choose(n, w)
				can := room.Used < room.Total
				if w.Encoder {
					can = room.Encoders > 0
				}
				if can != (err == nil) {
					t.Fatalf("%+v with room %+v: %v", w, room, err)
				}
				if err != nil {
					refused++
					continue
				}
				if _, twice := lent[s.ID]; twice || s.Class != w.Class || w.Encoder && !s.Encoder {
					t.Fatalf("%+v was given %+v, lent already: %v", w, s, twice)
				}
				granted++
				lent[s.ID], n.Held[s.ID] = s, true
				if s.Encoder {
					n.Encoding[s.Card]++
				}
				for _, c := range n.Cards {
					if limit := c.Engines.Sessions; limit > 0 && n.Encoding[c.UUID] > limit {
						t.Fatalf("card %s encodes for %d, its limit is %d", c.UUID, n.Encoding[c.UUID], limit)
					}
				}
			}
			for _, id := range slices.Sorted(maps.Keys(lent)) {
				giveBack(n, lent, id)
			}
			for _, room := range n.Rooms() {
				if room.Used != 0 || room.Total != total[room.Class] {
					t.Errorf("after all was given back: %+v of %d", room, total[room.Class])
				}
			}
			if granted < 1000 || refused < 100 {
				t.Errorf("%d were granted and %d refused: the test tries too little", granted, refused)
			}
		})
	}
}

func giveBack(n Node, lent map[string]gpu.Slice, id string) {
	if s := lent[id]; s.Encoder {
		n.Encoding[s.Card]--
	}
	delete(lent, id)
	delete(n.Held, id)
}

func roomOf(t *testing.T, n Node, class string) Room {
	t.Helper()
	rooms := n.Rooms()
	i := slices.IndexFunc(rooms, func(r Room) bool { return r.Class == class })
	if i < 0 {
		t.Fatalf("no room is told of class %s", class)
	}
	return rooms[i]
}

func ofClass(lent map[string]gpu.Slice, class string) (all []gpu.Slice) {
	for _, s := range lent {
		if s.Class == class {
			all = append(all, s)
		}
	}
	return all
}

package partition

import (
	"fmt"
	"slices"

	"easel/noded/gpu"
)

// Slices is what sessions can hold on a node with this layout, in the cards' order. A slice that is not to be handed out
// now is among them, and says why.
func Slices(l Layout, inv gpu.Inventory) []gpu.Slice {
	var all []gpu.Slice
	for _, c := range inv.Cards {
		all = append(all, closeSome(l, c, cut(l.Cards, c))...)
	}
	return all
}

// closeSome marks the slices of a closed card, but those that stay.
func closeSome(l Layout, c gpu.Card, all []gpu.Slice) []gpu.Slice {
	why := l.Closed[c.UUID]
	if why == "" {
		return all
	}
	var stay []gpu.Slice
	if _, is := l.Next[c.UUID]; is {
		stay = cut(l.Next, c)
	}
	for i, s := range all {
		if s.Unfit == "" && !slices.Contains(stay, s) {
			all[i].Unfit = why
		}
	}
	return all
}

// cut is the slices of a card that is divided so.
func cut(divisions map[string]Division, c gpu.Card) []gpu.Slice {
	d, told := divisions[c.UUID]
	if !told {
		d = Division{Mode: Whole}
		if c.MIG.Enabled {
			d.Mode = MIG
		}
	}
	unfit := unfitness(c, d)
	whole := gpu.Slice{
		ID: c.UUID, Class: gpu.Whole, Card: c.UUID, Memory: c.Memory, NUMA: c.NUMA, CPUs: c.CPUs,
		Encoder: len(c.Engines.Encode) > 0, OpenCL: true, Unfit: unfit,
	}
	switch {
	case d.Mode == MIG && c.MIG.Enabled:
		return instances(whole, c, d, told)
	case d.Mode == Shared:
		return shares(whole, d)
	}
	return []gpu.Slice{whole}
}

// unfitness is why nothing of the card is handed out; "" when it can be.
func unfitness(c gpu.Card, d Division) string {
	switch {
	case len(c.Faults) > 0:
		return c.Faults[0].Text
	case c.MIG.Enabled != c.MIG.Pending:
		return "its MIG mode changes with the card's next reset: restart the host"
	case d.Mode == MIG && !c.MIG.Enabled:
		return fmt.Sprintf("it is to be %s, but its MIG mode is off: run \"noded gpu apply\" again", d)
	case d.Mode != MIG && c.MIG.Enabled:
		return fmt.Sprintf("it is to be %s, but its MIG mode is on: run \"noded gpu apply\" again", d)
	}
	return ""
}

// shares are a card's time slices, numbered from 1.
func shares(whole gpu.Slice, d Division) []gpu.Slice {
	all := make([]gpu.Slice, 0, d.Shares)
	for n := 1; n <= d.Shares; n++ {
		s := whole
		s.ID, s.Class, s.Memory = shareID(whole.Card, n), gpu.Shared, d.budget(whole.Memory)
		all = append(all, s)
	}
	return all
}

func shareID(card string, n int) string { return fmt.Sprintf("%s#%d", card, n) }

// budget is the memory of one share.
func (d Division) budget(card uint64) uint64 {
	if d.Memory != 0 || d.Shares == 0 {
		return d.Memory
	}
	return card / uint64(d.Shares)
}

// instances are a card's MIG devices as they are. Where a layout was told, only those that are of it are handed out.
func instances(whole gpu.Slice, c gpu.Card, d Division, told bool) []gpu.Slice {
	all := make([]gpu.Slice, 0, len(c.Instances))
	for _, i := range c.Instances {
		s := whole
		s.ID, s.Class, s.Memory, s.Encoder = i.UUID, i.Profile, i.Memory, s.Encoder && i.Encoders > 0
		switch {
		case s.Unfit != "":
		case !gpu.ValidClass(i.Profile):
			s.Unfit = fmt.Sprintf("sessions cannot ask for its profile %q", i.Profile)
		case told && !slices.Contains(d.Made, Place{i.Profile, i.Start, i.Size}):
			s.Unfit = "something else than noded made it: \"noded gpu apply\" takes it over, or removes it"
		}
		all = append(all, s)
	}
	return all
}

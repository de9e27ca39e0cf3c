// Package allocate chooses the slice of a card that a session gets. It is pure: what there is and who holds it comes in, a choice
// or the reason why there is none comes out.
package allocate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"easel/noded/gpu"
)

// Node is what there is to choose from.
type Node struct {
	Cards    []gpu.Card
	Slices   []gpu.Slice
	Held     map[string]bool // ids of the slices that sessions hold
	Encoding map[string]int  // sessions that hold an encoder of a card, by the card's UUID
}

// Want is what a session asks for. The class is meant exactly: who asks for "1g.10gb" is not given a "2g.20gb", or the room that the
// node tells the cluster of would not be true.
type Want struct {
	Class   string
	Encoder bool // a card whose encoder can take one more stream, and no other
}

// Reasons of a Lack.
const (
	LacksClass   = "class"   // the node has no slice of the class, whoever holds it
	LacksSlice   = "gpu"     // it has some, and none can be handed out now
	LacksEncoder = "encoder" // some can, and none of them has an encoder to give
)

// Lack is why nothing could be chosen.
type Lack struct {
	Reason string
	Text   string // for a person
}

func (l *Lack) Error() string { return l.Text }

// Choose picks the slice that wastes least: the least memory, no encoder that nobody asked for, and the least damage to what is free. In
// the slice that it returns Encoder tells whether the session is given an encoder of the card. The error is a *Lack.
func Choose(n Node, w Want) (gpu.Slice, error) {
	o := look(n)
	best, found, bestCost := gpu.Slice{}, false, cost{}
	for _, s := range n.Slices {
		if s.Class != w.Class || s.Unfit != "" || n.Held[s.ID] {
			continue
		}
		s.Encoder = s.Encoder && o.encoders(s.Card) != 0
		if w.Encoder && !s.Encoder {
			continue
		}
		if c := o.cost(s, w); !found || c.compare(bestCost) < 0 {
			best, found, bestCost = s, true, c
		}
	}
	if !found {
		return gpu.Slice{}, n.lack(w)
	}
	return best, nil
}

// cost is what a choice wastes, the most important first.
type cost struct {
	memory  uint64
	encoder int // 1 when its card could encode and nobody asked for that
	block   int // MIG: memory slices of the free, aligned block that it breaks; what stays whole can be divided anew
	left    int // MIG: free instances of its card, so that cards that are in use fill up and others stay empty
	sharing int // time slices: sessions on the card already
	near    int // sessions that hold a slice on its NUMA node, and so have their CPUs there
}

func (c cost) compare(d cost) int {
	return cmp.Or(cmp.Compare(c.memory, d.memory), cmp.Compare(c.encoder, d.encoder), cmp.Compare(c.block, d.block),
		cmp.Compare(c.left, d.left), cmp.Compare(c.sharing, d.sharing), cmp.Compare(c.near, d.near))
}

// overview is what a choice looks up, made once for all slices.
type overview struct {
	cards map[string]*cardView
	near  map[int]int // held slices by NUMA node
}

type cardView struct {
	limit, encoding int
	held, free      int
	taken           [memorySlices]bool // by instances that are held
	at              map[string]gpu.Instance
}

// memorySlices is how many a card in MIG mode has at most.
const memorySlices = 8

func look(n Node) overview {
	o := overview{cards: map[string]*cardView{}, near: map[int]int{}}
	for _, c := range n.Cards {
		v := &cardView{limit: c.Engines.Sessions, encoding: n.Encoding[c.UUID]}
		if len(c.Instances) > 0 {
			v.at = make(map[string]gpu.Instance, len(c.Instances))
		}
		for _, i := range c.Instances {
			v.at[i.UUID] = i
		}
		o.cards[c.UUID] = v
	}
	for _, s := range n.Slices {
		v := o.cards[s.Card]
		if v == nil {
			v = &cardView{}
			o.cards[s.Card] = v
		}
		if !n.Held[s.ID] {
			v.free++
			continue
		}
		v.held++
		o.near[s.NUMA]++
		i := v.at[s.ID]
		for m := max(0, i.Start); m < min(memorySlices, i.Start+i.Size); m++ {
			v.taken[m] = true
		}
	}
	return o
}

// encoders is how many more streams a card can encode; below 0 when no limit is known.
func (o overview) encoders(card string) int {
	v := o.cards[card]
	if v.limit <= 0 {
		return -1
	}
	return max(0, v.limit-v.encoding)
}

func (o overview) cost(s gpu.Slice, w Want) cost {
	v := o.cards[s.Card]
	c := cost{memory: s.Memory, near: o.near[s.NUMA]}
	if s.Encoder && !w.Encoder {
		c.encoder = 1
	}
	switch s.Class {
	case gpu.Whole:
	case gpu.Shared:
		c.sharing = v.held
	default:
		c.block, c.left = v.block(v.at[s.ID]), v.free
	}
	return c
}

// block is the size of the greatest aligned block of memory slices around an instance in which nothing is held.
func (v *cardView) block(i gpu.Instance) int {
	size := 1
	for size < i.Size {
		size *= 2
	}
	for size < memorySlices {
		first := i.Start / (2 * size) * (2 * size)
		if slices.Contains(v.taken[first:min(memorySlices, first+2*size)], true) {
			return size
		}
		size *= 2
	}
	return size
}

// lack says why nothing can be chosen.
func (n Node) lack(w Want) *Lack {
	total, held, encode := 0, 0, false
	var unfit []string
	for _, s := range n.Slices {
		if s.Class != w.Class {
			continue
		}
		total++
		encode = encode || s.Encoder
		switch {
		case n.Held[s.ID]:
			held++
		case s.Unfit != "":
			unfit = append(unfit, s.ID+": "+s.Unfit)
		}
	}
	switch {
	case len(n.Slices) == 0:
		return &Lack{LacksClass, fmt.Sprintf("this node has no GPU to give for class %q: ask for class \"none\"", w.Class)}
	case total == 0:
		return &Lack{LacksClass, fmt.Sprintf("this node has no GPU slice of class %q, only of %s: ask for one of these, or divide its cards anew (noded gpu plan)", w.Class, strings.Join(n.classes(), ", "))}
	case total > held+len(unfit) && !encode:
		return &Lack{LacksEncoder, fmt.Sprintf("the cards of this node's slices of class %q have no encoder engine: ask for encoder \"any\" to have the CPU encode, or another class", w.Class)}
	case total > held+len(unfit):
		return &Lack{LacksEncoder, fmt.Sprintf("every encoder for this node's slices of class %q is taken: end a session, or ask for encoder \"any\" to have the CPU encode", w.Class)}
	case len(unfit) > 0:
		return &Lack{LacksSlice, fmt.Sprintf("this node has %d slices of class %q: %d are held, and %d cannot be handed out (%s)", total, w.Class, held, len(unfit), unfit[0])}
	}
	return &Lack{LacksSlice, fmt.Sprintf("each of this node's %d slices of class %q is held by a session: end one, or ask for another class", total, w.Class)}
}

// classes names those that there are, in the order in which they are met.
func (n Node) classes() []string {
	var all []string
	for _, s := range n.Slices {
		if !slices.Contains(all, s.Class) {
			all = append(all, s.Class)
		}
	}
	return all
}

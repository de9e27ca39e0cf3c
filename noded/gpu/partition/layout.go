// Package partition divides a node's cards as a file says: whole, in time slices, or by MIG. It plans without touching
// anything, carries the plan out step by step, and finishes or undoes at the next start what a kill interrupted.
package partition

import (
	"fmt"
	"slices"
	"strings"
)

// Mode is how a card is divided.
type Mode string

// The modes.
const (
	Whole  Mode = "whole"  // one session a card
	Shared Mode = "shared" // time slices of equal memory
	MIG    Mode = "mig"
)

// Division is what one card is to be.
type Division struct {
	Mode     Mode     `json:"mode"`
	Shares   int      `json:"shares,omitempty"`   // of Shared
	Memory   uint64   `json:"memory,omitempty"`   // of Shared: bytes a session may use, 0 for an equal part
	Profiles []string `json:"profiles,omitempty"` // of MIG, largest first
	// Made says where the MIG devices lie that noded made or took over: others on the card are not its own.
	Made []Place `json:"made,omitempty"`
}

// Place is where a GPU instance lies among its card's memory slices.
type Place struct {
	Profile string `json:"profile"`
	Start   int    `json:"start"`
	Size    int    `json:"size"`
}

func (p Place) String() string { return fmt.Sprintf("%s at %d:%d", p.Profile, p.Start, p.Size) }

func (p Place) overlaps(q Place) bool { return p.Start < q.Start+q.Size && q.Start < p.Start+p.Size }

// String says it as a person would.
func (d Division) String() string {
	switch d.Mode {
	case Whole:
		return "whole"
	case Shared:
		if d.Memory == 0 {
			return fmt.Sprintf("%d shares", d.Shares)
		}
		return fmt.Sprintf("%d shares of %s", d.Shares, size(d.Memory))
	case MIG:
		if len(d.Profiles) == 0 {
			return "MIG without instances"
		}
		return "MIG " + list(d.Profiles)
	}
	return "as it is"
}

// list is profiles in words: "2×3g.40gb + 1g.10gb".
func list(profiles []string) string {
	var words []string
	for _, p := range slices.Compact(slices.Clone(profiles)) {
		n := 0
		for _, q := range profiles {
			if p == q {
				n++
			}
		}
		if n > 1 {
			p = fmt.Sprintf("%d×%s", n, p)
		}
		words = append(words, p)
	}
	return strings.Join(words, " + ")
}

// same tells whether two divisions ask for the same, wherever the instances lie.
func (d Division) same(o Division) bool {
	return d.Mode == o.Mode && d.Shares == o.Shares && d.Memory == o.Memory && slices.Equal(d.Profiles, o.Profiles)
}

// Layout is what is in force on a node.
type Layout struct {
	// Cards are by UUID. A card that is not here is whole, or, in MIG mode, has the instances that it has.
	Cards map[string]Division `json:"cards"`
	// Closed are cards of which nothing is handed out now, and why: they are being divided, or that failed.
	Closed map[string]string `json:"closed,omitempty"`
	// Next is what closed cards are being made: slices that stay through it are handed out as ever.
	Next map[string]Division `json:"next,omitempty"`
}

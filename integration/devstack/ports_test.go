package devstack

import (
	"slices"
	"testing"
)

// Two of a stack's daemons were given the same port once in 500 stacks.
func TestPortsOfAStackDiffer(t *testing.T) {
	for range 2000 {
		s := &Stack{}
		if err := s.choosePorts(); err != nil {
			t.Fatal(err)
		}
		all := []string{s.CoordinatorAddr, s.NodeAddr, s.RelayAddr, s.gossip[0], s.gossip[1], s.api[0], s.api[1]}
		slices.Sort(all)
		if n := len(slices.Compact(slices.Clone(all))); n != len(all) {
			t.Fatalf("a stack listens at %v", all)
		}
	}
}

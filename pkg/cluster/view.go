package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Node is one node of the view.
type Node struct {
	Meta       Meta
	Capacity   Capacity  // its lists are shared: they must not be changed
	Seen       time.Time // when it was heard last, by this machine's clock; on a node: when its record came
	Suspect    bool      // it has missed heartbeats, and may be about to go
	Coordinate Coordinate
}

// Publish makes rec this node's capacity record: it is sent to the others soon, and repeated until the
// next one. Name, Seq and At are filled in. Images that do not fit a packet are left out, with a warning.
func (c *Cluster) Publish(rec Capacity) error {
	if c.cfg.Role != RoleNode {
		return fmt.Errorf("publish capacity of %q: a %s has none", c.cfg.Name, c.cfg.Role)
	}
	rec.Name, rec.Seq, rec.At = c.cfg.Name, 1, time.Now()
	rec, left, err := fit(rec)
	if err != nil {
		return fmt.Errorf("publish capacity of %q: %w", c.cfg.Name, err)
	}
	if left > 0 {
		c.log.Warn("images left out of the capacity record: they do not fit one packet", "left_out", left)
	}
	c.mu.Lock()
	c.own = &rec
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default: // a broadcast is due already and will take this record
	}
	return nil
}

// Nodes returns the nodes that are members, are not silent, and have told of their room, sorted by name. The slice is
// shared with other callers: it must not be changed.
func (c *Cluster) Nodes() []Node {
	here := c.Coordinate()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view != nil {
		return c.view
	}
	nodes := make([]Node, 0, len(c.members))
	for name := range c.members {
		if n, ok := c.nodeLocked(name, here); ok {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Meta.Name, b.Meta.Name) })
	c.view = nodes
	return nodes
}

// Node returns one of Nodes.
func (c *Cluster) Node(name string) (Node, bool) {
	here := c.Coordinate()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodeLocked(memberName(RoleNode, name), here)
}

func (c *Cluster) nodeLocked(name string, here Coordinate) (Node, bool) {
	m, ok := c.members[name]
	if !ok || m.refused || m.silent() || m.record.seq == 0 {
		return Node{}, false
	}
	r := m.record
	n := Node{Meta: m.known(), Capacity: *r.capacity(), Seen: time.UnixMilli(r.seen)}
	if b := m.beats; b != nil {
		n.Seen, n.Suspect, n.Coordinate = b.heardAt, c.suspectLocked(m), b.coordinate
	}
	if name == c.self {
		n.Meta, n.Coordinate = c.cfg.Meta, here
	}
	return n, true
}

// Changed returns a channel that is closed at the next change of what Nodes returns. Ask for it before
// calling Nodes, so that no change falls between.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

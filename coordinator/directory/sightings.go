package directory

import (
	"fmt"
	"time"

	"easel/pkg/cluster"
)

// A node's sessions are lost when it has been out of the view for lostAfter and its last record is at least
// lostSilence old: the one gives a node that is slow to tell of itself its time, the other one that restarts.
// With the gossip's own patience, which is below 5 s, sessions of a dead node are lost within 10 s.
const (
	lostAfter   = 4 * time.Second
	lostSilence = 9 * time.Second
	// forgetNode is how long a node that is gone is remembered, and its sessions are told of as lost.
	forgetNode = 24 * time.Hour
)

// sightings is when and where nodes were seen in the gossip's view.
type sightings struct {
	began   time.Time // nothing is known of before
	looked  time.Time
	changed <-chan struct{}
	looks   int
	last    []cluster.Node
	nodes   map[string]sighting
}

type sighting struct {
	meta     cluster.Meta
	seen     time.Time // in the view, last
	record   time.Time // when its last record arrived
	look     int       // which look saw it last
	arrivals int       // in the view, after absences
}

// Nodes returns the nodes in the view. The slice is shared and must not be changed.
func (d *Directory) Nodes() []cluster.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	return d.view.last
}

// look takes in what changed in the view; d.mu is held.
func (d *Directory) look() {
	v, now := &d.view, d.Now()
	if v.changed != nil && d.LookEvery > 0 {
		age := now.Sub(v.looked)
		if age < d.LookEvery || age < time.Second && !closed(v.changed) {
			return
		}
	}
	v.looked, v.changed = now, d.Members.Changed()
	v.last = d.Members.Nodes()
	v.looks++
	for i := range v.last {
		n := &v.last[i]
		s := v.nodes[n.Meta.Name]
		if s.look != v.looks-1 {
			s.arrivals++
		}
		v.nodes[n.Meta.Name] = sighting{meta: n.Meta, seen: now, record: n.Seen, look: v.looks, arrivals: s.arrivals}
	}
	for name, s := range v.nodes {
		if now.Sub(s.seen) > forgetNode {
			delete(v.nodes, name)
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// whereabouts returns how to reach a node. lost says why its sessions are lost, "" when they are not.
func (d *Directory) whereabouts(node string) (meta cluster.Meta, known bool, lost string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look()
	now := d.Now()
	s, known := d.view.nodes[node]
	if known && s.look == d.view.looks {
		return s.meta, true, ""
	}
	if !known {
		s.seen, s.record = d.view.began, d.view.began
	}
	if now.Sub(s.seen) < lostAfter || now.Sub(s.record) < lostSilence {
		return s.meta, known, ""
	}
	return s.meta, known, fmt.Sprintf("its node %s has not been heard of since %s", node, s.seen.UTC().Format("15:04:05 UTC"))
}

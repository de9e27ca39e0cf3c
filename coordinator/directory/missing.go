package directory

import (
	"cmp"
	"slices"
	"time"

	"easel/pkg/cluster"
)

// Missing is a node that was in the view and is not any more.
type Missing struct {
	Meta cluster.Meta
	Seen time.Time
	Lost bool // for so long that its sessions are given up
}

// Missing returns the nodes that have left the view, sorted by name; those of long ago are forgotten.
func (d *Directory) Missing() []Missing {
	d.mu.Lock()
	d.look()
	var all []Missing
	for _, s := range d.view.nodes {
		if s.look != d.view.looks {
			all = append(all, Missing{Meta: s.meta, Seen: s.seen})
		}
	}
	d.mu.Unlock()
	for i := range all {
		_, _, why := d.whereabouts(all[i].Meta.Name)
		all[i].Lost = why != ""
	}
	slices.SortFunc(all, func(a, b Missing) int { return cmp.Compare(a.Meta.Name, b.Meta.Name) })
	return all
}

package warmth

import (
	"cmp"
	"math"
	"slices"

	"easel/pkg/cluster"
)

// place is a node that can keep warm sessions of an image and class.
type place struct {
	name, region string
	weight       float64 // how much the node can hold in all
	room         int     // how many more sessions it can hold
}

// places are the nodes of the view on which sessions of an image and class can begin. given is what nodes were given of other classes and images:
// all share their slots. A warm session of a class with a GPU holds a slice, and the last free one is for who comes without finding one that fits.
func places(nodes []cluster.Node, image, class string, given map[string]int) []place {
	var fit []place
	for _, n := range nodes {
		c := n.Capacity
		if n.Meta.Role != cluster.RoleNode || n.Suspect || c.Draining || len(c.Images) == 0 || image != "" && !slices.Contains(c.Images, image) {
			continue
		}
		r, ok := roomOf(c, className(class))
		if !ok || r.Total <= 0 {
			continue
		}
		room := r.Free()
		if r.Class != className("") {
			room--
		}
		room = max(0, min(room, c.Total-c.Used-given[n.Meta.Name]))
		fit = append(fit, place{name: n.Meta.Name, region: n.Meta.Place.Region, weight: float64(r.Total), room: room})
	}
	slices.SortFunc(fit, func(a, b place) int { return cmp.Compare(a.name, b.name) }) // the same view gives the same division
	return fit
}

// roomOf is a node's room for a class. One that tells of no class has no GPU.
func roomOf(c cluster.Capacity, class string) (cluster.Room, bool) {
	if len(c.Classes) == 0 && class == className("") {
		return cluster.Room{Class: class, Total: c.Total, Used: c.Used}, true
	}
	i := slices.IndexFunc(c.Classes, func(r cluster.Room) bool { return r.Class == class })
	if i < 0 {
		return cluster.Room{}, false
	}
	return c.Classes[i], true
}

func className(class string) string {
	if class == "" {
		return "none"
	}
	return class
}

// divide gives each node its part of want: first by where sessions were begun before, then by the nodes' size, and never more than a node
// has room for. What the nodes of a region cannot hold goes to the others.
func divide(want int, fit []place, regions map[string]float64) map[string]int {
	parts := map[string]int{}
	known := 0.0
	for _, r := range regionsOf(fit) {
		known += regions[r]
	}
	if known > 0 {
		var shares []float64
		for _, r := range regionsOf(fit) {
			shares = append(shares, regions[r])
		}
		for i, n := range apportion(want, shares) {
			spread(n, inRegion(fit, regionsOf(fit)[i]), parts)
		}
	}
	given := 0
	for _, n := range parts {
		given += n
	}
	spread(want-given, fit, parts)
	return parts
}

func regionsOf(fit []place) []string {
	var all []string
	for _, p := range fit {
		if !slices.Contains(all, p.region) {
			all = append(all, p.region)
		}
	}
	slices.Sort(all)
	return all
}

func inRegion(fit []place, region string) []place {
	return slices.DeleteFunc(slices.Clone(fit), func(p place) bool { return p.region != region })
}

// spread adds n sessions to the parts of nodes that have room for more.
func spread(n int, fit []place, parts map[string]int) {
	for n > 0 {
		free := slices.DeleteFunc(slices.Clone(fit), func(p place) bool { return parts[p.name] >= p.room })
		if len(free) == 0 {
			return
		}
		var weights []float64
		for _, p := range free {
			weights = append(weights, p.weight)
		}
		for i, part := range apportion(n, weights) {
			part = min(part, free[i].room-parts[free[i].name])
			parts[free[i].name] += part
			n -= part
		}
	}
}

// apportion divides n by weights into whole numbers, by the largest remainder.
func apportion(n int, weights []float64) []int {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	parts, order, left := make([]int, len(weights)), make([]int, len(weights)), n
	rest := make([]float64, len(weights))
	for i, w := range weights {
		exact := float64(n) / float64(len(weights))
		if total > 0 {
			exact = float64(n) * w / total
		}
		parts[i] = int(math.Floor(exact))
		rest[i], order[i] = exact-float64(parts[i]), i
		left -= parts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, i := range order[:max(0, min(left, len(order)))] {
		parts[i]++
	}
	return parts
}

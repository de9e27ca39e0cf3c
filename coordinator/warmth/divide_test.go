package warmth

import (
	"maps"
	"testing"

	"easel/pkg/cluster"
)

func node(name, region string, total, used int) cluster.Node {
	return cluster.Node{
		Meta:     cluster.Meta{Role: cluster.RoleNode, Name: name, Place: cluster.Place{Region: region}},
		Capacity: cluster.Capacity{Name: name, Total: total, Used: used, Images: []string{"i"}},
	}
}

func TestWishIsDividedByRegionSizeAndRoom(t *testing.T) {
	fleet := []cluster.Node{node("a", "eu", 8, 0), node("b", "eu", 4, 0), node("c", "us", 8, 7), node("d", "us", 8, 8)}
	for name, tc := range map[string]struct {
		want    int
		regions map[string]float64
		parts   map[string]int
	}{
		"nothing":              {0, nil, map[string]int{}},
		"no history":           {6, nil, map[string]int{"a": 4, "b": 1, "c": 1}},
		"all of Europe":        {6, map[string]float64{"eu": 1}, map[string]int{"a": 4, "b": 2}},
		"America has no room":  {6, map[string]float64{"us": 1}, map[string]int{"c": 1, "a": 3, "b": 2}},
		"half and half":        {2, map[string]float64{"us": .5, "eu": .5}, map[string]int{"a": 1, "c": 1}},
		"a region that is out": {3, map[string]float64{"asia": 1}, map[string]int{"a": 1, "b": 1, "c": 1}},
		"more than there is":   {100, map[string]float64{"eu": 1}, map[string]int{"a": 8, "b": 4, "c": 1}},
	} {
		got := divide(tc.want, places(fleet, "", "", nil), tc.regions)
		maps.DeleteFunc(got, func(_ string, n int) bool { return n == 0 })
		if !maps.Equal(got, tc.parts) {
			t.Errorf("%s: %v, want %v", name, got, tc.parts)
		}
	}
}

func TestNodesThatCannotServeGetNothing(t *testing.T) {
	draining, suspect, other, none, coordinator := node("a", "", 8, 0), node("b", "", 8, 0), node("c", "", 8, 0), node("d", "", 8, 0), node("e", "", 8, 0)
	draining.Capacity.Draining = true
	suspect.Suspect = true
	other.Capacity.Images = []string{"other"}
	none.Capacity.Classes = []cluster.Room{{Class: "1g.10gb", Total: 8}}
	coordinator.Meta.Role = cluster.RoleCoordinator
	if fit := places([]cluster.Node{draining, suspect, other, none, coordinator}, "i", "", nil); len(fit) != 0 {
		t.Errorf("%+v", fit)
	}
}

// TestWarmSessionsLeaveTheLastSliceFree, and classes share a node's slots.
func TestWarmSessionsLeaveTheLastSliceFree(t *testing.T) {
	h100, l40s, cpu := node("h100", "", 10, 2), node("l40s", "", 6, 1), node("cpu", "", 4, 0)
	h100.Capacity.Classes = []cluster.Room{{Class: "none", Total: 10, Used: 2}, {Class: "1g.10gb", Total: 7, Used: 2}}
	l40s.Capacity.Classes = []cluster.Room{{Class: "none", Total: 6, Used: 1}, {Class: "shared", Total: 1}}
	all := []cluster.Node{h100, l40s, cpu}
	for _, tt := range []struct {
		class string
		given map[string]int
		want  map[string]int
	}{
		{"1g.10gb", nil, map[string]int{"h100": 4}},
		{"1g.10gb", map[string]int{"h100": 6}, map[string]int{"h100": 2}},
		{"shared", nil, map[string]int{"l40s": 0}},
		{"whole", nil, map[string]int{}},
		{"", map[string]int{"h100": 3, "cpu": 9}, map[string]int{"h100": 5, "l40s": 5, "cpu": 0}},
	} {
		got := map[string]int{}
		for _, p := range places(all, "", tt.class, tt.given) {
			got[p.name] = p.room
		}
		if !maps.Equal(got, tt.want) {
			t.Errorf("warm sessions of class %q beside %v: %v, want %v", tt.class, tt.given, got, tt.want)
		}
	}
}

func FuzzDivide(f *testing.F) {
	f.Add(7, 3, 5, 2, 8, 0.3)
	f.Fuzz(func(t *testing.T, want, a, b, c, used int, share float64) {
		want %= 10000
		fit := places([]cluster.Node{node("a", "x", a%1000, used%1000), node("b", "x", b%1000, 0), node("c", "y", c%1000, 1)}, "", "", nil)
		if share < 0 || share > 1 {
			share = 0.5
		}
		parts, room, given := divide(want, fit, map[string]float64{"x": share, "y": 1 - share}), 0, 0
		for _, p := range fit {
			room += p.room
			given += parts[p.name]
			if parts[p.name] < 0 || parts[p.name] > p.room {
				t.Fatalf("%s got %d and has room for %d", p.name, parts[p.name], p.room)
			}
		}
		if given != max(0, min(want, room)) {
			t.Fatalf("%d of %d were given, there is room for %d", given, want, room)
		}
	})
}

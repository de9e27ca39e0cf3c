package placement

import (
	"math"
	"testing"

	"easel/pkg/cluster"
)

func TestKilometres(t *testing.T) {
	for _, tt := range []struct {
		from, to [2]float64
		want     float64
	}{
		{[2]float64{48.9, 2.3}, [2]float64{48.9, 2.3}, 0},
		{[2]float64{48.86, 2.35}, [2]float64{40.71, -74.01}, 5837},
		{[2]float64{0, 0}, [2]float64{0, 180}, math.Pi * earthRadius},
		{[2]float64{90, 0}, [2]float64{0, 77}, math.Pi / 2 * earthRadius},
	} {
		got := pointAt(tt.from[0], tt.from[1]).kilometres(pointAt(tt.to[0], tt.to[1]))
		if math.Abs(got-tt.want) > 2 {
			t.Errorf("%v to %v: %.1f km, want %.1f", tt.from, tt.to, got, tt.want)
		}
	}
}

// A slow line at home adds the same to every node, which guesses must not forget: or every node that was not
// measured would look nearer than those that were.
func TestMeasurementsCorrectGuesses(t *testing.T) {
	paris := cluster.Place{Latitude: 48.9, Longitude: 2.3}
	r := router([]cluster.Node{node("fra", 10, 0, at(50.1, 8.7)), node("ny", 10, 0, at(40.7, -74)), node("dark", 10, 0)})
	measure := func(req Request) map[string]Candidate {
		all := map[string]Candidate{}
		for _, c := range r.Route(&req, maxCandidates) {
			all[c.Node.Meta.Name] = c
		}
		return all
	}
	guessed := measure(Request{Place: paris})
	if d := guessed["fra"].Distance; d < 5 || d > 20 || guessed["fra"].Source != byPlace.String() || guessed["dark"].Source != unknown.String() {
		t.Errorf("guessed %+v", guessed)
	}
	both := measure(Request{Place: paris, Pings: map[string]float64{"fra": guessed["fra"].Distance + 60}})
	if added := both["ny"].Distance - guessed["ny"].Distance; math.Abs(added-60) > 0.01 || both["fra"].Source != measured.String() {
		t.Errorf("the line adds %v ms: %+v", added, both)
	}
}

func TestOwnRoundTripsAreTheLastGuess(t *testing.T) {
	coordinate := func(x float32) cluster.Coordinate {
		c := cluster.Coordinate{Error: 0.1}
		c.Vec[0] = x
		return c
	}
	nodes := []cluster.Node{
		node("far", 10, 0, func(n *cluster.Node) { n.Coordinate = coordinate(0.130) }),
		node("near", 10, 0, func(n *cluster.Node) { n.Coordinate = coordinate(0.010) }),
		node("other", 10, 0, region("us")), node("own", 10, 0, region("eu")),
	}
	r := NewRouter(RouterOptions{
		Config: Defaults(), Members: static(nodes), Place: cluster.Place{Region: "eu"}, Own: func() cluster.Coordinate { return coordinate(0) },
	})
	want := map[string]struct {
		ms   float64
		from source
	}{"far": {130, byNetwork}, "near": {10, byNetwork}, "other": {otherRegionMS, byRegion}, "own": {ownRegionMS, byRegion}}
	for _, c := range r.Route(&Request{}, maxCandidates) {
		if w := want[c.Node.Meta.Name]; math.Abs(c.Distance-w.ms) > 0.1 || c.Source != w.from.String() {
			t.Errorf("%s: %v ms, %s; want %v", c.Node.Meta.Name, c.Distance, c.Source, w)
		}
	}
}

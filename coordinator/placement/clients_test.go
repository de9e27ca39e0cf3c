package placement

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"easel/pkg/cluster"
)

type nowhere struct{}

func (nowhere) Locate(string) (cluster.Place, bool) { return cluster.Place{}, false }

type paris struct{}

func (paris) Locate(string) (cluster.Place, bool) {
	return cluster.Place{Latitude: 48.9, Longitude: 2.3}, true
}

func TestMeasurementsAreTheirReportersOwn(t *testing.T) {
	now := time.Now()
	c := NewClients(nowhere{}, func() time.Time { return now })
	ask := func(user, address string, pings map[string]float64) map[string]float64 {
		req := Request{User: user, Pings: pings}
		c.Complete(&req, address)
		return req.Pings
	}
	ask("ada", "198.51.100.7", map[string]float64{"a": 10, "b": 20})
	now = now.Add(20 * time.Minute)
	for _, tt := range []struct {
		name, user, address string
		want                map[string]float64
	}{
		{"the same user, the same network", "ada", "198.51.100.200", map[string]float64{"a": 10, "b": 20}},
		{"the same user elsewhere", "ada", "203.0.113.7", nil},
		{"somebody else beside", "bob", "198.51.100.7", nil},
	} {
		if got := ask(tt.user, tt.address, nil); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := ask("ada", "198.51.100.7", map[string]float64{"b": 25}); !maps.Equal(got, map[string]float64{"a": 10, "b": 25}) {
		t.Errorf("measured again: %v", got)
	}
	now = now.Add(20 * time.Minute)
	if got := ask("ada", "198.51.100.7", nil); !maps.Equal(got, map[string]float64{"b": 25}) {
		t.Errorf("what is old: %v", got)
	}
}

func TestMemoryOfClientsIsBounded(t *testing.T) {
	c := NewClients(paris{}, nil)
	for i := range maxClients + 100 {
		c.Complete(&Request{User: fmt.Sprint(i), Pings: map[string]float64{"a": 1}}, "198.51.100.7")
	}
	if len(c.known) != maxClients || c.order.Len() != maxClients {
		t.Errorf("%d clients are remembered", len(c.known))
	}
	for i := range 10 {
		pings := map[string]float64{}
		for j := range maxPings {
			pings[fmt.Sprint(i, "-", j)] = 1
		}
		req := Request{User: "ada", Pings: pings}
		c.Complete(&req, "2001:db8::1")
		if len(req.Pings) > maxNodePings || req.Place.Latitude == 0 {
			t.Fatalf("%d nodes are remembered, at %v", len(req.Pings), req.Place)
		}
	}
}

func TestCheckPings(t *testing.T) {
	many := map[string]float64{}
	for i := range maxPings + 1 {
		many[fmt.Sprint(i)] = 1
	}
	for _, bad := range []map[string]float64{many, {"a": 0}, {"a": -1}, {"a": 1e9}, {"a": math.NaN()}, {"a": math.Inf(1)}} {
		if CheckPings(bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
	if err := CheckPings(map[string]float64{"a": 0.1, "b": maxMeasurement}); err != nil {
		t.Error(err)
	}
}

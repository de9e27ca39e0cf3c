// Package sim runs a whole cluster in one process: the gossip and the placement that ship, over a network that loses,
// delays and cuts, in the virtual time of testing/synctest. It measures what no machine of ours could: how a thousand
// nodes on four continents behave.
package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"easel/pkg/cluster"
)

// Region is a part of the world with nodes in it.
type Region struct {
	Name                string
	Latitude, Longitude float64
}

// Spot is where somebody stands.
type Spot struct {
	Region              int
	Latitude, Longitude float64
	Access              time.Duration // what the way to the next exchange costs, one way
}

// World is the regions in which nodes and artists are.
type World struct{ Regions []Region }

// Earth is eight regions on four continents.
func Earth() *World {
	return &World{Regions: []Region{
		{"eu-central", 50.1, 8.7},
		{"eu-west", 53.3, -6.3},
		{"eu-north", 59.3, 18.1},
		{"us-east", 39.0, -77.5},
		{"us-west", 45.6, -122.8},
		{"ap-northeast", 35.7, 139.7},
		{"ap-southeast", 1.35, 103.8},
		{"sa-east", -23.5, -46.6},
	}}
}

// Stand returns a spot within some 500 km of a region's centre, with an access of spread milliseconds at most.
func (w *World) Stand(rng *rand.Rand, region int, access time.Duration) Spot {
	r := w.Regions[region]
	return Spot{
		Region: region, Latitude: r.Latitude + 4*(rng.Float64()-0.5)*2, Longitude: r.Longitude + 4*(rng.Float64()-0.5)*2,
		Access: time.Duration(rng.Float64() * float64(access)),
	}
}

// Place is what a member at s says of itself.
func (w *World) Place(s Spot) cluster.Place {
	return cluster.Place{Region: w.Regions[s.Region].Name, Latitude: float32(s.Latitude), Longitude: float32(s.Longitude)}
}

// Delay is how long a packet takes from one spot to another: light in fibre on a way half as long again as the
// shortest, and the access at both ends.
func (w *World) Delay(a, b Spot) time.Duration {
	const perKilometre = 1.5 * float64(time.Second) / 200_000
	return a.Access + b.Access + 200*time.Microsecond + time.Duration(kilometres(a, b)*perKilometre)
}

// kilometres is the distance over the ground.
func kilometres(a, b Spot) float64 {
	const radius = 6371
	rad := func(deg float64) float64 { return deg * math.Pi / 180 }
	dLat, dLon := rad(b.Latitude-a.Latitude), rad(b.Longitude-a.Longitude)
	h := math.Pow(math.Sin(dLat/2), 2) + math.Cos(rad(a.Latitude))*math.Cos(rad(b.Latitude))*math.Pow(math.Sin(dLon/2), 2)
	return 2 * radius * math.Asin(min(1, math.Sqrt(h)))
}

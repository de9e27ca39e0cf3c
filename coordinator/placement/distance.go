package placement

import (
	"math"

	"easel/pkg/cluster"
)

// source says how a distance is known, best first.
type source uint8

const (
	unknown  source = iota
	byRegion        // the coordinator's own region, or not
	byNetwork
	byPlace
	byNeighbour
	measured
)

func (s source) String() string {
	return [...]string{"unknown", "region", "network", "geoip", "neighbour", "measured"}[s]
}

// words is String for a person.
func (s source) words() string {
	return [...]string{
		"not known", "guessed by the coordinator's region", "guessed by the coordinator's own round trip",
		"guessed by the place of the address", "guessed by a measured node of its zone or region", "measured by the browser",
	}[s]
}

// Guesses, in ms of round trip.
const (
	unknownMS      = 100
	sameZoneMS     = 1 // beyond a measured node of the zone
	sameRegionMS   = 5 // beyond a measured node of the region
	ownRegionMS    = 25
	otherRegionMS  = 120
	lastMileMS     = 4
	kmPerMS        = 75 // light in glass makes 100 km of round trip a millisecond; cables are no straight lines
	earthRadius    = 6371
	maxMeasurement = 10_000 // ms
)

// vector is a place on the sphere, of length 1.
type vector [3]float64

func pointAt(latitude, longitude float64) vector {
	lat, lon := latitude*math.Pi/180, longitude*math.Pi/180
	return vector{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
}

// kilometres is along the great circle, to half a kilometre: the arc cosine is Abramowitz and Stegun's 4.4.45,
// a third of the work of math.Acos, and this is asked for every site of every decision.
func (a vector) kilometres(b vector) float64 {
	dot := a[0]*b[0] + a[1]*b[1] + a[2]*b[2]
	x := min(math.Abs(dot), 1)
	angle := math.Sqrt(1-x) * (1.5707288 + x*(-0.2121144+x*(0.0742610-x*0.0187293)))
	if dot < 0 {
		angle = math.Pi - angle
	}
	return earthRadius * angle
}

// locate fills in how far every node is from who asks, by the best that is known of each.
func (q *query) locate(v *view, here *origin) {
	q.sites = q.sites[:0]
	if from, known := q.where(); known {
		for _, site := range v.sites {
			q.sites = append(q.sites, float32(lastMileMS+from.kilometres(site)/kmPerMS))
		}
	}
	for i := range v.seats {
		s := &v.seats[i]
		switch {
		case len(q.sites) > 0 && s.site != anything:
			q.distance[i], q.sources[i] = q.sites[s.site], byPlace
		case i < len(here.rtt) && here.rtt[i] > 0:
			q.distance[i], q.sources[i] = here.rtt[i], byNetwork
		default:
			q.distance[i], q.sources[i] = byRegionOf(s, here)
		}
	}
	q.calibrate(v)
}

func byRegionOf(s *seat, here *origin) (float32, source) {
	switch {
	case s.region == anything || here.region == anything:
		return unknownMS, unknown
	case s.region == here.region:
		return ownRegionMS, byRegion
	}
	return otherRegionMS, byRegion
}

// calibrate puts in what the browser measured, and lets that speak for the nodes beside: guesses know
// nothing of a slow line at home, which adds the same to every node.
func (q *query) calibrate(v *view) {
	if len(q.pings) == 0 {
		return
	}
	line := float32(math.MaxFloat32)
	for _, p := range q.pings {
		line = min(line, p.ms-q.distance[p.seat])
	}
	line = max(line, 0)
	q.survey(v)
	for i := range v.seats {
		s := &v.seats[i]
		if ms := q.beside(s); ms > 0 {
			q.distance[i], q.sources[i] = ms, byNeighbour
		} else {
			q.distance[i] += line
		}
	}
	for _, p := range q.pings {
		q.distance[p.seat], q.sources[p.seat] = p.ms, measured
	}
}

// survey notes the nearest measured node of each zone and region.
func (q *query) survey(v *view) {
	q.areas = append(q.areas[:0], make([]float32, len(v.names))...)
	for _, p := range q.pings {
		for _, area := range []int32{v.seats[p.seat].region, v.seats[p.seat].zone} {
			if area != anything && (q.areas[area] == 0 || p.ms < q.areas[area]) {
				q.areas[area] = p.ms
			}
		}
	}
}

// beside guesses a node's distance by a measured one of its zone or region; 0 means that there is none.
func (q *query) beside(s *seat) float32 {
	if s.zone != anything && q.areas[s.zone] > 0 {
		return q.areas[s.zone] + sameZoneMS
	}
	if s.region != anything && q.areas[s.region] > 0 {
		return q.areas[s.region] + sameRegionMS
	}
	return 0
}

// where is the place of who asks, when it is known.
func (q *query) where() (vector, bool) {
	if q.Place.Latitude == 0 && q.Place.Longitude == 0 {
		return vector{}, false
	}
	return pointAt(float64(q.Place.Latitude), float64(q.Place.Longitude)), true
}

// origin is where this coordinator stands, for a view.
type origin struct {
	region int32
	rtt    []float32 // to each seat, in ms; 0 when not known
}

func newOrigin(v *view, place cluster.Place, own func() cluster.Coordinate) origin {
	o := origin{region: v.find(place.Region)}
	if own == nil {
		return o
	}
	here := own()
	o.rtt = make([]float32, len(v.seats))
	for i := range v.seats {
		if rtt, ok := cluster.RTT(here, v.seats[i].node.Coordinate); ok {
			o.rtt[i] = float32(rtt.Seconds() * 1000)
		}
	}
	return o
}

package cluster

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/coordinate"
)

// dimensions of the space in which members find their places; serf's own default.
const dimensions = 8

// coordinateBytes is the size of a Coordinate on the wire.
const coordinateBytes = 4 * (dimensions + 3)

// maxRTT is beyond any round trip between members; a sample or coordinate that claims more is an error.
const maxRTT = 10 * time.Second

// Coordinate is a member's place in a space in which distance is round-trip time (Vivaldi). Units are seconds.
// The zero value means that it is not known.
type Coordinate struct {
	Vec        [dimensions]float32
	Height     float32 // what every path to the member costs beside the distance
	Adjustment float32
	Error      float32 // how unsure it is: it begins at 1.5 and falls as samples come
}

// Known tells whether c says anything.
func (c Coordinate) Known() bool { return c.Error > 0 }

// RTT estimates the round trip between two members from their coordinates; ok is false while either is not known.
func RTT(a, b Coordinate) (rtt time.Duration, ok bool) {
	if !a.Known() || !b.Known() {
		return 0, false
	}
	return a.serf().DistanceTo(b.serf()), true
}

// Coordinate returns this member's own place. It settles as the member probes others.
func (c *Cluster) Coordinate() Coordinate { return fromSerf(c.place.GetCoordinate()) }

func (c Coordinate) serf() *coordinate.Coordinate {
	vec := make([]float64, dimensions)
	for i, v := range c.Vec {
		vec[i] = float64(v)
	}
	return &coordinate.Coordinate{Vec: vec, Error: float64(c.Error), Adjustment: float64(c.Adjustment), Height: float64(c.Height)}
}

func fromSerf(s *coordinate.Coordinate) Coordinate {
	c := Coordinate{Height: float32(s.Height), Adjustment: float32(s.Adjustment), Error: float32(s.Error)}
	for i := range c.Vec {
		c.Vec[i] = float32(s.Vec[i])
	}
	return c
}

func (c Coordinate) append(buf []byte) []byte {
	for _, v := range c.numbers() {
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
	}
	return buf
}

func (c Coordinate) numbers() []float32 {
	return append(c.Vec[:], c.Height, c.Adjustment, c.Error)
}

func decodeCoordinate(buf []byte) (Coordinate, error) {
	if len(buf) != coordinateBytes {
		return Coordinate{}, errors.New("a coordinate has another size")
	}
	var v [dimensions + 3]float32
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:]))
	}
	c := Coordinate{Vec: [dimensions]float32(v[:dimensions]), Height: v[dimensions], Adjustment: v[dimensions+1], Error: v[dimensions+2]}
	return c, c.check()
}

// check refuses what arithmetic could not bear and what no member on Earth could have.
func (c Coordinate) check() error {
	for _, v := range c.numbers() {
		if math.IsNaN(float64(v)) || math.Abs(float64(v)) > maxRTT.Seconds() {
			return errors.New("a coordinate is not on Earth")
		}
	}
	if c.Height < 0 || c.Error < 0 {
		return errors.New("a coordinate has a negative height or error")
	}
	return nil
}

// AckPayload sends this member's place along with the answer to a probe.
func (d *delegate) AckPayload() []byte {
	return (*Cluster)(d).Coordinate().append(make([]byte, 0, coordinateBytes))
}

// NotifyPingComplete moves this member a little, so that its distance from the one that was probed fits better.
func (d *delegate) NotifyPingComplete(other *memberlist.Node, rtt time.Duration, payload []byte) {
	there, err := decodeCoordinate(payload)
	if err != nil || rtt <= 0 || rtt > maxRTT {
		return
	}
	c := (*Cluster)(d)
	if _, err := c.place.Update(other.Name, there.serf(), rtt); err != nil {
		c.log.Debug("round trip not used", "member", other.Name, "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := c.contacts[other.Name]; ok {
		m.beats.coordinate = there
	}
}

package rtpsend

import (
	"time"

	"easel/noded/stream/congestion"
)

// keptDepartures is how many sent packets are remembered until the viewer tells of them. It divides 65536.
const keptDepartures = congestion.MaxFeedback

// departure is one packet that went out.
type departure struct {
	at      time.Duration // since the pacer began
	size    int32
	seq     uint16 // transport-wide
	rtp     uint16 // of the video packet that it is or repeats
	video   bool
	more    bool // than the picture would take on a way without loss
	replay  bool // of a packet under its own number: a viewer that has it drops this one unseen
	known   bool
	arrived bool
	missing bool // by a report; a later one may say otherwise
}

// departures remembers what went out by its transport-wide number, and no more than so much.
type departures struct {
	ring [keptDepartures]departure
	next uint16
}

// add notes a packet and gives its number.
func (d *departures) add(p departure) uint16 {
	p.seq, p.known = d.next, true
	d.ring[d.next%keptDepartures] = p
	d.next++
	return p.seq
}

// get is the packet of a number, nil if none is known.
func (d *departures) get(seq uint16) *departure {
	if p := &d.ring[seq%keptDepartures]; p.known && p.seq == seq {
		return p
	}
	return nil
}

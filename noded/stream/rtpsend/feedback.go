package rtpsend

import (
	"errors"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/rtcp"
)

// deadAfter is how much longer than a round trip the viewer must have said nothing of what was sent for its way to count as dead. It tells every 50 to 100 ms.
const deadAfter = 150 * time.Millisecond

// errUnsent means that a viewer claims what cannot be.
var errUnsent = errors.New("feedback tells of packets that were not sent")

// Nack has what the viewer lacks sent again, and gives whether a keyframe would do better.
func (p *Pacer) Nack(n *rtcp.TransportLayerNack, now time.Time) bool {
	var seqs []uint16
	for _, pair := range n.Nacks {
		seqs = append(seqs, pair.PacketList()...)
	}
	return p.ask(seqs, now)
}

// Turn notes that packets go another way from now on. Where the one before was dead, nothing is known of this one, and the viewer lacks so much that
// only a keyframe helps: that is given.
func (p *Pacer) Turn(now time.Time) (anew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet.IsZero() || now.Sub(p.quiet) < p.rate.Trip()+deadAfter {
		p.rate.Restart()
		return false
	}
	p.turned, p.quiet = now.Sub(p.epoch), time.Time{}
	p.drop()
	p.rate.Anew(now)
	return true
}

// counts tells whether a packet went the present way, and so says something of it.
func (p *Pacer) counts(d *departure) bool { return d.at > p.turned }

// Heed takes in the viewer's feedback on what arrived. woke tells that the viewer had been silent.
func (p *Pacer) Heed(b []byte, now time.Time) (woke bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var came []congestion.Arrival
	lost, unsent, news := 0, 0, false
	var trip time.Duration
	same, err := p.feedback.Read(b, now, func(seq uint16, arrived bool, at time.Duration) {
		d := p.sentLog.get(seq)
		switch {
		case d == nil:
			if arrived {
				unsent++
			}
		case arrived && !d.arrived:
			if d.missing && !d.replay && p.counts(d) {
				lost--
			}
			d.arrived, d.missing, news = true, false, true
			if d.video {
				p.unacked.arrived(d.rtp)
			}
			if !p.heard || int16(seq-p.heardOf) > 0 {
				p.heardOf, p.heard = seq, true
				trip = now.Sub(p.epoch) - d.at
			}
			if p.counts(d) {
				came = append(came, congestion.Arrival{Sent: d.at, At: at, Size: int(d.size) + wireOverhead})
			}
		case !arrived && !d.arrived && !d.missing:
			if d.missing = true; !d.replay && p.counts(d) {
				lost++
			}
		}
	})
	if err != nil {
		return false, err
	}
	if news {
		p.quiet = time.Time{}
		if p.heardOf != p.sentLog.next-1 {
			p.quiet = now
		}
		woke = p.rate.Wakes(now)
	}
	if !same {
		p.rate.Restart()
	}
	p.rate.Took(came, max(lost, 0), trip, p.heardOf == p.sentLog.next-1, now)
	if !p.rate.Found() {
		p.poke() // a probe may be due
	}
	if unsent > 0 {
		p.odd++
		return woke, errUnsent
	}
	return woke, nil
}

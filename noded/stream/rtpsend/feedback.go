package rtpsend

import (
	"errors"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/rtcp"
)

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
			if d.missing && !d.replay {
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
			came = append(came, congestion.Arrival{Sent: d.at, At: at, Size: int(d.size) + wireOverhead})
		case !arrived && !d.arrived && !d.missing:
			if d.missing = true; !d.replay {
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

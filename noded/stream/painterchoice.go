package stream

import (
	"time"

	"easel/noded/stream/tile"
)

// wish is what the viewers are to get from now on.
func (p *painter) wish(now time.Time) Coding {
	p.chooser.figures(p.peer.client.Load())
	s := scene{still: p.stillSince(), kbps: p.peer.rate.Kbps(), loss: func() float64 { return p.enc.ColourLoss() }}
	c := Coding{p.chooser.choose(p.takes().made(p.encoders), s, now), p.short()}
	if why := p.chooser.why; why != p.givenUp {
		p.viewers.board.degrade(p.givenUp, false)
		p.viewers.board.degrade(why, why != "")
		p.givenUp = why
	}
	return c
}

// stillSince is when the picture last changed: zero while there is none, or it changes.
func (p *painter) stillSince() time.Time {
	if p.frame == nil || p.d.Damage.Pending() {
		return time.Time{}
	}
	return latest(p.blurred, p.lastTiles)
}

// noteEncode tells the chooser what a frame took.
func (p *painter) noteEncode(changed int, pkt Packet, took time.Duration) {
	p.chooser.encoded(p.coding.Format, changed, tile.Cells(p.frame.Size), pkt, 1, took)
}

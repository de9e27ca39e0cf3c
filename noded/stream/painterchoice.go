package stream

import (
	"slices"
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/tile"
)

// wish is what the viewers are to get from now on.
func (p *painter) wish(now time.Time) Coding {
	p.chooser.figures(p.peer.client.Load())
	s := scene{still: p.stillSince(), kbps: p.carries(), loss: func() float64 { return p.enc.ColourLoss() }}
	c := Coding{Format: p.chooser.choose(p.takes().made(p.encoders), s, now), Short: p.short(), Scale: p.scaler.Look(p.sight(p.stillSince(), 0), now)}
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

// noteEncode tells chooser and scaler what a frame took.
func (p *painter) noteEncode(changed int, pkt Packet, took time.Duration) {
	p.chooser.encoded(p.coding.Format, changed, tile.Cells(p.frame.Size), pkt, p.coding.Scale.Pixels(), took)
	if !pkt.Key {
		p.scaler.Frame(pkt.Bytes, pkt.QP, p.share(changed))
	}
}

// share is how much of the screen so many cells are.
func (p *painter) share(cells int) float64 { return float64(cells) / float64(tile.Cells(p.frame.Size)) }

// carries is what the way is taken to carry of video: all of it while that is not known, for one connection's first moments are no reason to make the
// picture another.
func (p *painter) carries() int {
	if !p.found {
		return congestion.MaxKbps
	}
	return p.wanted(p.peer).Kbps
}

// sight is what the video's scale goes by.
func (p *painter) sight(still time.Time, share float64) congestion.Sight {
	return congestion.Sight{Kbps: p.carries(), Still: still, Share: share, Sharpens: p.sharpens()}
}

// sharpens tells whether all who watch see a still picture exact by tiles.
func (p *painter) sharpens() bool {
	return p.tiles != nil && !slices.ContainsFunc(p.viewers.watchedBy(), func(f *follower) bool { return f.peer != p.peer && !f.peer.layer.Of(p.sheet) })
}

// scale has a frame that changes so many cells be of the size that the way carries.
func (p *painter) scale(changed int, now time.Time) error {
	to := p.coding
	to.Scale = p.scaler.Look(p.sight(time.Time{}, p.share(changed)), now)
	return p.turn(to)
}

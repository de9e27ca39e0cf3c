package stream

import (
	"time"

	"easel/noded/stream/congestion"
)

// How a picture sharpens once it is still.
const (
	refineFrom = 90 * time.Millisecond // of quiet
	refineStep = 33 * time.Millisecond
	refineTime = 20 * time.Second // a link too slow for more is left alone then
	// finestSmall is the finest quantiser of video that is smaller than the screen.
	finestSmall = 24
	// settledBytes is the size of a frame in which nothing was left to better; two in a row, as the rate makes small ones too.
	settledBytes = 3000
	// sharpening is by how much a picture that moves becomes finer with each frame, after it was kept coarse.
	sharpening = 2
)

// refineQPs are the quantisers through which a still picture sharpens, down to the quality's finest.
var refineQPs = [...]int{28, 24, 20, 16, 0}

// quantiser chooses a fine one for a picture that is still, and 0, the rate's own, for one that moves. What moves and soon goes by tiles alone stays as coarse
// as it is: to sharpen it takes what the tiles need, and many times as long.
func (p *painter) quantiser(peer *peer, changed int, now time.Time) int {
	if changed > 0 {
		gains := p.tiles != nil && p.tiles.Gains()
		p.coarse = soften(p.coarse, p.last, gains, p.quality.Factor)
		return p.coarse
	}
	if now.Before(p.refineAt) {
		return 0
	}
	finest := p.finest(peer)
	p.coarse = 0
	if p.refineAt.IsZero() {
		return finest // settled: a keyframe must not spoil it
	}
	return max(refineQPs[p.step], finest)
}

// soften is the finest quantiser for a picture that moves, 0 for the rate's own: the last one while tiles gain on the video, and from there finer by steps. At
// once it would take what a keyframe does, and is not known to.
func soften(coarse, last int, gains bool, factor float64) int {
	if gains {
		return last
	}
	if coarse -= sharpening; float64(coarse) > factor {
		return coarse
	}
	return 0
}

// finest is the quantiser at which a still picture is left alone: no fine one for video that is smaller than the screen.
func (p *painter) finest(peer *peer) int {
	finest := qualities[peer.quality()].finest
	if p.coding.Scale != congestion.Whole {
		finest = max(finest, finestSmall)
	}
	return finest
}

// blur has a picture that has changed sharpen as soon as it is still.
func (p *painter) blur(now time.Time) {
	p.step, p.small, p.blurred, p.refineAt = 0, false, now, now.Add(refineFrom)
}

// refined goes a step on once the rate has let this one through, until there is nothing left to better.
func (p *painter) refined(peer *peer, pkt Packet, now time.Time) {
	share := p.quality.Kbps * 1000 / 8 / 60 // of the rate, for one frame
	switch last := len(refineQPs) - 1; {
	case pkt.Bytes < settledBytes:
		p.step = last
	case pkt.Bytes < share*2/3:
		p.step = min(p.step+1, last)
	}
	small := pkt.Bytes < settledBytes && pkt.QP <= p.finest(peer)
	p.refineAt = now.Add(refineStep)
	if (small && p.small) || now.Sub(p.blurred) > refineTime {
		p.refineAt = time.Time{}
	}
	p.small = small
}

func (p *painter) wanted(peer *peer) Quality {
	q := qualities[peer.quality()]
	plan, most, buffer := peer.rate.Plan(), int(congestion.MaxKbps*q.share), frameBuffer
	if !plan.Found {
		buffer = plan.Frame
	}
	return Quality{Factor: q.factor, Kbps: max(min(plan.Kbps, most), congestion.MinKbps), BufferMS: int(buffer.Milliseconds())}
}

// tune brings the encoder to the rate and quality of the moment; small changes are not worth it.
func (p *painter) tune(peer *peer) {
	want := p.wanted(peer)
	near := want.Kbps*20 > p.quality.Kbps*19 && want.Kbps*20 < p.quality.Kbps*21
	if want.Factor == p.quality.Factor && want.BufferMS == p.quality.BufferMS && near {
		return
	}
	if err := p.enc.SetQuality(want); err != nil {
		p.log.Warn("quality not changed", "err", err)
		return
	}
	if want.Factor != p.quality.Factor { // the still picture is judged anew
		p.blur(time.Now())
	}
	p.quality = want
}

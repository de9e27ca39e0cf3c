package stream

import (
	"slices"
	"time"

	"easel/noded/stream/congestion"
)

// What the lead's picture may be burdened with for the guests' sake.
const (
	// guestPace is how often what went to the lead as tiles goes to guests as video.
	guestPace = 40 * time.Millisecond
	// guestKeys is the shortest time between a keyframe and the next for guests, and guestShare the part of the rate that such may take.
	guestKeys  = 500 * time.Millisecond
	guestShare = 0.1
)

// guestKeyAt is when the next keyframe for guests is due: zero if none is.
func (p *painter) guestKeyAt() time.Time {
	now, due := time.Now(), time.Time{}
	for _, f := range p.viewers.watchedBy() {
		due = sooner(due, f.keyAt(now))
	}
	if due.IsZero() {
		return due
	}
	return latest(due, p.guestKey)
}

// hadKey notes a keyframe of so many bytes: the next for guests' sake waits until they take no more than their share.
func (p *painter) hadKey(bytes int, now time.Time) {
	p.guestKey = now.Add(max(guestKeys, seconds(congestion.OnWay(float64(bytes), p.quality.Kbps).Seconds()/guestShare)))
}

// guestDue tells whether guests must be sent what the lead has by tiles.
func (p *painter) guestDue(now time.Time) bool { return !p.guestAt.IsZero() && !now.Before(p.guestAt) }

// tiled notes a change that went to the lead alone, as tiles, and tells whether guests must have it by video at once.
func (p *painter) tiled(now time.Time) bool {
	if !p.watched() {
		return false
	}
	if p.guestAt.IsZero() {
		p.guestAt = latest(p.lastSent.Add(guestPace), now)
	}
	if !p.guestDue(now) {
		return false
	}
	p.tiles.Brought()
	return true
}

// watched tells whether guests see the video beside the lead.
func (p *painter) watched() bool {
	return slices.ContainsFunc(p.viewers.watchedBy(), func(f *follower) bool { return f.peer != p.peer })
}

// send brings a frame to the lead, and then to the guests.
func (p *painter) send(peer *peer, pkt Packet, now time.Time) {
	p.guestAt = time.Time{}
	if !peer.who.Guest() {
		peer.sendFrame(p.coding.Format, pkt, p.stamp)
	}
	for _, f := range p.viewers.watchedBy() {
		f.offer(p.coding.Format, pkt, p.stamp, now)
	}
}

// takes are the formats that all who watch take.
func (p *painter) takes() takes {
	all := p.peer.takes
	for _, f := range p.viewers.watchedBy() {
		if both := all.and(f.peer.takes); len(both) > 0 {
			all = both
		}
	}
	return all
}

// short tells whether any who watches takes every picture to have the short range.
func (p *painter) short() bool {
	return p.peer.short || slices.ContainsFunc(p.viewers.watchedBy(), func(f *follower) bool { return f.peer.short })
}

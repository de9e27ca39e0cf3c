package stream

import (
	"slices"
	"time"
)

// What the lead's picture may be burdened with for the guests' sake.
const (
	// guestPace is how often what went to the lead as tiles goes to guests as video.
	guestPace = 40 * time.Millisecond
)

// guestKeyAt is when a guest may first have the keyframe that it needs: zero if none does.
func (p *painter) guestKeyAt() time.Time {
	now, due := time.Now(), time.Time{}
	rests := p.frame != nil && !p.d.Damage.Pending() && now.Sub(p.stillSince()) > stillness
	for _, f := range p.viewers.watchedBy() {
		if !rests || !f.ends(p) {
			due = sooner(due, f.keyAt(now, rests))
		}
	}
	return due
}

// guestsAt is when something is due for guests: zero for never.
func (p *painter) guestsAt() time.Time {
	due := p.guestsFrameAt()
	for _, f := range p.viewers.watchedBy() {
		if f.peer != p.peer {
			due = sooner(due, f.stillAt(p))
		}
	}
	return due
}

// guestsFrameAt is when guests must be sent a frame, of what the lead has by tiles, or tiles have not brought to them: zero for never.
func (p *painter) guestsFrameAt() time.Time {
	due := p.guestAt
	for _, f := range p.viewers.watchedBy() {
		if f.peer == p.peer || f.lost || !f.peer.layer.Of(p.sheet) {
			continue
		}
		if at := f.peer.layer.RescueAt(f.lastSent); !at.IsZero() {
			due = sooner(due, latest(at, p.lastSent.Add(guestPace)))
		}
	}
	return due
}

// guestDue tells whether guests must be sent a frame.
func (p *painter) guestDue(now time.Time) bool {
	at := p.guestsFrameAt()
	return !at.IsZero() && !now.Before(at)
}

// guestsLook has guests' tiles take up which cells have changed.
func (p *painter) guestsLook(now time.Time) {
	for _, f := range p.viewers.watchedBy() {
		if f.peer != p.peer && f.peer.layer.Of(p.sheet) {
			f.behind = f.peer.layer.Moved() > 0
			f.peer.layer.Look(now)
		}
	}
}

// tiled brings to guests a change that went to the lead as tiles, and tells whether some must have it by video at once.
func (p *painter) tiled(took [stages]time.Duration, since, start, converted time.Time) bool {
	byVideo := false
	for _, f := range p.viewers.watchedBy() {
		switch {
		case f.peer == p.peer:
		case f.change(p, start):
			coded := f.peer.layer.Coded()
			took[stageEncode], took[stageSend] = coded.Sub(converted), time.Since(coded)
			p.echo(f.peer, byTile, f.peer.tiles.Sent(), since, &took)
		case !f.lost:
			byVideo = true
		}
	}
	if byVideo && p.guestAt.IsZero() {
		p.guestAt = latest(p.lastSent.Add(guestPace), start)
	}
	return byVideo && p.guestDue(start)
}

// stillForGuests sends one guest cells that have been still, if nothing is more urgent. They have turns.
func (p *painter) stillForGuests() bool {
	all, now := p.viewers.watchedBy(), time.Now()
	if len(all) == 0 || p.frame == nil || p.urgent(now) {
		return false
	}
	for range all {
		p.turns++
		if f := all[p.turns%len(all)]; f.peer != p.peer && f.still(p, now) {
			return true
		}
	}
	return false
}

// guestsSoon tells whether tiles will shortly have made the picture exact for every guest, so that the video need not sharpen for them.
func (p *painter) guestsSoon() bool {
	return !slices.ContainsFunc(p.viewers.watchedBy(), func(f *follower) bool {
		return f.peer != p.peer && !(f.hasTiles(p) && f.peer.layer.Soon(f.stillKbps()))
	})
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
		if f.takes(pkt, now) {
			f.show(p, pkt, now)
		}
	}
}

// moves has it found out what the ways of all who watch carry.
func (p *painter) moves() {
	p.peer.rate.Moves()
	for _, f := range p.viewers.watchedBy() {
		f.peer.rate.Moves()
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

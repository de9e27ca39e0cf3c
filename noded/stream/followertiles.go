package stream

import (
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/tile"
)

// show sends the guest a frame, by the timestamp that goes with what it has as tiles, and takes from the tiles what the frame shows instead.
func (f *follower) show(p *painter, pkt Packet, now time.Time) {
	first := f.frame != p.frame
	f.frame, f.lastSent = p.frame, now
	f.owe(pkt.Bytes, f.kbps(), now)
	if f.peer == p.peer { // whose tiles are the painter's own
		f.stamp = p.stamp
	} else {
		first = f.uncover(p, now) || first
	}
	if first {
		f.cover = f.stamp
	}
	f.peer.sendFrame(p.coding.Format, pkt, f.stamp)
}

// uncover gives a frame its timestamp, and tells whether tiles that come after it wait for it.
func (f *follower) uncover(p *painter, now time.Time) bool {
	flow := f.peer.tiles
	stamp := func() uint32 {
		f.stamp = flow.Stamp(p.stamp, 0, false)
		return f.stamp
	}
	switch {
	case f.peer.layer.Of(p.sheet):
		bytes, err := f.peer.layer.Video(stamp, now)
		return f.sent(p, bytes, f.kbps(), err, now)
	case flow.Open():
		flow.Next()
		return p.beginTiles(f.peer, stamp()) != nil
	}
	stamp()
	return false
}

// change brings the guest by tiles what has just changed, if it has all of before and its line has room.
func (f *follower) change(p *painter, now time.Time) bool {
	if f.lost || !f.hasTiles(p) || f.behind || f.debt.Add(-burst).After(now) {
		return false
	}
	_, bytes, err := f.peer.layer.Change(tile.MaxMessage, &f.stamp, now)
	return f.sent(p, bytes, f.kbps(), err, now)
}

// still sends the guest one message of cells that have been still, if its line has room.
func (f *follower) still(p *painter, now time.Time) bool {
	if f.frame != p.frame {
		return false
	}
	if !f.peer.layer.Of(p.sheet) {
		if f.peer.tiles.Open() {
			f.peer.tiles.Next()
			p.beginTiles(f.peer, f.cover)
		}
		return false
	}
	if !f.hasTiles(p) || !f.peer.layer.Ready(now) || f.debt.Add(-tile.StillTime).After(now) {
		return false
	}
	after := &f.stamp
	if f.lost { // what it has skipped makes nothing of the picture whole any more: it need not wait for a frame that may never get there
		after = &f.cover
	}
	rate := f.stillKbps()
	bytes, err := f.peer.layer.Still(after, rate, now)
	return f.sent(p, bytes, rate, err, now)
}

// stillAt is when the guest's still cells are due: zero for never.
func (f *follower) stillAt(p *painter) time.Time {
	if !f.hasTiles(p) {
		return time.Time{}
	}
	due := f.peer.layer.Due()
	if due.IsZero() {
		return due
	}
	return latest(due, f.debt.Add(-tile.StillTime))
}

// hasTiles tells whether the guest is in touch and can be brought cells of the picture above a frame that it was sent.
func (f *follower) hasTiles(p *painter) bool {
	return f.frame == p.frame && f.peer.layer.Of(p.sheet) && !f.peer.rate.Plan().Hold
}

// ends tells whether tiles alone will bring a guest that has skipped frames all that it lacks, as long as nothing moves: it shows the last frame that it was
// sent and that they wait for.
func (f *follower) ends(p *painter) bool {
	return f.lost && f.hasTiles(p) && (f.peer.tiles.Shows(f.cover) || !f.peer.keyWanted.Load())
}

// sent accounts for a message of tiles at a rate, and tells whether one went out.
func (f *follower) sent(p *painter, bytes, kbps int, err error, now time.Time) bool {
	if err != nil {
		p.dropTiles(f.peer, err)
		return false
	}
	f.owe(bytes, kbps, now)
	return bytes > 0
}

// owe counts bytes that went out against a rate.
func (f *follower) owe(bytes, kbps int, now time.Time) {
	f.debt = latest(f.debt, now).Add(congestion.OnWay(float64(bytes), kbps))
}

// kbps is the guest's own rate.
func (f *follower) kbps() int { return max(f.peer.rate.Plan().Kbps, congestion.MinKbps) }

// stillKbps is that of tiles that have the line to themselves. The rate follows what video tells of the line, and stays where that left it, often far too low, while
// nothing moves; the tiles' own window knows better then.
func (f *follower) stillKbps() int {
	if f.peer.pacer.Backlog() > 0 {
		return f.kbps()
	}
	return max(f.kbps(), min(f.peer.tiles.Kbps(), congestion.StartKbps))
}

package stream

import (
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/tile"
)

// offerTiles begins with tiles once the peer takes them and has a frame to lay them over.
func (p *painter) offerTiles(peer *peer) {
	if p.tiles != nil || !p.shown || !peer.tiles.Open() {
		return
	}
	peer.tiles.Next()
	p.tiles = p.beginTiles(peer, p.stamp)
}

// beginTiles begins with a peer's tiles over a frame. Where that fails there are none, and nil is returned.
func (p *painter) beginTiles(peer *peer, frame uint32) *tile.Layer {
	if p.sheet == nil {
		p.sheet = tile.NewSheet(p.enc.Tiles(), p.frame.Size.X)
	}
	l, err := tile.NewLayer(p.sheet, peer.tiles, p.frame.Size, frame, time.Now(), peer.log)
	if err != nil {
		p.dropTiles(peer, err)
		return nil
	}
	peer.layer = l
	return l
}

// dropTiles leaves a peer's picture to the video alone, because the viewer does not keep up with tiles or closed their channel.
func (p *painter) dropTiles(peer *peer, err error) {
	peer.log.Warn("no exact tiles for this viewer", "err", err)
	peer.layer = nil
	peer.tiles.Stop()
	peer.tilesLost.Store(true)
	p.viewers.tell()
	if peer == p.peer {
		p.tiles = nil
	}
	p.blur(time.Now())
}

// lookAtCells finds the cells that have changed, for everybody who has tiles.
func (p *painter) lookAtCells(now time.Time) {
	if p.sheet == nil {
		return
	}
	p.sheet.Share(p.watched())
	p.sheet.Look()
	if p.tiles != nil {
		p.tiles.Look(now)
	}
	p.guestsLook(now)
}

// toVideo gives the frame that is encoded next its timestamp, whose last bits say which generation of tiles it goes with, and takes from the tiles
// what it shows instead.
func (p *painter) toVideo(peer *peer, start time.Time) {
	last, begins := p.stamp, p.tiles == nil && peer.tiles.Open()
	if begins {
		peer.tiles.Next()
	}
	stamp := func() uint32 {
		at := uint32(start.Sub(p.epoch) * 90 / time.Millisecond)
		p.stamp, p.shown = peer.tiles.Stamp(at, last, start.Sub(p.lastSent) < time.Second), true
		return p.stamp
	}
	if p.tiles == nil {
		stamp()
		if begins {
			p.tiles = p.beginTiles(peer, p.stamp)
		}
		return
	}
	bytes, err := p.tiles.Video(stamp, start)
	if err != nil {
		p.dropTiles(peer, err)
	}
	p.owe(bytes, p.tileRate(peer), start)
}

// byTiles sends what has changed as tiles if that costs less than a frame of video.
func (p *painter) byTiles(peer *peer, took [stages]time.Duration, since, start, converted time.Time) bool {
	cells, dear := p.tiles.Moved(), p.tiles.Dear()
	shifted, shifts := 0, false
	if !p.watched() { // guests would have all of it by video
		if moved, beside, found := p.tiles.Shift(dear, start); found {
			shifted, dear, shifts = moved, beside, true
		}
	}
	if cells == 0 || dear > tile.MaxCells || !p.shown {
		return false
	}
	rate := p.tileRate(peer)
	room := p.costs.Room(peer.tiles, tile.Change{
		Cells: cells, Dear: dear, Shifted: shifted, VideoKbps: p.wanted(peer).Kbps, TileKbps: rate, SinceFrame: start.Sub(p.lastSent), SinceTiles: start.Sub(p.lastTiles),
	})
	if room <= 0 {
		return false
	}
	shows, bytes, err := p.tiles.Change(room, &p.stamp, start)
	sent := time.Now()
	if shows && !shifts {
		p.costs.Coded(dear, sent.Sub(converted))
	}
	if err != nil {
		p.dropTiles(peer, err)
		return false
	}
	p.owe(bytes, rate, start)
	if !shows {
		p.meter.tile(bytes, false)
		return false
	}
	coded := p.tiles.Coded()
	took[stageEncode], took[stageSend], took[stageTotal] = coded.Sub(converted), sent.Sub(coded), sent.Sub(since)
	p.meter.frame(took, bytes, false, sent)
	p.echo(peer, byTile, peer.tiles.Sent(), since, &took)
	p.meter.tile(bytes, true)
	p.next, p.lastTiles = start.Add(tile.Pace), start
	return true
}

// follow gives the viewer, beneath the frame that has just been sent, what it needs to be told how the picture moves.
func (p *painter) follow(peer *peer, now time.Time) {
	if p.tiles == nil {
		return
	}
	rate := p.tileRate(peer)
	left := tile.FollowTime - max(p.debt.Sub(now), 0)
	bytes, err := p.tiles.Follow(int(left/time.Millisecond)*rate/8, p.moving.frames >= beatRun, now)
	if err != nil {
		p.dropTiles(peer, err)
		return
	}
	p.owe(bytes, rate, now)
	p.meter.tile(bytes, false)
}

// still sends cells that have been still as tiles, if nothing more urgent is due.
func (p *painter) still(peer *peer) bool {
	now := time.Now()
	if p.tiles == nil {
		return false
	}
	p.countTiles()
	if !p.refineAt.IsZero() && !now.Before(p.refineAt) && p.tiles.Soon(p.tileRate(peer)) && p.guestsSoon() {
		p.refineAt = now.Add(tile.Soon) // the video need not sharpen what tiles are about to cover
		if p.tiles.Whole() {
			p.refineAt = time.Time{}
		}
	}
	if p.urgent(now) || !p.tiles.Ready(now) || p.debt.Add(-tile.StillTime).After(now) {
		return false
	}
	rate := p.tileRate(peer)
	bytes, err := p.tiles.Still(&p.stamp, rate, now)
	if err != nil {
		p.dropTiles(peer, err)
		return false
	}
	p.owe(bytes, rate, now)
	p.meter.tile(bytes, false)
	return true
}

// stillAt is when cells that have been still are due: zero for never.
func (p *painter) stillAt() time.Time {
	if p.tiles == nil || p.tiles.Due().IsZero() {
		return time.Time{}
	}
	return latest(p.tiles.Due(), p.debt.Add(-tile.StillTime))
}

// urgent tells whether a frame is due: still tiles wait then.
func (p *painter) urgent(now time.Time) bool {
	return p.d.Damage.Pending() || p.keyDue(now) || p.rescue(now) || p.guestDue(now) || (!p.refineAt.IsZero() && !now.Before(p.refineAt))
}

// rescueAt is when the video must show what tiles should have, because they are late or were read wrong: zero for never.
func (p *painter) rescueAt() time.Time {
	if p.tiles == nil {
		return time.Time{}
	}
	return p.tiles.RescueAt(p.lastSent)
}

func (p *painter) rescue(now time.Time) bool {
	at := p.rescueAt()
	return !at.IsZero() && !now.Before(at)
}

// tileRate is what tiles may use of the way, in kilobits a second: the video's rate, or more where more was seen to get through, but no more than
// the plan has for both.
func (p *painter) tileRate(peer *peer) int {
	return min(max(p.wanted(peer).Kbps, peer.tiles.Kbps()), max(peer.rate.Plan().Kbps, congestion.MinKbps))
}

// countTiles tells the meter how much of the picture is exact.
func (p *painter) countTiles() {
	p.meter.exact(p.tiles.Exact())
}

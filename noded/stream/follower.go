package stream

import (
	"time"

	"easel/pkg/display"
)

// Bounds of what a guest may have of the picture.
const (
	// followDebt is how much may wait for a guest's line; beyond it the guest skips what comes until the next keyframe.
	followDebt = 300 * time.Millisecond
	// A guest that needs keyframes again and again gets them ever more rarely.
	followKeys    = 500 * time.Millisecond
	followKeysMax = 8 * time.Second
	// followRest is the longest time between them while the picture rests: who has it all then needs no more.
	followRest = 2 * time.Second
	followCalm = 10 * time.Second
)

// follower brings the picture to one guest, at the guest's own rate: a slow one skips whole frames and delays nobody. It is the painter's.
type follower struct {
	peer *peer

	lost     bool // it can show nothing until a keyframe comes
	lastKey  time.Time
	lastSent time.Time
	patience time.Duration // between keyframes

	frame  *display.Frame // that the last frame which it was sent is of
	stamp  uint32         // of that, as the guest sees it
	cover  uint32         // of the last one that took the place of tiles: tiles that come later wait for it
	debt   time.Time      // until when the guest's rate is used up
	behind bool           // before the last look, cells had changed that the guest has not been sent
}

func newFollower(p *peer) *follower { return &follower{peer: p, lost: true, patience: followKeys} }

// takes tells whether the guest can use a frame and keeps up: then it is to be sent.
func (f *follower) takes(pkt Packet, now time.Time) bool {
	if f.lost && !pkt.Key {
		return false
	}
	if f.peer.pacer.Backlog() > followDebt {
		f.lost = true
		return false
	}
	if pkt.Key {
		if now.Sub(f.lastKey) > followCalm {
			f.patience = followKeys
		} else if f.wishes() {
			f.patience = min(f.patience*2, followKeysMax)
		}
		f.lost, f.lastKey = false, now
		f.peer.keyWanted.Store(false)
	}
	return true
}

// wishes tells whether the guest needs a keyframe.
func (f *follower) wishes() bool {
	return f.lost || !f.peer.confirmed.Load() || f.peer.keyWanted.Load()
}

// keyAt is when a keyframe may go out for the guest's sake: zero if it needs none. The picture moves, or it rests.
func (f *follower) keyAt(now time.Time, rests bool) time.Time {
	if p := f.peer; !f.lost && p.confirmed.Load() && p.pacer.HasAll() && now.Sub(f.lastSent) > keyLimit {
		p.keyWanted.Store(false) // it has every packet, and asks only because nothing moves
	}
	if !f.wishes() {
		return time.Time{}
	}
	patience := f.patience
	if rests {
		patience = min(patience, followRest)
	}
	return latest(f.lastKey.Add(patience), now.Add(f.peer.pacer.Backlog()-followDebt))
}

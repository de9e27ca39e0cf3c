package stream

import (
	"time"

	"easel/pkg/display"
)

// followDebt is how much may wait for a guest's line; beyond it the guest skips what comes until the next keyframe.
const followDebt = 300 * time.Millisecond

// follower brings the picture to one guest, at the guest's own rate: a slow one skips whole frames and delays nobody. It is the painter's.
type follower struct {
	peer *peer

	lost     bool // it can show nothing until a keyframe comes
	lastSent time.Time
	keys     patience

	frame  *display.Frame // that the last frame which it was sent is of
	stamp  uint32         // of that, as the guest sees it
	cover  uint32         // of the last one that took the place of tiles: tiles that come later wait for it
	debt   time.Time      // until when the guest's rate is used up
	behind bool           // before the last look, cells had changed that the guest has not been sent
}

func newFollower(p *peer) *follower { return &follower{peer: p, lost: true} }

// takes tells whether the guest can use a frame and keeps up: then it is to be sent.
func (f *follower) takes(pkt Packet, now time.Time) bool {
	if f.lost && !pkt.Key {
		return false
	}
	if f.peer.pacer.Backlog() > followDebt || !pkt.Key && !f.peer.pacer.Takes(pkt.Bytes) { // half of a frame is of no use, and its bytes would keep tiles waiting
		f.lost = true
		return false
	}
	if pkt.Key {
		f.keys.had(f.wishes(now), now)
		f.lost = false
		f.peer.keyWanted.Store(false)
	}
	return true
}

// wishes tells whether the guest needs a keyframe.
func (f *follower) wishes(now time.Time) bool {
	return f.lost || !f.peer.confirmed.Load() || f.peer.asksForKey(f.lastSent, now)
}

// keyAt is when a keyframe may go out for the guest's sake: zero if it needs none. The picture moves, or it rests.
func (f *follower) keyAt(now time.Time, rests bool) time.Time {
	if !f.wishes(now) {
		return time.Time{}
	}
	due := latest(f.keys.next(rests), now.Add(f.peer.pacer.Backlog()-followDebt))
	return latest(due, f.keys.last.Add(f.peer.pacer.KeyRest())) // the one before may still be coming over
}

package stream

import (
	"context"
	"time"
)

// Bounds of what a guest may have of the picture.
const (
	// followQueue is how many frames may wait for a guest's sending, followDebt how far its rate may be overdrawn; beyond either it skips what
	// comes until the next keyframe.
	followQueue = 8
	followDebt  = 300 * time.Millisecond
	// A guest that needs keyframes again and again gets them ever more rarely.
	followKeys    = 500 * time.Millisecond
	followKeysMax = 8 * time.Second
	followCalm    = 10 * time.Second
)

// sharedFrame is one encoded frame on its way to guests, who have one copy of it together.
type sharedFrame struct {
	format Format
	pkt    Packet
	stamp  uint32
}

// follower brings the picture to one guest, at the guest's own rate: a slow one skips whole frames and delays nobody. What it keeps is the
// painter's, but for the queue.
type follower struct {
	peer  *peer
	queue chan sharedFrame

	lost     bool      // it can show nothing until a keyframe comes
	debt     time.Time // until when its rate is used up
	lastKey  time.Time
	lastSent time.Time
	patience time.Duration // between keyframes
}

func newFollower(p *peer) *follower {
	return &follower{peer: p, queue: make(chan sharedFrame, followQueue), lost: true, patience: followKeys}
}

// run sends what is queued, at the guest's pace.
func (f *follower) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case frame := <-f.queue:
			f.peer.sendFrame(frame.format, frame.pkt, frame.stamp)
		}
	}
}

// offer queues a frame if the guest can use it and keeps up.
func (f *follower) offer(frame sharedFrame, now time.Time) {
	if f.lost && !frame.pkt.Key {
		return
	}
	if f.debt.After(now.Add(followDebt)) {
		f.lost = true
		return
	}
	wished := f.wishes()
	select {
	case f.queue <- frame:
	default:
		f.lost = true
		return
	}
	if f.debt.Before(now) {
		f.debt = now
	}
	f.debt = f.debt.Add(onWay(float64(frame.pkt.Bytes), f.peer.rate.Kbps()))
	f.lastSent = now
	if !frame.pkt.Key {
		return
	}
	if now.Sub(f.lastKey) > followCalm {
		f.patience = followKeys
	} else if wished {
		f.patience = min(f.patience*2, followKeysMax)
	}
	f.lost, f.lastKey = false, now
	f.peer.keyWanted.Store(false)
}

// wishes tells whether the guest needs a keyframe.
func (f *follower) wishes() bool {
	return f.lost || !f.peer.confirmed.Load() || f.peer.keyWanted.Load()
}

// keyAt is when a keyframe may go out for the guest's sake: zero if it needs none.
func (f *follower) keyAt(now time.Time) time.Time {
	if p := f.peer; !f.lost && p.confirmed.Load() && p.pacer.unacked.none() && now.Sub(f.lastSent) > keyLimit {
		p.keyWanted.Store(false) // it has every packet, and asks only because nothing moves
	}
	if !f.wishes() {
		return time.Time{}
	}
	return latest(f.lastKey.Add(f.patience), f.debt.Add(-followDebt))
}

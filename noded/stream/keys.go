package stream

import (
	"time"

	"easel/noded/stream/congestion"
	"easel/noded/stream/rtpsend"
)

// How often keyframes go out. One takes as much as many frames, from all who watch.
const (
	// keyLimit is how long nothing may have gone out before a viewer that has everything is taken to ask in vain.
	keyLimit = rtpsend.LeastKeyRest
	// keyRepeat is the time between keyframes until the lead confirms a picture; doubles up to keyRepeatMax.
	keyRepeat, keyRepeatMax = 200 * time.Millisecond, 2 * time.Second
	// guestKeys is the shortest time between a keyframe and the next for guests, and guestShare the part of the rate that such may take.
	guestKeys  = 500 * time.Millisecond
	guestShare = 0.1
	// A guest that needs keyframes again and again gets them ever more rarely, up to guestKeysMax, until it needed none for guestCalm.
	guestKeysMax = 8 * time.Second
	guestCalm    = 10 * time.Second
	// guestKeysRest is the longest time between them while the picture rests: who has it all then needs no more.
	guestKeysRest = 2 * time.Second
)

// keys says when the next keyframe goes out. One frame serves all: the lead's need is its own measure, all guests' together take no more than
// their share of the rate. It is the painter's.
type keys struct {
	last   time.Time     // zero: the next frame must be one
	repeat time.Duration // to a lead that has confirmed none
	guests time.Time     // from when on one may go out for guests' sake
}

// keyNeed is why a lead needs a keyframe.
type keyNeed int

const (
	keyNone        keyNeed = iota
	keyUnconfirmed         // it has not said that it shows a picture
	keyWanted              // it asks for one, because packets were lost
)

// anew has a lead begin that has nothing yet.
func (k *keys) anew(trip time.Duration) { *k = keys{repeat: keyRepeat + 2*trip} }

// must has the next frame be a keyframe, whoever needs one: it is another encoder's.
func (k *keys) must() { k.last = time.Time{} }

// owed tells whether the next frame must be a keyframe, whenever it goes out.
func (k *keys) owed() bool { return k.last.IsZero() }

// at is when a keyframe may go out: zero for never. rest is how long the lead's line takes for one, guests the soonest that one of them wants one.
func (k *keys) at(lead keyNeed, rest time.Duration, guests time.Time) time.Time {
	if k.owed() {
		return time.Time{} // it comes with the next frame, not by itself
	}
	due := guests
	if !due.IsZero() {
		due = latest(due, k.guests)
	}
	switch lead {
	case keyUnconfirmed:
		return sooner(k.last.Add(k.repeat), due)
	case keyWanted:
		return sooner(k.last.Add(rest), due)
	}
	return due
}

// sent notes a keyframe of so many bytes, at the rate kbps.
func (k *keys) sent(bytes, kbps int, now time.Time) {
	if !k.owed() {
		k.repeat = min(k.repeat*2, keyRepeatMax)
	}
	k.last = now
	k.guests = now.Add(max(guestKeys, seconds(congestion.OnWay(float64(bytes), kbps).Seconds()/guestShare)))
}

// patience is how long one guest waits from one keyframe to the next. It is the follower's.
type patience struct {
	last time.Time
	rest time.Duration
}

// next is when it may have another, while the picture moves or rests.
func (p *patience) next(rests bool) time.Time {
	rest := max(p.rest, guestKeys)
	if rests {
		rest = min(rest, guestKeysRest)
	}
	return p.last.Add(rest)
}

// had notes a keyframe, which it needed or which came for another's sake.
func (p *patience) had(needed bool, now time.Time) {
	switch {
	case now.Sub(p.last) > guestCalm:
		p.rest = guestKeys
	case needed:
		p.rest = min(max(p.rest, guestKeys)*2, guestKeysMax)
	}
	p.last = now
}

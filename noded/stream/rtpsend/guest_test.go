package rtpsend

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"easel/noded/stream/congestion"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// A guest's picture is made for somebody else, and brought to it as the streamer's follower does: keyframes are as large as the owner's way allows, and of
// frames, which its own way does not carry, it skips what comes too late.
const (
	guestFrame  = 25_000
	guestFrames = 25 * time.Millisecond
	guestRest   = 500 * time.Millisecond
	guestMost   = 8 * time.Second
	guestDebt   = 300 * time.Millisecond
)

// joins plays a picture that always moves to a guest who has just come, until one is shown, and says how long that took.
func (l *link) joins(keyBytes int, limit time.Duration) (time.Duration, bool) {
	began, lost, rest := time.Now(), true, guestRest
	var last time.Time
	for time.Since(began) < limit {
		time.Sleep(guestFrames)
		var first time.Duration
		l.set(func() {
			if len(l.done) > 0 {
				first = l.done[0].shown.Sub(began)
			}
		})
		if first > 0 {
			return first, true
		}
		backlog := l.pacer.Backlog()
		key := backlog <= guestDebt && time.Since(last) >= max(rest, l.pacer.KeyRest())
		switch {
		case l.rate.Plan().Hold || lost && !key:
		case key:
			last, lost, rest = time.Now(), false, min(rest*2, guestMost)
			l.send(keyBytes, true)
		case backlog > guestDebt || !l.pacer.Takes(guestFrame):
			lost = true
		default:
			l.send(guestFrame, false)
		}
	}
	return 0, false
}

// Who comes by a way that is narrow from the first packet on, and loses some, has a picture not long after a keyframe can have come over it.
func TestGuestWhoJoinsOnANarrowWayHasAPicture(t *testing.T) {
	for _, kbps := range []float64{500, 1000, 2000} {
		for _, loss := range []float64{0, 0.02, 0.05} {
			for _, keyBytes := range []int{60_000, 150_000} {
				t.Run(fmt.Sprintf("%.0f kbps, %.0f %%, %d kB", kbps, loss*100, keyBytes/1000), func(t *testing.T) {
					for seed := range uint64(4) {
						bubble(t, kbps, 100*time.Millisecond, func(l *link) {
							l.loss, l.dice = loss, rand.New(rand.NewPCG(seed, 3))
							took, ok := l.joins(keyBytes, 25*time.Second)
							t.Logf("seed %d: the first picture after %v, %d keyframes", seed, took, l.keyframes)
							if !ok {
								t.Errorf("seed %d: no picture within 25 s, %d keyframes", seed, l.keyframes)
							}
						})
					}
				})
			}
		}
	}
}

// The way gets narrow while the picture is still. What comes then leaves as fast as the way was, and most of it is lost: that is learned from, though
// little is sent.
func TestWayThatGotNarrowInStillness(t *testing.T) {
	for _, kbps := range []float64{500, 1000, 2000} {
		for _, trip := range []time.Duration{20, 100} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f kbps, %v", kbps, trip), func(t *testing.T) {
				bubble(t, 50_000, trip, func(l *link) {
					l.watch(5*time.Second, 1)
					l.set(func() { l.kbps, l.queue = kbps, 200*time.Millisecond })
					time.Sleep(20 * time.Second)
					const keyBytes = 120_000
					turned := time.Now()
					l.set(func() { l.keyBytes, l.keys, l.done = keyBytes, 1, nil })
					for shown := false; !shown; time.Sleep(10 * time.Millisecond) {
						wanted := false
						l.set(func() {
							if time.Since(l.keyAt) > time.Second { // as browsers do that wait
								l.keys++
							}
							wanted, shown = l.keys > 0 && time.Since(l.keyAt) > l.pacer.KeyRest(), len(l.done) > 0
						})
						if wanted && !l.rate.Plan().Hold {
							l.frame(keyBytes)
						}
						if time.Since(turned) > 30*time.Second {
							t.Fatalf("the new picture was not shown within 30 s, after %d keyframes; the plan is %+v", l.keyframes, l.rate.Plan())
						}
					}
					t.Logf("the new picture was shown after %v and %d keyframes", time.Since(turned), l.keyframes)
				})
			})
		}
	}
}

// A keyframe that waits behind other packets is not taken for one that went out long ago when some of those are asked for: it would be left out as late.
func TestAKeyframeThatWaitsIsNotLeftOut(t *testing.T) {
	bubble(t, 1000, 20*time.Millisecond, func(l *link) {
		l.joins(15_000, 10*time.Second) // finds the rate
		l.send(60_000, false)
		l.send(150_000, true)
		time.Sleep(50 * time.Millisecond)
		var first uint16
		l.pacer.mu.Lock()
		first = l.pacer.video.last
		waits := l.pacer.video.waits(l.pacer.key)
		l.pacer.mu.Unlock()
		if !waits {
			t.Fatal("the keyframe is under way already: the test shows nothing")
		}
		l.pacer.Nack(&rtcp.TransportLayerNack{MediaSSRC: linkSSRC, Nacks: []rtcp.NackPair{{PacketID: first}}}, time.Now())
		time.Sleep(3 * time.Second)
		l.pacer.mu.Lock()
		defer l.pacer.mu.Unlock()
		if l.pacer.dropped {
			t.Error("the keyframe was left out")
		}
	})
}

// Of a keyframe all is sent again that is asked for, as long as it can be on its way; of other frames no more than takes its share of the rate.
func TestMoreOfAKeyframeIsSentAgain(t *testing.T) {
	for _, key := range []bool{true, false} {
		p, _ := lone(t)
		const packets = 100
		if key {
			p.begins(0)
		}
		for i := range uint16(packets) {
			h := rtp.Header{SequenceNumber: i, Marker: i == packets-1}
			if err := p.push(p.video, &h, make([]byte, rtpPayload)); err != nil {
				t.Fatal(err)
			}
		}
		sent := time.Now()
		p.video.next = packets
		var all []uint16
		for i := range uint16(packets) {
			p.video.at(i).sent = sent
			all = append(all, i)
		}
		late := sent.Add(resendTime + congestion.OnWay(packets*rtpPayload, congestion.StartKbps)/2)
		if again := p.ask(all, late); again == key {
			t.Errorf("a keyframe: %v; another is said to be better: %v", key, again)
		}
		if n := len(p.lost); n > 0 != key {
			t.Errorf("a keyframe: %v; %d packets are sent again", key, n)
		}
	}
}

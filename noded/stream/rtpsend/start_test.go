package rtpsend

import (
	"fmt"
	"testing"
	"time"

	"easel/noded/stream/congestion"
)

// firstKey is what the first keyframe takes, as the encoder keeps to it.
const firstKey = 15_000

// A viewer comes by a way of which nothing is known while the picture moves: the first picture is soon there, none freezes for long after it, and what
// the way carries is found out, be it narrow or wide.
func TestTheFirstFrameFindsTheRate(t *testing.T) {
	for _, kbps := range []float64{1000, 2000, 5000, 20000, 1_000_000} {
		for _, trip := range []time.Duration{2, 20, 100, 300} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f kbps, %v", kbps, trip), func(t *testing.T) {
				bubble(t, kbps, trip, func(l *link) {
					l.keyBytes, l.queue = firstKey, 200*time.Millisecond
					began := time.Now()
					l.play(trip+500*time.Millisecond, 1)
					if got := float64(l.rate.Plan().Kbps); got < 0.5*min(kbps, congestion.MaxKbps) || got > 1.2*kbps {
						t.Errorf("after %v the rate is %.0f kbps", time.Since(began), got)
					}
					l.play(3*time.Second, 1)
					l.first(t, began, trip/2+congestion.OnWay(float64(firstKey), int(kbps))+100*time.Millisecond, 400*time.Millisecond+trip)
				})
			})
		}
	}
}

// A first frame that no quantiser made small is longer on its way, but fills no queue that would lose it; on a wide way the rest follows as soon as that is found.
func TestALargeFirstFrameComesOver(t *testing.T) {
	for _, kbps := range []float64{1000, 2000, 100_000} {
		for _, trip := range []time.Duration{20, 300} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f kbps, %v", kbps, trip), func(t *testing.T) {
				bubble(t, kbps, trip, func(l *link) {
					l.keyBytes, l.queue = 60_000, 200*time.Millisecond
					began := time.Now()
					l.play(3*time.Second, 1)
					l.first(t, began, trip/2+min(congestion.OnWay(64_000, 0.85*congestion.StartKbps), trip+250*time.Millisecond+congestion.OnWay(60_000, int(kbps)))+100*time.Millisecond, 500*time.Millisecond+trip)
				})
			})
		}
	}
}

// A near way is taken to be wide: a first frame that may be larger leaves all at once.
func TestTheFirstFrameOfANearWay(t *testing.T) {
	bubble(t, 100_000, 2*time.Millisecond, func(l *link) {
		l.rate.Begins(2 * time.Millisecond)
		if got := l.rate.Plan().Frame; congestion.OnWay(50_000, congestion.StartKbps) > got {
			t.Errorf("a frame may take %v of the rate", got)
		}
		l.keyBytes = 50_000
		began := time.Now()
		l.play(time.Second, 1)
		l.first(t, began, 100*time.Millisecond, 150*time.Millisecond)
		if got := l.rate.Plan().Kbps; got < congestion.MaxKbps {
			t.Errorf("after a second the rate is %d kbps", got)
		}
	})
}

// first checks when the first picture came, and how long none did after it.
func (l *link) first(t *testing.T, began time.Time, first, freeze time.Duration) {
	t.Helper()
	l.mu.Lock()
	if len(l.done) == 0 {
		l.mu.Unlock()
		t.Fatal("no picture came")
	}
	at := l.done[0].shown
	l.mu.Unlock()
	frames, longest, p50, p95 := l.seen(at, time.Now())
	t.Logf("the first picture after %v, then %d, freeze %v, age %v, %v at 95 %%, %d keyframes", at.Sub(began), frames, longest, p50, p95, l.keyframes)
	if at.Sub(began) > first || longest > freeze {
		t.Errorf("the first picture came after %v, want %v; none came for %v, want %v", at.Sub(began), first, longest, freeze)
	}
}

// Where the first frame is too small to tell, a probe does, once.
func TestAProbeFindsTheRateOfAStillScreen(t *testing.T) {
	for _, kbps := range []float64{1000, 5000, 100_000} {
		t.Run(fmt.Sprintf("%.0f kbps", kbps), func(t *testing.T) {
			bubble(t, kbps, 40*time.Millisecond, func(l *link) {
				l.frame(3 * rtpPayload)
				time.Sleep(700 * time.Millisecond)
				if got := float64(l.rate.Plan().Kbps); !l.rate.Found() || got < 0.7*min(kbps, congestion.MaxKbps) || got > 1.1*kbps {
					t.Errorf("the rate is %.0f kbps, found: %v", got, l.rate.Found())
				}
			})
		})
	}
}

// A viewer whose reports tell nothing of the way gets the guess for its rate, and the rate grows from there.
func TestAWayThatTellsNothingIsNotHeldForEver(t *testing.T) {
	bubble(t, 20000, 40*time.Millisecond, func(l *link) {
		l.loss = 0.8
		l.frame(2 * rtpPayload)
		for range 40 {
			time.Sleep(100 * time.Millisecond)
			l.frame(rtpPayload)
		}
		if !l.rate.Found() {
			t.Errorf("4 s after the first frame the plan is %+v", l.rate.Plan())
		}
	})
}

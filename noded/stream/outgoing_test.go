package stream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test in virtual time on a way of its own.
func bubble(t *testing.T, kbps float64, trip time.Duration, run func(l *link)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, kbps, trip)
		defer l.close()
		run(l)
	})
}

// watch plays and then says how it went.
func (l *link) watch(lasts time.Duration, share float64) (frames int, freeze, p50, p95 time.Duration, used float64) {
	l.mu.Lock()
	before := l.wire
	l.mu.Unlock()
	from := time.Now()
	l.play(lasts, share)
	frames, freeze, p50, p95 = l.seen(from, time.Now())
	l.mu.Lock()
	used = float64(l.wire-before) * 8 / 1000 / lasts.Seconds()
	l.mu.Unlock()
	l.t.Logf("%.0f kbps, trip %v, loss %.2f: %d frames, freeze %v, age %v, %v at 95 %%, used %.0f kbps, plan %+v, resent %d, keyframes %d",
		l.kbps, 2*l.delay, l.loss, frames, freeze, p50, p95, used, l.rate.Plan(), l.pacer.resent, l.keyframes)
	return frames, freeze, p50, p95, used
}

// A picture that always moves settles on what the way carries, without a standing queue.
func TestRateSettlesOnTheWay(t *testing.T) {
	for _, kbps := range []float64{2000, 5000, 10000, 50000} {
		for _, trip := range []time.Duration{20, 100, 300} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f kbps, %v", kbps, trip), func(t *testing.T) {
				bubble(t, kbps, trip, func(l *link) {
					l.play(15*time.Second, 1)
					_, freeze, p50, p95, used := l.watch(20*time.Second, 1)
					if least := min(kbps*0.6, maxKbps*0.6); used < least {
						t.Errorf("%.0f kbps of %.0f are used", used, kbps)
					}
					if p50 > trip/2+100*time.Millisecond || p95 > trip/2+350*time.Millisecond || freeze > time.Second+trip {
						t.Errorf("age %v, %v at 95 %%, freeze %v", p50, p95, freeze)
					}
				})
			})
		}
	}
}

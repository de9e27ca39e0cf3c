package rtpsend

import (
	"fmt"
	"testing"
	"time"

	"easel/noded/stream/congestion"
)

// moving is a picture that moves as a whole: the bytes of a frame as fine as is wanted and at the coarsest quantiser, and those of a keyframe.
type moving struct {
	fine, coarse       int
	keyFine, keyCoarse int
}

// scrolling is a page of 1920×1080 that scrolls at 60 Hz, by H.264.
var scrolling = moving{fine: 14_000, coarse: 8000, keyFine: 400_000, keyCoarse: 60_000}

// scroll sends frames for a while as painter and encoder do: each as fine as the rate has room for, none while what went out is owed or waits.
func (l *link) scroll(lasts time.Duration, m moving) {
	const buffer, drawn = 50 * time.Millisecond, time.Second / 60
	began := time.Now()
	end, debt, next, at := began.Add(lasts), began, began, began
	left := 0.0 // bytes that the rate has room for
	for {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		p := l.rate.Plan()
		until := now.Add(l.pacer.Backlog() + l.rate.Drains(now) - painterBurst)
		for _, t := range []time.Time{next, debt.Add(-painterBurst), now.Add(drawn - now.Sub(began)%drawn)} {
			if t.After(until) {
				until = t
			}
		}
		time.Sleep(min(until.Sub(now), end.Sub(now)))
		if now = time.Now(); p.Hold || !now.Before(end) {
			continue
		}
		kbps := min(l.rate.Plan().Kbps, congestion.MaxKbps)
		rate := float64(kbps) * 1000 / 8
		left = min(left+rate*now.Sub(at).Seconds(), rate*buffer.Seconds())
		room := int(max(left, rate/60/3))
		sent := l.frameOf(min(max(room, m.coarse), m.fine), min(max(room, m.keyCoarse), m.keyFine))
		l.rate.Moves()
		left, at = max(left-float64(sent), -rate*buffer.Seconds()), now
		if debt.Before(now) {
			debt = now
		}
		debt, next = debt.Add(congestion.OnWay(float64(sent), kbps)), now.Add(p.Pace(painterPace))
	}
}

// A way gets narrow at once while the picture moves: it freezes for not much longer than it takes to see that, and to bring what was lost.
func TestPictureGoesOnWhereTheWayGetsNarrow(t *testing.T) {
	for _, trip := range []time.Duration{20, 40, 100, 300} {
		trip *= time.Millisecond
		for _, queue := range []time.Duration{100, 200, 500} {
			queue *= time.Millisecond
			t.Run(fmt.Sprintf("%v, a queue of %v", trip, queue), func(t *testing.T) {
				bubble(t, 50_000, trip, func(l *link) {
					l.queue = queue
					l.scroll(8*time.Second, scrolling)
					l.set(func() { l.kbps = 2000 })
					at := time.Now()
					l.scroll(3*time.Second, scrolling)
					_, freeze, p50, p95 := l.seen(at, time.Now())
					t.Logf("then: freeze %v, age %v, %v at 95 %%, %d keyframes, plan %+v", freeze, p50, p95, l.keyframes, l.rate.Plan())
					if most := 700*time.Millisecond + queue + 2*trip; freeze > most || p50 > 150*time.Millisecond+trip {
						t.Errorf("a freeze of %v, want %v; then an age of %v", freeze, most, p50)
					}
					at = time.Now()
					l.scroll(10*time.Second, scrolling)
					frames, freeze, p50, p95 := l.seen(at, time.Now())
					t.Logf("later: %d frames, freeze %v, age %v, %v at 95 %%, %d keyframes, plan %+v", frames, freeze, p50, p95, l.keyframes, l.rate.Plan())
					if freeze > 300*time.Millisecond+trip || p50 > 100*time.Millisecond+trip || frames < 200 {
						t.Errorf("later %d frames, a freeze of %v, an age of %v", frames, freeze, p50)
					}
				})
			})
		}
	}
}

package rtpsend

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"easel/noded/stream/congestion"
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
	p := l.rate.Plan()
	l.pacer.mu.Lock()
	resent := l.pacer.resent
	l.pacer.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	used = float64(l.wire-before) * 8 / 1000 / lasts.Seconds()
	l.t.Logf("%.0f kbps, trip %v, loss %.2f: %d frames, freeze %v, age %v, %v at 95 %%, used %.0f kbps, plan %+v, resent %d, repaired %d, keyframes %d",
		l.kbps, 2*l.delay, l.loss, frames, freeze, p50, p95, used, p, resent, l.repaired, l.keyframes)
	return frames, freeze, p50, p95, used
}

// A picture that always moves settles on what the way carries, without a standing queue.
func TestRateSettlesOnTheWay(t *testing.T) {
	for _, kbps := range []float64{1000, 2000, 5000, 10000, 50000} {
		for _, trip := range []time.Duration{20, 100, 300} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f kbps, %v", kbps, trip), func(t *testing.T) {
				bubble(t, kbps, trip, func(l *link) {
					l.play(15*time.Second, 1)
					_, freeze, p50, p95, used := l.watch(20*time.Second, 1)
					if least := min(kbps*0.6, congestion.MaxKbps*0.6); used < least {
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

// Loss that is the way's own neither starves the picture nor stops it.
func TestRateStandsLoss(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.10} {
		for _, trip := range []time.Duration{20, 100, 300} {
			trip *= time.Millisecond
			t.Run(fmt.Sprintf("%.0f %%, %v", loss*100, trip), func(t *testing.T) {
				bubble(t, 20000, trip, func(l *link) {
					l.loss = loss
					l.play(15*time.Second, 0.5)
					frames, freeze, p50, _, _ := l.watch(20*time.Second, 0.5)
					if got := l.rate.Plan().Kbps; got < 8000 {
						t.Errorf("the plan is %d kbps of 20000", got)
					}
					// A lost packet is asked for, and again 100 ms later where that one is lost too.
					if frames < 500 || freeze > 4*trip+800*time.Millisecond || p50 > 3*trip+150*time.Millisecond {
						t.Errorf("%d frames, freeze %v, age %v", frames, freeze, p50)
					}
				})
			})
		}
	}
}

// The way gets narrow, and wide again.
func TestRateFollowsTheWay(t *testing.T) {
	for _, share := range []float64{1, 0.3} {
		t.Run(fmt.Sprintf("%.0f %% used", share*100), func(t *testing.T) {
			bubble(t, 50000, 40*time.Millisecond, func(l *link) {
				l.watch(10*time.Second, share)
				l.set(func() { l.kbps = 2000 })
				l.watch(5*time.Second, share)
				_, freeze, p50, p95, _ := l.watch(10*time.Second, share)
				if got := l.rate.Plan().Kbps; got > 4000 && share == 1 || freeze > time.Second || p50 > 150*time.Millisecond || p95 > 600*time.Millisecond {
					t.Errorf("at 2 Mbit/s: the plan is %d kbps, freeze %v, age %v, %v at 95 %%", got, freeze, p50, p95)
				}
				l.set(func() { l.kbps = 50000 })
				l.watch(10*time.Second, share)
				if got := l.rate.Plan().Kbps; got < congestion.MaxKbps {
					t.Errorf("10 s after the way is wide again: the plan is %d kbps", got)
				}
			})
		})
	}
}

// Nothing gets through for a while: the picture is held, and is back soon after.
func TestPictureIsBackAfterABlackout(t *testing.T) {
	for _, kbps := range []float64{2000, 20000} {
		t.Run(fmt.Sprintf("%.0f kbps", kbps), func(t *testing.T) {
			bubble(t, kbps, 40*time.Millisecond, func(l *link) {
				l.watch(10*time.Second, 1)
				before := l.bytes()
				l.set(func() { l.dead = true })
				l.play(3*time.Second, 1)
				if sent, most := l.bytes()-before, int(kbps*1000/8*1.6); sent > most {
					t.Errorf("%d bytes went into the dark, want no more than %d", sent, most)
				}
				l.set(func() { l.dead = false })
				back := time.Now()
				l.play(3*time.Second, 1)
				first := time.Duration(0)
				l.set(func() {
					i := slices.IndexFunc(l.done, func(f shownFrame) bool { return f.shown.After(back) })
					if i >= 0 {
						first = l.done[i].shown.Sub(back)
					}
				})
				t.Logf("the first frame after %v", first)
				if first == 0 || first > time.Second {
					t.Errorf("the first frame came after %v", first)
				}
				if _, freeze, _, _, _ := l.watch(5*time.Second, 1); freeze > 500*time.Millisecond {
					t.Errorf("a freeze of %v later", freeze)
				}
			})
		})
	}
}

// A viewer's packets take another way: the clock stays, the delay jumps. Told of it, nothing that the dead way lost counts against the new one.
func TestRateFollowsAChangeOfNetwork(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("told %v", told), func(t *testing.T) {
			bubble(t, 20000, 20*time.Millisecond, func(l *link) {
				l.watch(10*time.Second, 1)
				l.set(func() { l.dead = true })
				l.play(700*time.Millisecond, 1)
				l.set(func() { l.dead, l.delay, l.kbps = false, 80*time.Millisecond, 5000 })
				if told {
					if !l.pacer.Turn(time.Now()) {
						t.Error("the dead way counts as alive")
					}
					l.set(func() { l.keys++ })
					l.play(time.Second, 1)
					if got := l.rate.Plan().Kbps; got < 3000 || got > 6000 {
						t.Errorf("a second later the plan is %d kbps on a way of 5000", got)
					}
				}
				l.watch(2*time.Second, 1)
				_, freeze, p50, p95, used := l.watch(10*time.Second, 1)
				if freeze > time.Second || p50 > 200*time.Millisecond || p95 > 600*time.Millisecond || used < 2500 {
					t.Errorf("freeze %v, age %v, %v at 95 %%, %.0f kbps used", freeze, p50, p95, used)
				}
			})
		})
	}
}

// A way that is left while it lives, as the relay's for a direct one, has shown what can be sent until the new one tells otherwise.
func TestRateIsKeptWhereTheWayBeforeLived(t *testing.T) {
	bubble(t, 20000, 20*time.Millisecond, func(l *link) {
		l.watch(5*time.Second, 1)
		before := l.rate.Plan().Kbps
		l.set(func() { l.delay = 40 * time.Millisecond })
		if l.pacer.Turn(time.Now()) {
			t.Error("a way that lives counts as dead")
		}
		l.play(time.Second, 1)
		if got := l.rate.Plan().Kbps; got < before*9/10 {
			t.Errorf("the plan is %d kbps, and was %d on the way before", got, before)
		}
	})
}

// A screen that sends little finds out what the way carries, but no more than it does; and a still one sends nothing.
func TestLittleTrafficKeepsTheRateHonest(t *testing.T) {
	bubble(t, 6000, 40*time.Millisecond, func(l *link) {
		l.watch(60*time.Second, 0.05)
		if got := l.rate.Plan().Kbps; got > 9000 || got < 1500 {
			t.Errorf("after a minute of little traffic the plan is %d kbps of 6000", got)
		}
		l.watch(3*time.Second, 1)
		_, freeze, p50, p95, _ := l.watch(10*time.Second, 1)
		if freeze > 500*time.Millisecond || p50 > 150*time.Millisecond || p95 > 400*time.Millisecond {
			t.Errorf("freeze %v, age %v, %v at 95 %%", freeze, p50, p95)
		}
		time.Sleep(2 * time.Minute)
		before := l.bytes()
		time.Sleep(time.Minute)
		if sent := l.bytes() - before; sent != 0 {
			t.Errorf("%d bytes were sent in a minute of nothing", sent)
		}
	})
}

// A way that was cut is found to be wide again though the picture is still by then, by probes that end.
func TestProbesFindAWideWayInStillness(t *testing.T) {
	bubble(t, 1000, 40*time.Millisecond, func(l *link) {
		l.play(10*time.Second, 1)
		l.set(func() { l.kbps = 30000 })
		before := l.bytes()
		time.Sleep(30 * time.Second)
		if got := l.rate.Plan().Kbps; got < congestion.MaxKbps {
			t.Errorf("after 30 s of stillness the plan is %d kbps", got)
		}
		if sent := l.bytes() - before; sent > 600_000 {
			t.Errorf("the probes took %d bytes", sent)
		}
	})
}

// Frames that no quantiser makes small come over a narrow way all the same, keyframes too, one after the other.
func TestLargeFramesComeOverANarrowWay(t *testing.T) {
	bubble(t, 1500, 40*time.Millisecond, func(l *link) {
		l.keyBytes = 90_000
		debt := time.Now() // as the painter keeps it
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			p := l.rate.Plan()
			time.Sleep(p.Pace(painterPace))
			if p.Hold || l.pacer.Backlog() > painterBurst || time.Until(debt) > painterBurst {
				continue
			}
			if now := time.Now(); debt.Before(now) {
				debt = now
			}
			debt = debt.Add(congestion.OnWay(float64(l.frame(25_000)), p.Kbps))
		}
		frames, freeze, p50, _ := l.seen(time.Now().Add(-15*time.Second), time.Now())
		t.Logf("%d frames in 15 s, freeze %v, age %v, %d keyframes", frames, freeze, p50, l.keyframes)
		if frames < 40 || freeze > 2*time.Second {
			t.Errorf("%d frames in 15 s, freeze %v", frames, freeze)
		}
	})
}

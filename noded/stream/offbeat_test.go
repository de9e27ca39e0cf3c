package stream

import (
	"context"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"
)

// offBeatCounts are what the viewer's stats say of how soon changes by tiles were shown.
type offBeatCounts struct{ AtOnce, Late, Kept, Worth int }

// brush paints sixty times a second until the test ends. Which part of a beat of the browser's it hits changes every two seconds.
func (a *artist) brush(t *testing.T) {
	t.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-ended })
	go func() {
		defer close(ended)
		next := time.Now()
		for i := 0; ; i++ {
			xproto.ChangeGC(a.xc, a.gc, xproto.GcForeground, []uint32{uint32(i * 654321)})
			xproto.PolyFillRectangle(a.xc, xproto.Drawable(a.root), a.gc, []xproto.Rectangle{{X: int16(100 + i%300), Y: 200, Width: 24, Height: 24}})
			if next = next.Add(time.Second / 60); i%120 == 119 {
				next = next.Add(5 * time.Millisecond)
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Until(next)):
			}
		}
	}()
}

// TestPaintingIsShownOffTheBeat: painting whose changes wait for the browser's beats is brought to where each is shown at once, by one that is
// kept; and again when the page has animated under a hand, which rests by now.
func TestPaintingIsShownOffTheBeat(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=640x480")
	becomesExact(t, ctx)
	a.brush(t)
	goesOffTheBeat(t, ctx)
	evaluate[bool](t, ctx, `(async () => {
		let animates = true;
		const beat = () => { if (animates) requestAnimationFrame(beat); };
		beat();
		// It is found to animate each time that a hand comes to rest.
		for (let i = 0; i < 4; i++) {
			dispatchEvent(new PointerEvent("pointermove"));
			await new Promise((ok) => setTimeout(ok, 450));
		}
		animates = false;
		return true;
	})()`)
	goesOffTheBeat(t, ctx)
}

// goesOffTheBeat has the page make frames of its own, so that changes wait for them, until one is kept; and awaits that many which followed one
// were shown at once.
func goesOffTheBeat(t *testing.T, ctx context.Context) {
	t.Helper()
	const disturb = "new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(() => ok(true))))"
	counts := func() offBeatCounts { return evaluate[offBeatCounts](t, ctx, "window.easel.stats().offBeat") }
	before := counts()
	for deadline := time.Now().Add(100 * time.Second); ; { // a machine that is busy with others brings most changes by video
		now := counts()
		if now.Kept > before.Kept && now.Worth > before.Worth {
			t.Logf("%+v, then %+v", before, now)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 100 s of painting, changes are not shown off the beat: %+v, before %+v", now, before)
		}
		if now.Kept == before.Kept {
			evaluate[bool](t, ctx, disturb)
		} else {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

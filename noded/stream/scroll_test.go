package stream

import (
	"image"
	"testing"
	"time"
)

// TestWhatScrollsIsMovedInTheViewer: over a picture that it has by video only, and over one that it has exactly.
func TestWhatScrollsIsMovedInTheViewer(t *testing.T) {
	_, a, v := startExact(t)
	size := image.Pt(1280, 720)
	page := newScroller(t, a, size, letters(size.X, 2*size.Y))
	page.by = 5
	moved := func() (shifts, kept int) {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.screen.Shifts, v.screen.Kept
	}
	page.until(t, "what scrolls to be moved", func() bool { shifts, _ := moved(); return shifts >= 40 })
	if _, kept := moved(); kept == 0 {
		t.Error("nothing was kept beneath the video")
	}
	v.awaitPicture(t, a, "the page, after it scrolled")
	page.at = 0
	page.step(t)
	v.awaitPicture(t, a, "the page's beginning")
	was, _ := moved()
	page.until(t, "what scrolls to be moved again", func() bool { shifts, _ := moved(); return shifts >= was+20 })
	v.awaitPicture(t, a, "the page, after it scrolled again")
}

// TestChromiumMovesWhatScrolls has real Chromium do so, from a picture that moves when it begins.
func TestChromiumMovesWhatScrolls(t *testing.T) {
	s := startSession(t)
	a := newArtist(t, s.x)
	s.ready(t)
	ctx := watch(t, s, "size=1280x720")
	size := image.Pt(1280, 720)
	s.await(t, "the screen's size", func() bool { return evaluate[bool](t, ctx, "window.easel.stats().width === 1280") })
	page := newScroller(t, a, size, letters(size.X, 2*size.Y))
	page.by = 5
	var begun, now Stats
	s.get(t, "/stats", &begun)
	page.until(t, "what scrolls to be moved", func() bool {
		s.get(t, "/stats", &now)
		return now.ByTiles >= begun.ByTiles+60
	})
	showsExactly(t, ctx, a, size)
	if s.get(t, "/stats", &now); now.Bad != begun.Bad {
		t.Errorf("%d messages were not understood", now.Bad-begun.Bad)
	}
}

// TestWhatIsDrawnAgainTakesNoFrame: nothing is left to sharpen, and nothing has changed.
func TestWhatIsDrawnAgainTakesNoFrame(t *testing.T) {
	s, a, v := startExact(t)
	square := image.Rect(100, 100, 160, 160)
	a.fill(t, square, 0x3366cc)
	v.awaitPicture(t, a, "a square")
	frames := func() int { n, _ := v.count(); return n }
	s.await(t, "rest", func() bool {
		before := frames()
		time.Sleep(300 * time.Millisecond)
		return frames() == before
	})
	before := frames()
	for range 5 {
		a.fill(t, square, 0x3366cc)
		time.Sleep(50 * time.Millisecond)
	}
	if after := frames(); after != before {
		t.Errorf("%d frames of what was there already", after-before)
	}
}

package tile_test

import (
	"image"
	"testing"
	"time"

	"easel/noded/stream/tile"
)

// lacking is a picture with one viewer, which has nothing of it by tiles.
func lacking(t *testing.T) (*shared, *sharer) {
	t.Helper()
	s := newShared(t)
	s.sheet.Share(false)
	v := s.join()
	s.draw(image.Rectangle{Max: s.size}, 7)
	s.bring(v, 0)
	return s, v
}

// TestWhatScrollsByVideoIsSoonMoved: however it scrolls, and with something before it that does not.
func TestWhatScrollsByVideoIsSoonMoved(t *testing.T) {
	for _, by := range []image.Point{{0, 6}, {0, -30}, {5, 0}, {-7, 0}, {-7, 3}} {
		s, v := lacking(t)
		first, gains := 0, 0
		for i := 1; i <= 40; i++ {
			s.scroll(image.Rectangle{Max: s.size}, by, uint64(i))
			s.draw(image.Rect(300, 200, 310, 210), uint64(i))
			if shifted, _ := s.bring(v, tile.MaxMessage); first == 0 && shifted > 100 {
				first = i
			}
			if v.layer.Gains() && first == 0 {
				gains++
			}
		}
		if first == 0 || first > 30 || v.screen.Shifts < 40-first {
			t.Errorf("by %v: %d of 40 frames by what moved, from frame %d on", by, v.screen.Shifts, first)
		}
		if least := first - 5; gains < least || v.layer.Gains() { // until it moves, and given a few for a start
			t.Errorf("by %v: in %d frames the viewer was about to be told of all that moves, and is still: %v; from frame %d on it was", by, gains, v.layer.Gains(), first)
		}
		s.settle()
	}
}

func TestPartThatScrollsByVideoIsSoonMoved(t *testing.T) {
	s, v := lacking(t)
	for i := range 40 {
		s.scroll(image.Rect(70, 33, 570, 450), image.Pt(3, 8), uint64(i))
		s.bring(v, tile.MaxMessage)
	}
	if v.screen.Shifts < 20 {
		t.Errorf("%d of 40 frames by what moved", v.screen.Shifts)
	}
	s.settle()
}

// TestFrameThatIsTooMuchLosesNothingOfWhatMoves: what comes after it is moved again.
func TestFrameThatIsTooMuchLosesNothingOfWhatMoves(t *testing.T) {
	s, v := alone(t)
	for i := range 30 {
		s.scroll(image.Rectangle{Max: s.size}, image.Pt(0, 6), uint64(i))
		limit := tile.MaxMessage
		if i%3 == 1 {
			limit = 60
		}
		if shifted, _ := s.bring(v, limit); shifted > 0 != (i%3 != 1) {
			t.Fatalf("frame %d, which may take %d bytes: %d cells moved", i, limit, shifted)
		}
	}
	s.settle()
}

// TestPicturesThatDoNotScrollAreHardlyFollowed: each is another.
func TestPicturesThatDoNotScrollAreHardlyFollowed(t *testing.T) {
	s, v := lacking(t)
	before := v.bytes
	const seconds, rate = 3, 60
	for i := range seconds * rate {
		s.draw(image.Rectangle{Max: s.size}, uint64(i)*17)
		s.bring(v, 0)
		if v.layer.Gains() {
			t.Fatalf("picture %d is taken to be about to go by moves", i)
		}
	}
	if kept, bytes := v.screen.Kept, v.bytes-before; kept == 0 || bytes > 6*17<<10 { // ever more rarely
		t.Errorf("%d messages, %d bytes in %d s", kept, bytes, seconds)
	}
	s.settle()
}

// TestOnePictureAfterAnotherIsNotFollowed: only what has moved for a while may go on.
func TestOnePictureAfterAnotherIsNotFollowed(t *testing.T) {
	s, v := lacking(t)
	for i := range 20 {
		s.now = s.now.Add(time.Second)
		s.draw(image.Rectangle{Max: s.size}, uint64(i)*17)
		s.sheet.Look()
		v.layer.Look(s.now)
		v.layer.Shift(v.layer.Dear(), s.now)
		stamp := func() uint32 { s.frame = v.flow.Stamp(s.frame+100, s.frame, true); return s.frame }
		if _, err := v.layer.Video(stamp, s.now); err != nil {
			t.Fatal(err)
		}
		if bytes, err := v.layer.Follow(tile.MaxMessage, false, s.now); err != nil || bytes > 0 {
			t.Fatalf("%d bytes, %v", bytes, err)
		}
	}
}

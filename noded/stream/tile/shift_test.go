package tile_test

import (
	"image"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"easel/noded/stream/tile"
)

// scroll has a part of the picture be what was so far away. What comes into sight is new.
func (s *shared) scroll(part image.Rectangle, by image.Point, seed uint64) {
	s.t.Helper()
	before := slices.Clone(s.pix)
	random := rand.New(rand.NewPCG(seed, 2))
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			to := s.pix[(y*s.size.X+x)*4:][:3]
			if from := image.Pt(x, y).Add(by); from.In(part) {
				copy(to, before[(from.Y*s.size.X+from.X)*4:])
			} else {
				to[0], to[1], to[2] = byte(x), byte(seed), byte(random.Uint32()&7)
			}
		}
	}
	if _, err := s.picture.Update(s.pix, s.size.X*4, []image.Rectangle{part}); err != nil {
		s.t.Fatal(err)
	}
}

// alone is a picture with one viewer, which has all of it.
func alone(t *testing.T) (*shared, *sharer) {
	t.Helper()
	s := newShared(t)
	s.sheet.Share(false)
	v := s.join()
	s.settle()
	return s, v
}

// bring sends what has been drawn: as what moved, if it did, and by tiles, or by video where these are too much. It tells how many cells moved, and
// the tiles' bytes.
func (s *shared) bring(v *sharer, limit int) (shifted, bytes int) {
	s.t.Helper()
	s.now = s.now.Add(16 * time.Millisecond)
	s.sheet.Look()
	v.layer.Look(s.now)
	shifted, _, _ = v.layer.Shift(v.layer.Dear(), s.now)
	shows, bytes, err := v.layer.Change(limit, &s.frame, s.now)
	if err != nil {
		s.t.Fatal(err)
	}
	if !shows {
		stamp := func() uint32 { s.frame = v.flow.Stamp(s.frame+100, s.frame, true); return s.frame }
		if _, err := v.layer.Video(stamp, s.now); err != nil {
			s.t.Fatal(err)
		}
		if _, err := v.layer.Follow(tile.MaxMessage, true, s.now); err != nil {
			s.t.Fatal(err)
		}
		return 0, 0
	}
	return shifted, bytes
}

func TestScrollingGoesByWhatTheViewerHas(t *testing.T) {
	for _, by := range []image.Point{{0, 6}, {0, -6}, {5, 0}, {-7, 3}, {0, 30}} {
		s, v := alone(t)
		total := 0
		for i := range 20 {
			s.scroll(image.Rectangle{Max: s.size}, by, uint64(i))
			s.draw(image.Rect(600, 0, 610, 10), uint64(i)) // what does not scroll
			shifted, bytes := s.bring(v, tile.MaxMessage)
			if shifted < 100 {
				t.Fatalf("%d cells moved by %v", shifted, by)
			}
			total += bytes
		}
		fresh := (abs(by.X)*s.size.Y + abs(by.Y)*s.size.X + 100) * 20
		if v.screen.Shifts != 20 || total > fresh*3+20*2000 {
			t.Errorf("%d of 20 by %v, with %d bytes for %d new pixels", v.screen.Shifts, by, total, fresh)
		}
		if sure, all := v.layer.Exact(); sure > all/4 {
			t.Errorf("%d of %d cells count as proven while they move", sure, all)
		}
		before := v.bytes
		s.settle()
		if n := v.bytes - before; n > 12*tile.Cells(s.size)+10*tile.HeaderBytes {
			t.Errorf("it took %d bytes to prove it", n)
		}
	}
}

func TestPartScrolls(t *testing.T) {
	s, v := alone(t)
	for i := range 20 {
		s.scroll(image.Rect(70, 33, 570, 450), image.Pt(3, 8), uint64(i))
		if shifted, _ := s.bring(v, tile.MaxMessage); shifted < 100 {
			t.Fatalf("%d cells moved", shifted)
		}
	}
	s.settle()
}

// TestWhatMovedAndWasNotSentIsForgotten: a guest who has come, or a frame that was cheaper, leaves it unsent, and the picture goes on.
func TestWhatMovedAndWasNotSentIsForgotten(t *testing.T) {
	s, v := alone(t)
	s.now = s.now.Add(time.Second)
	s.scroll(image.Rectangle{Max: s.size}, image.Pt(0, 6), 1)
	s.sheet.Look()
	v.layer.Look(s.now)
	if _, _, found := v.layer.Shift(v.layer.Dear(), s.now); !found {
		t.Fatal("nothing moved")
	}
	s.scroll(image.Rectangle{Max: s.size}, image.Pt(0, 6), 2)
	s.sheet.Look()
	v.layer.Look(s.now)
	if _, bytes, err := v.layer.Change(tile.MaxMessage, &s.frame, s.now); err != nil || bytes > 0 || v.screen.Shifts > 0 {
		t.Errorf("%d bytes of a whole screen, with %d moves: %v", bytes, v.screen.Shifts, err)
	}
	s.settle()
}

// TestScrollingOverWhatTheViewerLacks: that comes whole.
func TestScrollingOverWhatTheViewerLacks(t *testing.T) {
	s, v := alone(t)
	s.now = s.now.Add(time.Second)
	if err := v.flow.Take(tile.Report{N: v.screen.N, Bad: 1}, s.now); err != nil { // then it is taken to have nothing
		t.Fatal(err)
	}
	v.layer.RescueAt(s.now)
	v.screen.Spoil()
	v.behind = true
	s.video()
	for i := range 40 { // no longer than until some of it is there again
		if s.draw(image.Rect(0, 0, 10, 10), uint64(i)); v.layer.Ready(s.now) {
			if _, err := v.layer.Still(&s.frame, wide, s.now); err != nil {
				t.Fatal(err)
			}
		}
		s.bring(v, tile.MaxMessage)
		if sure, all := v.layer.Exact(); sure > all*19/20 {
			break
		}
	}
	shifts := 0
	for i := range 10 {
		s.scroll(image.Rectangle{Max: s.size}, image.Pt(0, 6), uint64(i))
		if shifted, _ := s.bring(v, 1<<30); shifted > 0 {
			shifts++
		}
	}
	if shifts == 0 {
		t.Error("nothing moved")
	}
	s.settle()
}

// TestWhateverScrollsIsExactInTheEnd: scrolled, drawn upon, too much for tiles, and seen by video in between.
func TestWhateverScrollsIsExactInTheEnd(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 3))
		s, v := alone(t)
		for i := range uint64(60) {
			part := image.Rectangle{Max: s.size}
			if random.IntN(2) == 0 {
				part = image.Rect(random.IntN(200), random.IntN(200), 300+random.IntN(340), 250+random.IntN(230))
			}
			limit := tile.MaxMessage
			switch random.IntN(8) {
			case 0:
				limit = 100 // too much in any case
			case 1:
				s.draw(image.Rect(0, 0, 64, 64).Add(image.Pt(random.IntN(600), random.IntN(400))).Intersect(part), i)
			case 2:
				s.scroll(part, image.Pt(random.IntN(200)-100, random.IntN(200)-100), i)
			}
			s.scroll(part, image.Pt(random.IntN(20)-10, random.IntN(40)-20), i)
			s.bring(v, limit)
			if random.IntN(12) == 0 {
				s.now = s.now.Add(150 * time.Millisecond)
				if v.layer.Ready(s.now) {
					if _, err := v.layer.Still(&s.frame, wide, s.now); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		s.settle()
		if t.Failed() {
			t.Fatalf("seed %d, with %d shifts", seed, v.screen.Shifts)
		}
	}
}

func abs(v int) int { return max(v, -v) }

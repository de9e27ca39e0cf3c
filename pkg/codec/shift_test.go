package codec

import (
	"fmt"
	"image"
	"math/rand/v2"
	"slices"
	"testing"
)

// scroll has every pixel of the screen be the one so far away, and what comes into sight be new.
func (s *screenTiles) scroll(by image.Point, r *rand.Rand) {
	s.t.Helper()
	before := slices.Clone(s.pix)
	for y := range s.size.Y {
		for x := range s.size.X {
			to, from := (y*s.size.X+x)*4, ((y+by.Y)*s.size.X+x+by.X)*4
			if image.Pt(x, y).Add(by).In(image.Rectangle{Max: s.size}) {
				copy(s.pix[to:to+4], before[from:from+4])
				continue
			}
			v := byte(r.IntN(4)) * 40
			s.pix[to], s.pix[to+1], s.pix[to+2] = v, v+3, 200
		}
	}
	s.update()
}

// grid is all cells.
func (s *screenTiles) grid() image.Rectangle {
	return image.Rect(0, 0, (s.size.X+63)/64, (s.size.Y+15)/16)
}

// shift does to what the viewer has what Shift says of it.
func (s *screenTiles) shift(of image.Rectangle, by image.Point) {
	s.tiles.Shift(of, by)
	wide := (s.size.X + 63) / 64
	at := func(p image.Point) *uint32 {
		i := p.Y/16*wide + p.X/64
		return &s.has[i*64*16+p.Y%16*s.cell(i).Dx()+p.X%64]
	}
	before := make([]uint32, s.size.X*s.size.Y)
	for i := range before {
		before[i] = *at(image.Pt(i%s.size.X, i/s.size.X))
	}
	for y := of.Min.Y; y < of.Max.Y; y++ {
		for x := of.Min.X; x < of.Max.X; x++ {
			*at(image.Pt(x, y)) = before[(y+by.Y)*s.size.X+x+by.X]
		}
	}
}

// kept is what of the screen was on it before it scrolled.
func (s *screenTiles) kept(by image.Point) image.Rectangle {
	whole := image.Rectangle{Max: s.size}
	return whole.Sub(by).Intersect(whole)
}

func TestWhatMovesIsFound(t *testing.T) {
	for _, size := range []image.Point{{640, 480}, {330, 322}} {
		for _, by := range []image.Point{{0, 6}, {0, -6}, {0, 110}, {0, -99}, {7, 0}, {-120, 0}, {31, -17}, {-3, -3}, {64, 16}} {
			t.Run(fmt.Sprint(size, by), func(t *testing.T) {
				s, r := newScreenTiles(t, size.X, size.Y), rand.New(rand.NewPCG(1, 2))
				copy(s.pix, screen(size.X, size.Y))
				fill(s.pix, size.X*4, image.Rect(0, 0, 130, 40), 9) // of one colour
				s.update()
				s.tiles.Changed()
				for i := range s.tiles.Count() {
					s.send(i)
				}
				for range 3 {
					s.scroll(by, r)
					got, found := s.tiles.Find(s.tiles.Changed())
					if !found || got != by {
						t.Fatalf("it moved by %v, found %v %t", by, got, found)
					}
					same := make([]bool, s.tiles.Count())
					s.tiles.Same(s.grid(), by, same)
					cells := s.kept(by)
					cells.Min, cells.Max = image.Pt((cells.Min.X+63)/64*64, (cells.Min.Y+15)/16*16), image.Pt(cells.Max.X/64*64, cells.Max.Y/16*16)
					grown := s.tiles.Grow(cells, by)
					if want := s.kept(by); grown != want {
						t.Fatalf("%v grow to %v, want %v", cells, grown, want)
					}
					s.shift(grown, by)
					for i, is := range same {
						if inside := s.cell(i).Add(by).In(image.Rectangle{Max: size}); is != inside {
							t.Fatalf("cell %d is the same: %t; its pixels were on the screen: %t", i, is, inside)
						}
						if n := s.send(i); is && n > 5 {
							t.Fatalf("cell %d, which has moved only, takes %d bytes", i, n)
						}
					}
				}
			})
		}
	}
}

// begin shows a screen, and has the viewer have all of it.
func (s *screenTiles) begin() {
	copy(s.pix, screen(640, 480))
	s.update()
	s.tiles.Changed()
	for i := range s.tiles.Count() {
		s.send(i)
	}
}

// TestPartMoves: about it, nothing does.
func TestPartMoves(t *testing.T) {
	s, r := newScreenTiles(t, 640, 480), rand.New(rand.NewPCG(1, 2))
	s.begin()
	before := slices.Clone(s.pix)
	by, frame := image.Pt(0, 5), image.Rect(100, 100, 500, 400)
	s.scroll(by, r)
	for y := range 480 {
		for x := range 640 {
			if !image.Pt(x, y).In(frame) {
				copy(s.pix[(y*640+x)*4:][:4], before[(y*640+x)*4:])
			}
		}
	}
	s.update()
	if got, found := s.tiles.Find(s.tiles.Changed()); !found || got != by {
		t.Fatalf("part of it moved by %v, found %v %t", by, got, found)
	}
	of := image.Rect(2, 7, 7, 24)
	same := make([]bool, of.Dx()*of.Dy())
	s.tiles.Same(of, by, same)
	if slices.Contains(same, false) {
		t.Error("a cell that moved whole is not the same")
	}
	grown := s.tiles.Grow(image.Rect(2*64, 7*16, 7*64, 24*16), by)
	if want := image.Rect(100, 100, 500, 395); !want.In(grown) {
		t.Errorf("it grows to %v, want all of %v", grown, want)
	}
	s.shift(grown, by)
	for i := range s.tiles.Count() {
		s.send(i)
	}
}

func TestWhatDoesNotMoveIsNotFound(t *testing.T) {
	for name, draw := range map[string]func(s *screenTiles, r *rand.Rand){
		"nothing changed": func(*screenTiles, *rand.Rand) {},
		"other noise": func(s *screenTiles, r *rand.Rand) {
			for i := range s.pix {
				s.pix[i] = byte(r.Uint32())
			}
		},
		"one colour": func(s *screenTiles, _ *rand.Rand) { fill(s.pix, 640*4, image.Rect(0, 0, 640, 480), 77) },
		"stripes everywhere": func(s *screenTiles, _ *rand.Rand) {
			for y := range 480 {
				fill(s.pix, 640*4, image.Rect(0, y, 640, y+1), byte(y%2))
			}
		},
		"a brush": func(s *screenTiles, _ *rand.Rand) { fill(s.pix, 640*4, image.Rect(200, 200, 260, 260), 3) },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := newScreenTiles(t, 640, 480), rand.New(rand.NewPCG(1, 2))
			s.begin()
			draw(s, r)
			s.update()
			if by, found := s.tiles.Find(s.tiles.Changed()); found {
				t.Fatalf("it moved by %v, they say", by)
			}
		})
	}
}

func TestFindingWhatMovesMakesNothingNew(t *testing.T) {
	s, r := newScreenTiles(t, 640, 480), rand.New(rand.NewPCG(1, 2))
	copy(s.pix, screen(640, 480))
	s.update()
	for i := range s.tiles.Count() {
		s.send(i)
	}
	s.tiles.Changed()
	s.scroll(image.Pt(0, 6), r)
	cells, same := slices.Clone(s.tiles.Changed()), make([]bool, s.tiles.Count())
	if n := testing.AllocsPerRun(20, func() {
		s.tiles.Find(cells)
		s.tiles.Same(s.grid(), image.Pt(0, 6), same)
		s.tiles.Shift(s.tiles.Grow(image.Rect(64, 64, 512, 400), image.Pt(0, 6)), image.Pt(0, 6))
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkShift(b *testing.B) {
	const w, h = 1920, 1080
	for _, by := range []image.Point{{0, 6}, {0, -300}, {9, 13}} {
		s, r := newScreenTiles(b, w, h), rand.New(rand.NewPCG(1, 2))
		copy(s.pix, screen(w, h))
		s.update()
		var buf []byte
		for i := range s.tiles.Count() {
			buf, _ = s.tiles.Code(buf[:0], i)
		}
		s.tiles.Changed()
		s.scroll(by, r)
		cells, same := slices.Clone(s.tiles.Changed()), make([]bool, s.tiles.Count())
		for name, run := range map[string]func(){
			"find":  func() { s.tiles.dx, s.tiles.dy = 0, 0; s.tiles.Find(cells) },
			"again": func() { s.tiles.Find(cells) },
			"same":  func() { s.tiles.Same(s.grid(), by, same) },
			"shift": func() { s.tiles.Shift(s.kept(by), by) },
		} {
			if name != "shift" || by.Y == 6 { // it changes what the viewer has
				b.Run(fmt.Sprint(by, "/", name), func(b *testing.B) {
					for b.Loop() {
						run()
					}
				})
			}
		}
	}
}

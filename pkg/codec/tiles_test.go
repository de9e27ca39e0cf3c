package codec

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"easel/pkg/codec/tiletest"
)

var updateGolden = flag.Bool("update", false, "write the golden tiles anew")

// goldenTiles is read by the viewer's tests too.
const goldenTiles = "../viewer/src/testdata/tiles.json"

// screenTiles is a picture, what codes its tiles, and what a viewer has of them.
type screenTiles struct {
	t     testing.TB
	size  image.Point
	pix   []byte
	pic   *Picture
	tiles *Tiles
	has   []uint32
}

func newScreenTiles(t testing.TB, w, h int) *screenTiles {
	t.Helper()
	p, err := NewPicture(w, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	tiles := p.Tiles()
	return &screenTiles{t, image.Pt(w, h), make([]byte, w*h*4), p, tiles, make([]uint32, tiles.Count()*64*16)}
}

func (s *screenTiles) update() {
	s.t.Helper()
	if _, err := s.pic.Update(s.pix, s.size.X*4, full(s.size.X, s.size.Y)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screenTiles) cell(i int) image.Rectangle {
	wide := (s.size.X + 63) / 64
	at := image.Pt(i%wide*64, i/wide*16)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(64, 16))}.Intersect(image.Rectangle{Max: s.size})
}

// want is a cell's pixels as the screen has them.
func (s *screenTiles) want(i int) []uint32 {
	var out []uint32
	r := s.cell(i)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			b := s.pix[(y*s.size.X+x)*4:]
			out = append(out, uint32(b[2])|uint32(b[1])<<8|uint32(b[0])<<16)
		}
	}
	return out
}

// send codes a cell, reads it as a viewer does and compares.
func (s *screenTiles) send(i int) (bytes int) {
	s.t.Helper()
	b, hash := s.tiles.Code(nil, i)
	r, mine := s.cell(i), s.has[i*64*16:(i+1)*64*16]
	if err := tiletest.Decode(b, r.Dx(), r.Dy(), mine); err != nil {
		s.t.Fatalf("cell %d: %v", i, err)
	}
	got, want := mine[:r.Dx()*r.Dy()], s.want(i)
	if !slices.Equal(got, want) {
		s.t.Fatalf("cell %d is not what the screen has", i)
	}
	if tiletest.HashOf(i, b, got) != hash {
		s.t.Fatalf("cell %d: the hash is not of its pixels", i)
	}
	return len(b)
}

func TestTilesAreExact(t *testing.T) {
	for _, size := range []image.Point{{640, 480}, {330, 322}, {66, 18}, {16, 16}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := newScreenTiles(t, size.X, size.Y)
			copy(s.pix, screen(size.X, size.Y))
			s.update()
			if got := len(s.tiles.Changed()); got != s.tiles.Count() {
				t.Fatalf("%d cells changed, want all %d", got, s.tiles.Count())
			}
			for i := range s.tiles.Count() {
				s.send(i)
			}
			r := rand.New(rand.NewPCG(5, 6))
			for range 20 { // strokes, noise, colours: what differs from what the viewer has
				w, h := 1+r.IntN(size.X), 1+r.IntN(size.Y)
				area := image.Rect(0, 0, w, h).Add(image.Pt(r.IntN(size.X), r.IntN(size.Y))).Intersect(image.Rectangle{Max: size})
				noise := r.IntN(3)
				for y := area.Min.Y; y < area.Max.Y; y++ {
					for x := area.Min.X; x < area.Max.X; x++ {
						at := (y*size.X + x) * 4
						switch noise {
						case 0:
							s.pix[at], s.pix[at+1], s.pix[at+2] = byte(x), byte(y), 7
						case 1:
							s.pix[at] = byte(r.Uint32())
							s.pix[at+1], s.pix[at+2] = byte(r.Uint32()), byte(r.Uint32())
						case 2:
							s.pix[at] += byte(r.IntN(3))
						}
					}
				}
				s.update()
				for _, i := range s.tiles.Changed() {
					s.send(int(i))
				}
			}
			for i := range s.tiles.Count() {
				if n := s.send(i); n > 5 {
					t.Fatalf("cell %d, which the viewer has, takes %d bytes", i, n)
				}
			}
		})
	}
}

func TestTilesOfNoiseTakeNoMoreThanTheirPixels(t *testing.T) {
	s := newScreenTiles(t, 640, 480)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range s.pix {
		s.pix[i] = byte(r.Uint32())
	}
	s.update()
	for i := range s.tiles.Count() {
		if n := s.send(i); n > MaxTile {
			t.Fatalf("cell %d takes %d bytes", i, n)
		}
	}
}

func TestCellsOfOneColourHaveNoDetail(t *testing.T) {
	s := newScreenTiles(t, 640, 480)
	fill(s.pix, s.size.X*4, image.Rectangle{Max: s.size}, 200)
	s.update()
	if n := s.tiles.Detailed(s.tiles.Changed()); n != 0 {
		t.Errorf("%d cells of a screen of one colour have detail", n)
	}
	fill(s.pix, s.size.X*4, image.Rect(100, 100, 140, 110), 7)
	s.update()
	changed := s.tiles.Changed()
	if n := s.tiles.Detailed(changed); n != len(changed) || n != 2 {
		t.Errorf("%d of %d cells that a square lies in have detail, want both", n, len(changed))
	}
	if n := s.tiles.Detailed(nil); n != 0 {
		t.Errorf("%d of no cells have detail", n)
	}
}

func TestForgottenTilesAreCodedWhole(t *testing.T) {
	s := newScreenTiles(t, 640, 480)
	copy(s.pix, screen(640, 480))
	s.update()
	const i = 155
	s.send(i)
	clear(s.has)
	s.tiles.Forget(i)
	s.send(i)
	clear(s.has)
	s.tiles.Reset()
	s.send(i)
}

// TestChangesAreListedOnce: whoever encodes meanwhile takes nothing from the list, and the list nothing from who encodes.
func TestChangesAreListedOnce(t *testing.T) {
	const w, h = 640, 480
	p, e := newPair(t, w, h)
	tiles := p.Tiles()
	src := make([]byte, w*h*4)
	fill(src, w*4, image.Rect(70, 20, 71, 21), 200)
	if _, err := p.Update(src, w*4, full(w, h)); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Encode(p, FrameOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := tiles.Changed(); !slices.Equal(got, []uint16{11}) {
		t.Fatalf("cells %v changed, want 11", got)
	}
	if got := tiles.Changed(); len(got) != 0 {
		t.Fatalf("cells %v are listed again", got)
	}
}

// TestDetailCountsOnceWhatChangesOften: a long stroke that goes by tiles must not make the next video frame coarse.
func TestDetailCountsOnceWhatChangesOften(t *testing.T) {
	const w, h = 640, 480
	p, _ := newPair(t, w, h)
	src := screen(w, h)
	detail := func(v byte) uint64 {
		fill(src, w*4, image.Rect(100, 100, 110, 110), v)
		if _, err := p.Update(src, w*4, full(w, h)); err != nil {
			t.Fatal(err)
		}
		return uint64(p.c.detail_changed)
	}
	first := detail(255)
	for i := range 100 {
		detail(byte(i))
	}
	if last := detail(255); last != first || uint64(p.c.detail_all) != first {
		t.Fatalf("the changed detail is %d after many changes and %d after one, of %d in all", last, first, uint64(p.c.detail_all))
	}
}

func TestCodingTilesAllocatesNothing(t *testing.T) {
	s := newScreenTiles(t, 640, 480)
	buf := make([]byte, 0, 4*MaxTile)
	v := byte(0)
	got := testing.AllocsPerRun(50, func() {
		v++
		fill(s.pix, s.size.X*4, image.Rect(100, 100, 110, 110), v)
		s.update()
		for _, i := range s.tiles.Changed() {
			buf, _ = s.tiles.Code(buf[:0], int(i))
		}
	})
	if got > 1 { // the test's own rectangles
		t.Fatalf("%v allocations, want none", got)
	}
}

type goldenTile struct {
	Name    string `json:"name"`
	Cell    int    `json:"cell"`
	Columns int    `json:"columns"`
	Rows    int    `json:"rows"`
	Before  string `json:"before"` // RGB, what the viewer has; "" for nothing
	Coded   string `json:"coded"`
	Pixels  string `json:"pixels"` // RGB
	Hash    uint32 `json:"hash"`
}

func goldens(t *testing.T) []goldenTile {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 8))
	var out []goldenTile
	for _, c := range []struct {
		name          string
		w, h, cell    int
		before, after func(x, y int) uint32
	}{
		{"one colour", 64, 16, 0, nil, func(int, int) uint32 { return 0x336699 }},
		{"one colour over a page", 64, 16, 0, func(x, y int) uint32 { return uint32(x * y) }, func(int, int) uint32 { return 0x0000ff }},
		{"a stroke over one colour", 64, 16, 0, func(int, int) uint32 { return 0xfafafa }, func(x, y int) uint32 {
			if x+y == 30 {
				return 0x102030
			}
			return 0xfafafa
		}},
		{"a gradient", 64, 16, 0, nil, func(x, y int) uint32 { return uint32(x*3)<<16 | uint32(y*9)<<8 | uint32(x+y) }},
		{"text", 64, 16, 0, nil, func(x, y int) uint32 {
			if x*y%5 == 1 || x%9 == 3 {
				return 0x202020
			}
			return 0xf5f5f5
		}},
		{"a photograph", 64, 16, 0, nil, func(x, y int) uint32 {
			v := uint32(90 + x/2 + r.IntN(20))
			return v<<16 | (v+5)<<8 | (v - 9)
		}},
		{"noise", 64, 16, 0, nil, func(int, int) uint32 { return r.Uint32() & 0xffffff }},
		{"a stroke over a page", 64, 16, 0, func(x, y int) uint32 { return uint32(x * y) }, func(x, y int) uint32 {
			if (x-30)*(x-30)+(y-8)*(y-8) < 25 {
				return 0xff8800
			}
			return uint32(x * y)
		}},
		{"nothing new", 64, 16, 0, func(x, y int) uint32 { return uint32(x * y) }, func(x, y int) uint32 { return uint32(x * y) }},
		{"the corner of a screen", 74, 22, 3, nil, func(x, y int) uint32 { return uint32(x*1000 + y) }},
		{"the corner of a screen, changed", 74, 22, 3, func(x, y int) uint32 { return uint32(x*1000 + y) }, func(x, y int) uint32 { return uint32(x*1001 + y) }},
	} {
		s := newScreenTiles(t, c.w, c.h)
		draw := func(f func(x, y int) uint32) {
			for y := range c.h {
				for x := range c.w {
					v, at := f(x, y), (y*c.w+x)*4
					s.pix[at], s.pix[at+1], s.pix[at+2] = byte(v), byte(v>>8), byte(v>>16)
				}
			}
			s.update()
		}
		g := goldenTile{Name: c.name, Cell: c.cell, Columns: s.cell(c.cell).Dx(), Rows: s.cell(c.cell).Dy()}
		if c.before != nil {
			draw(c.before)
			g.Before = rgbHex(s.want(c.cell))
			s.send(c.cell)
		}
		draw(c.after)
		var coded []byte
		coded, g.Hash = s.tiles.Code(nil, c.cell)
		g.Coded, g.Pixels = hex.EncodeToString(coded), rgbHex(s.want(c.cell))
		out = append(out, g)
	}
	return out
}

func rgbHex(pix []uint32) string {
	var b []byte
	for _, v := range pix {
		b = append(b, byte(v), byte(v>>8), byte(v>>16))
	}
	return hex.EncodeToString(b)
}

// TestGoldenTiles: what the viewer's tests read is what is made here.
func TestGoldenTiles(t *testing.T) {
	made := goldens(t)
	if *updateGolden {
		b, err := json.MarshalIndent(made, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenTiles, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(goldenTiles)
	if err != nil {
		t.Fatal(err)
	}
	var want []goldenTile
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != len(made) {
		t.Fatalf("%d tiles, want %d; -update writes them anew", len(want), len(made))
	}
	for i, g := range made {
		if g != want[i] {
			t.Errorf("%s is coded otherwise than %s has it; -update writes it anew", g.Name, goldenTiles)
		}
	}
}

func FuzzTileRoundTrip(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{4, 5, 6}, uint8(64), uint8(16))
	f.Add([]byte{0}, []byte{255, 255, 255, 255}, uint8(5), uint8(3))
	f.Fuzz(func(t *testing.T, before, after []byte, w, h uint8) {
		s := newScreenTiles(t, 16+int(w)&^1, 16+int(h)&^1)
		for _, drawn := range [][]byte{before, after} {
			if len(drawn) > 0 {
				for i := range s.pix {
					s.pix[i] = drawn[i%len(drawn)]
				}
			}
			s.update()
			for i := range s.tiles.Count() {
				s.send(i)
			}
		}
	})
}

func TestTilesMakeNothingNew(t *testing.T) {
	const w, h = 640, 480
	s := newScreenTiles(t, w, h)
	copy(s.pix, screen(w, h))
	s.update()
	s.tiles.Changed()
	buf := make([]byte, 0, s.tiles.Count()*MaxTile)
	brush, rects, shade, cells := image.Rect(90, 70, 140, 120), []image.Rectangle{image.Rect(90, 70, 140, 120)}, byte(0), 0
	n := testing.AllocsPerRun(50, func() {
		shade++
		fill(s.pix, w*4, brush, shade)
		if _, err := s.pic.Update(s.pix, w*4, rects); err != nil {
			t.Fatal(err)
		}
		buf = buf[:0]
		for _, c := range s.tiles.Changed() {
			buf, _ = s.tiles.Code(buf, int(c))
			cells++
		}
	})
	if n > 0 || cells < 51*8 {
		t.Errorf("%v allocations a change, want none; %d cells were coded in all", n, cells)
	}
}

func BenchmarkTiles(b *testing.B) {
	const w, h = 1920, 1080
	base := screen(w, h)
	for _, m := range []struct {
		name   string
		forget bool
		draw   func(i int) image.Rectangle
	}{
		{"brush", false, func(i int) image.Rectangle { return image.Rect(600+i%200, 400+i%100, 624+i%200, 424+i%100) }},
		{"200x200", false, func(int) image.Rectangle { return image.Rect(600, 400, 800, 600) }},
		{"one colour", false, func(int) image.Rectangle { return image.Rect(0, 0, w, h) }},
		{"screen", true, func(int) image.Rectangle { return image.Rectangle{} }},
	} {
		b.Run(m.name, func(b *testing.B) {
			s := newScreenTiles(b, w, h)
			copy(s.pix, base)
			s.update()
			buf := make([]byte, 0, s.tiles.Count()*MaxTile)
			for i := range s.tiles.Count() {
				buf, _ = s.tiles.Code(buf, i)
			}
			s.tiles.Changed()
			total, cells := 0, 0
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				area := m.draw(i)
				fill(s.pix, w*4, area, byte(i*37))
				if _, err := s.pic.Update(s.pix, w*4, []image.Rectangle{area}); err != nil {
					b.Fatal(err)
				}
				list := slices.Clone(s.tiles.Changed())
				if m.forget {
					s.tiles.Reset()
					list = list[:0]
					for i := range s.tiles.Count() {
						list = append(list, uint16(i))
					}
				}
				b.StartTimer()
				buf = buf[:0]
				for _, i := range list {
					buf, _ = s.tiles.Code(buf, int(i))
				}
				total += len(buf)
				cells += len(list)
			}
			b.ReportMetric(float64(total)/float64(b.N), "bytes/frame")
			b.ReportMetric(float64(cells)/float64(b.N), "cells/frame")
		})
	}
}

package codec

import (
	"image"
	"math"
	"math/rand/v2"
	"testing"
)

// The planes are what BT.709 and, in the short range, BT.601 say, rounded to the nearest, whether the processor's vectors make them or not: the last columns of a picture are too few
// for those.
func TestColoursAreRoundedToTheNearest(t *testing.T) {
	const w, h = 330, 48
	r := rand.New(rand.NewPCG(7, 8))
	src := make([]byte, w*h*4)
	for i := range src {
		src[i] = byte(r.Uint32())
		if i/4%w < 8 { // and what is as strong as can be
			src[i] = byte(r.IntN(2) * 255)
		}
	}
	for _, c := range []Colours{{Chroma: Chroma420}, {Chroma: Chroma444}, {Chroma420, true}, {Chroma444, true}} {
		p, err := NewPictureOf(c, w, h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Update(src, w*4, full(w, h)); err != nil {
			t.Fatal(err)
		}
		black, luminance, colour, kr, kb := 0.0, 1.0, 1.0, 0.2126, 0.0722
		if c.Short {
			black, luminance, colour, kr, kb = 16, 219./255, 224./255, 0.299, 0.114
		}
		luma := func(b, g, r float64) float64 { return kb*b + (1-kr-kb)*g + kr*r }
		near := func(what string, x, y int, got byte, want float64) {
			if want = min(max(want, 0), 255); math.Abs(float64(got)-want) > 0.52 { // weights have fifteen bits
				t.Errorf("%+v: %s at %d,%d is %d, want %.2f", c, what, x, y, got, want)
			}
		}
		planes := Planes(p)
		for y := range h {
			for x := range w {
				px := src[(y*w+x)*4:]
				near("luma", x, y, planes[0][y*w+x], black+luminance*luma(float64(px[0]), float64(px[1]), float64(px[2])))
			}
		}
		side := 1
		if c.Chroma == Chroma420 {
			side = 2
		}
		for y := 0; y < h; y += side {
			for x := 0; x < w; x += side {
				var mean [3]float64
				for i := range side * side {
					px := src[((y+i/side)*w+x+i%side)*4:]
					for ch := range 3 {
						mean[ch] += float64(px[ch]) / float64(side*side)
					}
				}
				at, l := y/side*(w/side)+x/side, luma(mean[0], mean[1], mean[2])
				near("blue", x, y, planes[1][at], 128+colour*(mean[0]-l)/(2*(1-kb)))
				near("red", x, y, planes[2][at], 128+colour*(mean[2]-l)/(2*(1-kr)))
			}
		}
		p.Close()
	}
}

func TestColourLossIsThatOfFineColour(t *testing.T) {
	const w, h = 320, 160
	p, err := NewPicture(w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src := make([]byte, w*h*4)
	look := func(want float64) {
		t.Helper()
		if _, err := p.Update(src, w*4, full(w, h)); err != nil {
			t.Fatal(err)
		}
		if got := p.ColourLoss(); math.Abs(got-want) > 0.03 {
			t.Errorf("%.4f of the picture is lost, want %.4f", got, want)
		}
	}
	for i := range src { // grey, as fine as can be
		src[i] = byte(i / 4 * 97)
	}
	look(0)
	for y := range 32 { // red and blue lines, a pixel wide
		for x := range w {
			copy(src[(y*w+x)*4:], [][]byte{{0, 0, 200, 0}, {200, 0, 0, 0}}[x%2])
		}
	}
	look(0.2)
	fill(src, w*4, image.Rect(0, 0, w, h), 0) // large patches
	for y := range h {
		for x := range w / 2 {
			src[(y*w+x)*4] = 200
		}
	}
	look(0)
}

func BenchmarkColourLoss(b *testing.B) {
	const w, h = 1920, 1080
	p, _ := newPair(b, w, h)
	if _, err := p.Update(screen(w, h), w*4, full(w, h)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.ColourLoss()
	}
}

package xclient

import (
	"math"
	"math/rand/v2"
)

// Photograph returns a noisy photograph as BGRX rows: soft light, round shapes and the grain of a sensor. The same seed
// gives the same picture.
func Photograph(width, height int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	type ball struct{ x, y, r, c float64 }
	balls := make([]ball, 12)
	for i := range balls {
		balls[i] = ball{rng.Float64() * float64(width), rng.Float64() * float64(height), 40 + rng.Float64()*200, rng.Float64()}
	}
	grain := make([]int8, 1<<16)
	for i := range grain {
		grain[i] = int8(max(-60, min(60, rng.NormFloat64()*14)))
	}
	out := make([]byte, width*height*4)
	for y := range height {
		at := rng.IntN(len(grain))
		for x := range width {
			l := 90 + 60*math.Sin(float64(x)/300+float64(seed))*math.Cos(float64(y)/200)
			tint := 0.5
			for _, b := range balls {
				dx, dy := float64(x)-b.x, float64(y)-b.y
				if dx*dx+dy*dy < b.r*b.r {
					l, tint = l+40, b.c
				}
			}
			g := float64(grain[(at+x)&0xffff])
			o := (y*width + x) * 4
			out[o], out[o+1], out[o+2] = level(l*(1.5-tint)+g), level(l+g), level(l*(0.5+tint)+g)
		}
	}
	return out
}

func level(v float64) byte { return byte(max(0, min(255, v))) }

// Document returns detailed content as BGRX rows: columns of text-like strokes with pictures between them.
func Document(width, height int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	out := make([]byte, width*height*4)
	for i := range out {
		out[i] = 245
	}
	photo := Photograph(480, 320, 99)
	const line = 18
	for y := 0; y+line <= height; y += line {
		for x := 12; x+10 < width; {
			word := 2 + rng.IntN(9)
			for range word {
				if x+10 < width {
					glyph(out, width, x, y+3, rng)
				}
				x += 9
			}
			x += 7
		}
	}
	for y := 40; y+320 <= height; y += 560 {
		for x := 200; x+480 <= width; x += 800 {
			for row := range 320 {
				copy(out[((y+row)*width+x)*4:], photo[row*480*4:(row+1)*480*4])
			}
		}
	}
	return out
}

// glyph draws a letter-like figure of 8 by 12 pixels: a few dark strokes with soft edges.
func glyph(out []byte, width, x, y int, rng *rand.Rand) {
	shade := byte(20 + rng.IntN(60))
	for range 3 {
		dx, dy := rng.IntN(7), rng.IntN(11)
		length, down := 3+rng.IntN(6), rng.IntN(2) == 0
		for i := range length {
			px, py := dx, dy
			if down {
				py += i
			} else {
				px += i
			}
			if px < 8 && py < 12 {
				o := ((y+py)*width + x + px) * 4
				out[o], out[o+1], out[o+2] = shade, shade, shade
			}
		}
	}
}

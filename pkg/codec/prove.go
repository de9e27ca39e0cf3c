package codec

import (
	"fmt"
	"image"
	"math"
	"time"
)

// Bound is how far a decoded picture may be from the chart that was encoded.
type Bound struct {
	PSNR  float64 // dB of the whole picture, at least
	Worst int     // levels, of the worst channel in the middle of the worst patch, at most
}

// bounds have some room above what each encoder makes of the chart at ProofRate (TestProofsAreNearTheirBounds).
var bounds = map[Format]Bound{
	H264: {33, 4}, H264444: {44, 4},
	VP9: {33, 4}, VP9444: {44, 4},
	AV1: {33, 6}, AV1444: {44, 6},
}

// ProofRate is for proofs: nothing is coarse for want of bits.
var ProofRate = Rate{Quality: 18, Kbps: 100_000, BufferMS: 1000}

// Proof is what an encoder was seen to make.
type Proof struct {
	Info      Info
	MS        float64 // that the first picture took
	Bound             // reached: the worse of two pictures
	Allowed   Bound
	Told      Told
	Decoder   string // that looked at them
	NoDecoder error  // why none did
}

// Prove has an encoder make two pictures of a chart, whole and changed in part, decodes them by a decoder of another make and compares them, and what
// the stream tells of its colours, with what they should be. An error says what is not as it should be.
func Prove(c Coding, size image.Point, open func() (Encoder, error)) (Proof, error) {
	p := Proof{Allowed: bounds[c.Format]}
	picture, err := NewPictureOf(c.Colours(), size.X, size.Y)
	if err != nil {
		return p, err
	}
	defer picture.Close()
	e, err := open()
	if err != nil {
		return p, err
	}
	defer e.Close()
	p.Info = e.Info()
	d, err := NewDecoder(c.Format)
	if err != nil {
		p.NoDecoder = err
	} else {
		defer d.Close()
	}
	for i := range 2 {
		pix := Chart(size, i)
		began := time.Now()
		if _, err := picture.Update(pix, size.X*4, []image.Rectangle{{Max: size}}); err != nil {
			return p, err
		}
		pkt, err := e.Encode(picture, FrameOptions{Key: i == 0})
		if err != nil {
			return p, err
		}
		if i == 0 {
			p.MS = float64(time.Since(began).Microseconds()) / 1000
		}
		if pkt.Key != (i == 0) || len(pkt.Units) == 0 {
			return p, fmt.Errorf("frame %d, of %d bytes, is a keyframe: %v", i, pkt.Bytes, pkt.Key)
		}
		if d == nil {
			continue
		}
		got, told, err := d.Decode(pkt.Units, size.X, size.Y)
		if err != nil {
			return p, err
		}
		if p.Told = told; told != c.tells() {
			return p, fmt.Errorf("the stream tells of colours as %+v, want %+v", told, c.tells())
		}
		p.Decoder = d.Name()
		if err := p.compare(got, pix, size, i); err != nil {
			return p, err
		}
	}
	return p, nil
}

// compare takes in how near a decoded picture is.
func (p *Proof) compare(got, want []byte, size image.Point, frame int) error {
	b := Bound{PSNR(got, want), worstPatch(got, want, size)}
	if frame == 0 || b.PSNR < p.PSNR {
		p.PSNR = b.PSNR
	}
	p.Worst = max(p.Worst, b.Worst)
	if b.PSNR < p.Allowed.PSNR || b.Worst > p.Allowed.Worst {
		return fmt.Errorf("picture %d is decoded to one of %.1f dB in which a colour is off by %d, want %.0f dB or more and %d or less",
			frame, b.PSNR, b.Worst, p.Allowed.PSNR, p.Allowed.Worst)
	}
	return nil
}

// The numbers of H.273 (colour.h).
const (
	primaries709, transferSRGB = 1, 13
	matrix709, matrix601       = 1, 6
)

// tells is what the stream should.
func (c Coding) tells() Told {
	t := Told{Full: !c.Short, Matrix: matrix709, Primaries: primaries709, Transfer: transferSRGB}
	if c.Short {
		t.Matrix = matrix601
	}
	if c.Format == VP9 || c.Format == VP9444 { // it has no word for them
		t.Primaries, t.Transfer = 0, 0
	}
	return t
}

// chartColumns and chartRows are the patches of a chart: a cube of four levels a channel.
const chartColumns, chartRows = 16, 4

// Chart is a picture of BGRX: in its upper half flat patches, below that gentle slopes of colour, and fine lines. The next one has some patches in
// others' colours.
func Chart(size image.Point, number int) []byte {
	b := make([]byte, size.X*size.Y*4)
	for y := range size.Y {
		for x := range size.X {
			c := b[(y*size.X+x)*4:][:3]
			switch {
			case y < size.Y/2:
				row, patch := y*2*chartRows/size.Y, x*chartColumns/size.X
				if row == 1 {
					patch = (patch + number*5) % chartColumns
				}
				patch += row * chartColumns
				c[0], c[1], c[2] = byte(patch&3*85), byte(patch>>2&3*85), byte(patch>>4*85)
			case y < size.Y*3/4:
				c[0], c[1], c[2] = byte(x*255/size.X), byte(y*255/size.Y), byte(255-x*255/size.X)
			case x%16 == 0 || y%16 == 0:
				c[0], c[1], c[2] = 180, 180, 180
			default:
				c[0], c[1], c[2] = 60, 60, 60
			}
		}
	}
	return b
}

// worstPatch is how far the middle of any patch is off in any channel.
func worstPatch(got, want []byte, size image.Point) int {
	worst := 0
	for i := range chartColumns * chartRows {
		x, y := (2*(i%chartColumns)+1)*size.X/(2*chartColumns), (2*(i/chartColumns)+1)*size.Y/(4*chartRows)
		for ch := range 3 {
			at := (y*size.X+x)*4 + ch
			d := int(got[at]) - int(want[at])
			worst = max(worst, d, -d)
		}
	}
	return worst
}

// PSNR is how near two pictures of BGRX are, in dB.
func PSNR(a, b []byte) float64 {
	sum := 0.0
	for i := range a {
		if i%4 != 3 {
			d := float64(a[i]) - float64(b[i])
			sum += d * d
		}
	}
	return math.Round(100*math.Log10(255*255/(sum/float64(len(a)*3/4)+1e-6))) / 10
}

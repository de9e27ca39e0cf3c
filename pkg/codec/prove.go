package codec

import (
	"errors"
	"fmt"
	"image"
	"math"
)

// leastProof is how near a decoded chart must come to what was encoded, in dB: 4:2:0 alone takes it to about 40.
const leastProof = 30

var proofRate = Rate{Quality: 18, Kbps: 100_000, BufferMS: 1000}

// Prove encodes a picture by the processor's encoder of a format, and decodes it where a decoder is linked. An error says what is not as it should be.
func Prove(f Format) error {
	const w, h = 320, 240
	e, err := NewSoftware(Coding{Format: f}, w, h, 1, proofRate)
	if err != nil {
		return err
	}
	defer e.Close()
	p, err := NewPictureOf(Colours{Chroma: f.Chroma()}, w, h)
	if err != nil {
		return err
	}
	defer p.Close()
	pix := Chart(w, h)
	if _, err := p.Update(pix, w*4, []image.Rectangle{image.Rect(0, 0, w, h)}); err != nil {
		return err
	}
	pkt, err := e.Encode(p, FrameOptions{Key: true})
	if err != nil {
		return err
	}
	if !pkt.Key || len(pkt.Units) == 0 {
		return fmt.Errorf("prove %s: the first frame of %d bytes is no keyframe", f, pkt.Bytes)
	}
	got, err := DecodeKey(f, pkt.Units, w, h)
	if errors.Is(err, ErrNoDecoder) {
		return nil
	}
	if err != nil {
		return err
	}
	return Alike(got, pix)
}

// Chart is a picture of BGRX with flat patches of many colours, gentle slopes and fine lines.
func Chart(w, h int) []byte {
	b := make([]byte, w*h*4)
	for y := range h {
		for x := range w {
			px := b[(y*w+x)*4:]
			switch {
			case y < h/3:
				patch := x * 8 / w
				px[0], px[1], px[2] = byte(patch&1*200+20), byte(patch>>1&1*200+20), byte(patch>>2&1*200+20)
			case y < h*2/3:
				px[0], px[1], px[2] = byte(x*255/w), byte(y*255/h), byte(255-x*255/w)
			default:
				v := byte(60)
				if x%16 == 0 || y%16 == 0 {
					v = 180
				}
				px[0], px[1], px[2] = v, v, v
			}
		}
	}
	return b
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

// Alike tells whether a decoded picture of BGRX is the one that was encoded.
func Alike(got, want []byte) error {
	if dB := PSNR(got, want); dB < leastProof {
		return fmt.Errorf("the decoded picture is at %.1f dB of what was encoded, want %d", dB, leastProof)
	}
	return nil
}

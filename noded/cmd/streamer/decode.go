package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"time"
)

const (
	decoder = "ffmpeg"
	// decodeLimit is how long decoding one picture may take.
	decodeLimit = 15 * time.Second
	// leastPSNR is what a decoded chart must come to, in dB: 4:2:0 alone takes it to about 40.
	leastPSNR = 30
)

var errNoDecoder = errors.New("no decoder is at hand")

// chart is a picture of BGRX with flat patches of many colours, gentle slopes and fine lines.
func chart(w, h int) []byte {
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

// decode has ffmpeg make BGRX of one frame of H.264.
func decode(ctx context.Context, nals [][]byte, size int) ([]byte, error) {
	path, err := exec.LookPath(decoder)
	if err != nil {
		return nil, errNoDecoder
	}
	var stream, out, errs bytes.Buffer
	for _, nal := range nals {
		stream.Write([]byte{0, 0, 0, 1})
		stream.Write(nal)
	}
	ctx, cancel := context.WithTimeout(ctx, decodeLimit)
	defer cancel()
	ffmpeg := exec.CommandContext(ctx, path, "-v", "error", "-f", "h264", "-i", "-", "-f", "rawvideo", "-pix_fmt", "bgr0", "-")
	ffmpeg.Stdin, ffmpeg.Stdout, ffmpeg.Stderr = &stream, &out, &errs
	if err := ffmpeg.Run(); err != nil {
		return nil, fmt.Errorf("decode by ffmpeg: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	if out.Len() != size {
		return nil, fmt.Errorf("decode by ffmpeg: %d bytes of picture, want %d: %s", out.Len(), size, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}

// psnr is how near two pictures of BGRX are, in dB.
func psnr(a, b []byte) float64 {
	sum := 0.0
	for i := range a {
		if i%4 != 3 {
			d := float64(a[i]) - float64(b[i])
			sum += d * d
		}
	}
	return math.Round(100*math.Log10(255*255/(sum/float64(len(a)*3/4)+1e-6))) / 10
}

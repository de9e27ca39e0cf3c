package codec

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"slices"
	"testing"
)

// scaledDown is a picture in fewer pixels, each the mean of what it covers.
func scaledDown(pix []byte, from, to image.Point) []byte {
	out := make([]byte, to.X*to.Y*4)
	for y := range to.Y {
		y0, y1 := y*from.Y/to.Y, max((y+1)*from.Y/to.Y, y*from.Y/to.Y+1)
		for x := range to.X {
			x0, x1 := x*from.X/to.X, max((x+1)*from.X/to.X, x*from.X/to.X+1)
			for c := range 3 {
				sum := 0
				for j := y0; j < y1; j++ {
					for i := x0; i < x1; i++ {
						sum += int(pix[(j*from.X+i)*4+c])
					}
				}
				out[(y*to.X+x)*4+c] = byte(sum / ((y1 - y0) * (x1 - x0)))
			}
		}
	}
	return out
}

// smooth is a picture that scaling does not change much: slopes and large patches.
func smooth(size image.Point) []byte {
	b := make([]byte, size.X*size.Y*4)
	for y := range size.Y {
		for x := range size.X {
			px := b[(y*size.X+x)*4:]
			patch := x*8/size.X + y*3/size.Y
			px[0], px[1], px[2] = byte(x*200/size.X+20), byte(y*200/size.Y+20), byte(patch*20+20)
		}
	}
	return b
}

func pictureOf(t testing.TB, c Colours, size image.Point, pix []byte) *Picture {
	t.Helper()
	p, err := NewPictureOf(c, size.X, size.Y)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if _, err := p.Update(pix, size.X*4, full(size.X, size.Y)); err != nil {
		t.Fatal(err)
	}
	return p
}

func smallerOf(t testing.TB, p *Picture, size image.Point) *Smaller {
	t.Helper()
	s, err := p.Smaller(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Follow(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryFormatEncodesAPictureSmaller(t *testing.T) {
	from := image.Pt(640, 404)
	pix := smooth(from)
	for _, f := range SoftwareFormats() {
		for _, to := range []image.Point{{480, 302}, {320, 202}, {212, 134}} {
			t.Run(fmt.Sprint(f, " ", to), func(t *testing.T) {
				s := smallerOf(t, pictureOf(t, Colours{Chroma: f.Chroma()}, from, pix), to)
				e, err := NewSoftware(Coding{Format: f}, to.X, to.Y, 2, usual)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				pkt, err := e.Encode(s.Picture, FrameOptions{Key: true})
				if err != nil || !pkt.Key {
					t.Fatalf("a keyframe: %v, %v", pkt.Key, err)
				}
				d, err := NewDecoder(f)
				if errors.Is(err, ErrNoDecoder) { // of H.264: its planes, which it encodes as they are, are compared below
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				got, _, err := d.Decode(pkt.Units, to.X, to.Y)
				if err != nil {
					t.Fatal(err)
				}
				if db := PSNR(got, scaledDown(pix, from, to)); db < 30 {
					t.Errorf("what was decoded is %.1f dB from the screen made smaller", db)
				}
			})
		}
	}
}

func TestSmallerFollowsWhatChanges(t *testing.T) {
	from := image.Pt(640, 404)
	for _, to := range []image.Point{{480, 302}, {320, 202}} {
		t.Run(fmt.Sprint(to), func(t *testing.T) {
			pix := screen(from.X, from.Y)
			p := pictureOf(t, Colours{Chroma: Chroma420}, from, pix)
			s := smallerOf(t, p, to)
			e, err := NewSoftware(Coding{Format: H264}, to.X, to.Y, 2, usual)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			if _, err := e.Encode(s.Picture, FrameOptions{Key: true}); err != nil {
				t.Fatal(err)
			}
			for _, r := range []image.Rectangle{{}, image.Rect(5, 7, 6, 8), image.Rect(100, 90, 260, 170), image.Rect(639, 403, 640, 404)} {
				fill(pix, from.X*4, r, 200)
				if _, err := p.Update(pix, from.X*4, []image.Rectangle{r}); err != nil {
					t.Fatal(err)
				}
				before := slices.Concat(Planes(s.Picture)...)
				if err := s.Follow(); err != nil {
					t.Fatal(err)
				}
				whole := slices.Concat(Planes(smallerOf(t, pictureOf(t, Colours{Chroma: Chroma420}, from, pix), to).Picture)...)
				after := slices.Concat(Planes(s.Picture)...)
				if !bytes.Equal(after, whole) {
					t.Errorf("a change of %v was not followed as the whole would be", r)
				}
				if r.Empty() != bytes.Equal(before, after) {
					t.Errorf("a change of %v: the smaller picture is as before: %v", r, bytes.Equal(before, after))
				}
				pkt, err := e.Encode(s.Picture, FrameOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if most := 200 + r.Dx()*r.Dy(); pkt.Bytes > most {
					t.Errorf("a change of %v took %d bytes, want %d at most", r, pkt.Bytes, most)
				}
			}
		})
	}
}

func TestSmallerRefusesLarger(t *testing.T) {
	p, err := NewPicture(320, 240)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, size := range []image.Point{{322, 240}, {320, 242}, {14, 100}, {101, 100}} {
		if s, err := p.Smaller(size); err == nil {
			s.Close()
			t.Errorf("a picture of %v was made of one of 320x240", size)
		}
	}
}

func BenchmarkFollow(b *testing.B) {
	for _, to := range []image.Point{{1440, 810}, {960, 540}} {
		b.Run(fmt.Sprint(to), func(b *testing.B) {
			from := image.Pt(1920, 1080)
			pix := screen(from.X, from.Y)
			p := pictureOf(b, Colours{Chroma: Chroma420}, from, pix)
			s := smallerOf(b, p, to)
			v := byte(0)
			for b.Loop() {
				b.StopTimer()
				v++
				for i := 0; i < len(pix); i += 64 {
					pix[i] = v
				}
				if _, err := p.Update(pix, from.X*4, full(from.X, from.Y)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := s.Follow(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

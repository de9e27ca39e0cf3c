package codec

import (
	"image"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEncodersRefuseSizesThatNoPictureHas(t *testing.T) {
	for _, f := range SoftwareFormats() {
		for _, s := range []image.Point{{1, 1}, {0, 0}, {-320, 240}, {321, 240}, {320, 241}, {14, 240}, {16386, 240}, {1 << 30, 1 << 30}} {
			e, err := NewSoftware(Coding{Format: f}, s.X, s.Y, 2, usual)
			if err == nil {
				e.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "even and from 16") {
				t.Errorf("%s: an encoder for %v: %v", f, s, err)
			}
		}
	}
}

// stream is a picture with what encodes it and what decodes that.
type stream struct {
	t      testing.TB
	size   image.Point
	coding Coding
	pix    []byte
	pic    *Picture
	enc    Encoder
	dec    *Decoder
	frames int
}

func newStream(t testing.TB, c Coding, size image.Point, threads int, r Rate) *stream {
	t.Helper()
	s := &stream{t: t, size: size, coding: c, pix: make([]byte, size.X*size.Y*4)}
	var err error
	if s.pic, err = NewPictureOf(c.Colours(), size.X, size.Y); err != nil {
		t.Fatal(err)
	}
	if s.enc, err = NewSoftware(c, size.X, size.Y, threads, r); err != nil {
		t.Fatal(err)
	}
	if s.dec, err = NewDecoder(c.Format); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stream) close() {
	s.enc.Close()
	s.dec.Close()
	s.pic.Close()
}

// show encodes what was drawn within a rectangle, decodes it, and gives how near that is.
func (s *stream) show(r image.Rectangle, o FrameOptions) float64 {
	s.t.Helper()
	if _, err := s.pic.Update(s.pix, s.size.X*4, []image.Rectangle{r}); err != nil {
		s.t.Fatal(err)
	}
	o.Key = o.Key || s.frames == 0
	pkt, err := s.enc.Encode(s.pic, o)
	if err != nil {
		s.t.Fatalf("%s of %v, frame %d: %v", s.coding.Format, s.size, s.frames, err)
	}
	got, told, err := s.dec.Decode(pkt.Units, s.size.X, s.size.Y)
	if err != nil {
		s.t.Fatalf("%s of %v, frame %d of %d bytes: %v", s.coding.Format, s.size, s.frames, pkt.Bytes, err)
	}
	if told != s.coding.tells() {
		s.t.Errorf("%s of %v, frame %d: it tells of %+v", s.coding.Format, s.size, s.frames, told)
	}
	s.frames++
	return PSNR(got, s.pix)
}

// Any size that a screen can have is encoded, from the least to the longest, and one encoder after the other of quite other sizes: as when a window is
// dragged larger and smaller. What comes out is the picture.
func TestEncodersTakeAnySizeAndSuddenChanges(t *testing.T) {
	sizes := []image.Point{{16, 16}, {1920, 32}, {18, 16}, {16, 18}, {8192, 64}, {322, 242}, {64, 8192}, {640, 360}, {16384, 16}, {34, 62}}
	for _, f := range SoftwareFormats() {
		for i, size := range sizes {
			s := newStream(t, Coding{Format: f, Short: i%2 == 1}, size, 1+i%4, ProofRate)
			for y := range size.Y {
				for x := range size.X {
					c := s.pix[(y*size.X+x)*4:]
					c[0], c[1], c[2] = byte(x/8), byte(y/8), byte((x+y)/16)
				}
			}
			if dB := s.show(image.Rectangle{Max: size}, FrameOptions{}); dB < 33 {
				t.Errorf("%s of %v: the keyframe is at %.1f dB", f, size, dB)
			}
			r := image.Rect(size.X/4&^1, size.Y/4&^1, size.X/2, size.Y/2)
			fill(s.pix, size.X*4, r, 200)
			if dB := s.show(r, FrameOptions{}); dB < 33 {
				t.Errorf("%s of %v: the change is at %.1f dB", f, size, dB)
			}
			s.close()
		}
	}
}

// Whatever a session draws, at any rate, every frame is made, is decoded and tells of the right colours.
func FuzzEncode(f *testing.F) {
	for i := range SoftwareFormats() {
		f.Add(uint8(i), uint8(0), uint8(0), uint16(100), []byte{1, 2, 3, 4, 5, 6, 7, 8})
		f.Add(uint8(i), uint8(20), uint8(9), uint16(60000), []byte("some strokes, then a keyframe, then noise"))
	}
	f.Fuzz(func(t *testing.T, which, wide, high uint8, kbps uint16, strokes []byte) {
		formats := SoftwareFormats()
		size := image.Pt(16+int(wide)*2, 16+int(high)*2)
		c := Coding{Format: formats[int(which)%len(formats)], Short: which&64 != 0}
		s := newStream(t, c, size, 1+int(which>>4)%4, Rate{Quality: 1 + float64(which%51), Kbps: 100 + int(kbps), BufferMS: 10 + int(wide)*10})
		defer s.close()
		for len(strokes) >= 6 && s.frames < 12 {
			b := strokes[:6]
			strokes = strokes[6:]
			r := image.Rect(int(b[0])*2, int(b[1])*2, int(b[2])*2, int(b[3])*2).Intersect(image.Rectangle{Max: size})
			if b[4]&1 == 0 {
				fill(s.pix, size.X*4, r, b[5])
			} else {
				noisy(s.pix, size.X*4, r, uint64(b[5]))
			}
			s.show(r, FrameOptions{Key: b[4]&6 == 6, QP: int(b[4] >> 3)})
		}
	})
}

func noisy(b []byte, stride int, r image.Rectangle, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 3))
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for i := range b[y*stride+r.Min.X*4 : y*stride+r.Max.X*4] {
			b[y*stride+r.Min.X*4+i] = byte(random.Uint32())
		}
	}
}

package codec

import (
	"image"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"easel/pkg/codec/nvenctest"
)

var usual = Rate{Quality: 23, Kbps: 30000, BufferMS: 50}

// screen draws something like an application: flat panels, fine lines and, in the middle, a noisy photograph.
func screen(w, h int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, w*h*4)
	for y := range h {
		for x := range w {
			i := (y*w + x) * 4
			v := byte(60)
			switch {
			case x > w/4 && x < w*3/4 && y > h/4 && y < h*3/4:
				v = byte(x/4+y/3) + byte(r.IntN(24))
			case x%7 == 0 && y%13 < 8:
				v = 220
			}
			b[i], b[i+1], b[i+2] = v, v/2+40, 255-v
		}
	}
	return b
}

func fill(b []byte, stride int, r image.Rectangle, v byte) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		row := b[y*stride+r.Min.X*4 : y*stride+r.Max.X*4]
		for i := range row {
			row[i] = v
		}
	}
}

func newPair(t testing.TB, w, h int) (*Picture, Encoder) {
	t.Helper()
	p, err := NewPicture(w, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	e, err := NewSoftware(Coding{Format: H264}, w, h, 2, usual)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return p, e
}

// TestChangeIsNoFinerThanAsked: a picture that moves may stay as coarse as it is, for few bytes.
func TestChangeIsNoFinerThanAsked(t *testing.T) {
	const w, h, coarse = 640, 480, 40
	page := make([]byte, w*2*h*4)
	for i := range page {
		x, y := i/4%w, i/4/w
		page[i] = byte(uint32(x/24+y/24*w) * 0x9e3779b1 >> 24)
	}
	move := func(qp int) Packet {
		p, e := newPair(t, w, h)
		var out Packet
		for i, o := range []FrameOptions{{Key: true, QP: coarse}, {QP: qp}} {
			if _, err := p.Update(page[i*8*w*4:], w*4, full(w, h)); err != nil {
				t.Fatal(err)
			}
			var err error
			if out, err = e.Encode(p, o); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	kept, fine := move(coarse), move(0)
	if kept.QP != coarse || kept.Bytes*4 > fine.Bytes {
		t.Errorf("what moves takes %d bytes with a quantiser of %d, asked for no finer than %d; %d bytes with one of %d", kept.Bytes, kept.QP, coarse, fine.Bytes, fine.QP)
	}
}

func full(w, h int) []image.Rectangle { return []image.Rectangle{image.Rect(0, 0, w, h)} }

func TestUpdateCountsOnlyWhatDiffers(t *testing.T) {
	const w, h = 330, 322 // neither side a multiple of a cell
	p, err := NewPicture(w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	src := make([]byte, w*h*4)
	for name, c := range map[string]struct {
		change image.Rectangle
		damage []image.Rectangle
		want   int
	}{
		"nothing":                        {image.Rectangle{}, full(w, h), 0},
		"one pixel":                      {image.Rect(70, 20, 71, 21), full(w, h), 1},
		"the last pixel":                 {image.Rect(w-1, h-1, w, h), full(w, h), 1},
		"across four cells":              {image.Rect(60, 12, 68, 20), full(w, h), 4},
		"outside the damage":             {image.Rect(200, 200, 210, 210), []image.Rectangle{image.Rect(0, 0, 64, 64)}, 0},
		"damage beyond the edges":        {image.Rect(0, 0, 1, 1), []image.Rectangle{image.Rect(-5000, -5000, 5000, 5000)}, 1},
		"the same place twice":           {image.Rect(5, 5, 6, 6), append(full(w, h), full(w, h)...), 1},
		"damage that is nowhere":         {image.Rect(5, 5, 6, 6), []image.Rectangle{image.Rect(4000, 4000, 5000, 5000)}, 0},
		"damage that is turned about":    {image.Rect(5, 5, 6, 6), []image.Rectangle{{Min: image.Pt(9, 9), Max: image.Pt(0, 0)}}, 0},
		"damage that touches one corner": {image.Rect(66, 18, 67, 19), []image.Rectangle{image.Rect(65, 17, 66, 18)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			clear(src)
			if _, err := p.Update(src, w*4, full(w, h)); err != nil {
				t.Fatal(err)
			}
			fill(src, w*4, c.change, 200)
			got, err := p.Update(src, w*4, c.damage)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Fatalf("%d cells changed, want %d", got, c.want)
			}
		})
	}
}

func TestUpdateRefusesAShortBuffer(t *testing.T) {
	p, err := NewPicture(320, 320)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Update(make([]byte, 320*320*4-1), 320*4, full(320, 320)); err == nil {
		t.Fatal("a buffer one byte short was taken")
	}
}

func TestBadSizesAndRatesAreRefused(t *testing.T) {
	for _, s := range []image.Point{{0, 0}, {321, 320}, {320, 321}, {8, 320}, {20000, 320}, {-2, -2}} {
		if p, err := NewPicture(s.X, s.Y); err == nil {
			p.Close()
			t.Errorf("a picture of %v was made", s)
		}
	}
	for _, r := range []Rate{{}, {Quality: 23, Kbps: 1, BufferMS: 50}, {Quality: 99, Kbps: 1000, BufferMS: 50}} {
		if e, err := NewSoftware(Coding{Format: H264}, 320, 320, 1, r); err == nil {
			e.Close()
			t.Errorf("rate %+v was taken", r)
		}
	}
}

func TestStillPictureCostsNextToNothing(t *testing.T) {
	const w, h = 1280, 720
	p, e := newPair(t, w, h)
	if _, err := p.Update(screen(w, h), w*4, full(w, h)); err != nil {
		t.Fatal(err)
	}
	first, err := e.Encode(p, FrameOptions{Key: true})
	if err != nil {
		t.Fatal(err)
	}
	if !first.Key || first.Units[0][0]&31 != 7 {
		t.Fatalf("the first frame is no keyframe that starts with parameters: %v, NAL type %d", first.Key, first.Units[0][0]&31)
	}
	// It settles at a fine quantiser; how soon differs from run to run on a busy machine.
	var sizes []int
	for len(sizes) < 60 && (len(sizes) == 0 || sizes[len(sizes)-1] > 2000) {
		frame, err := e.Encode(p, FrameOptions{QP: 14})
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, frame.Bytes)
	}
	if sizes[len(sizes)-1] > 2000 {
		t.Fatalf("a picture that does not change still takes bytes: %d", sizes)
	}
}

func TestRateBoundsAFrame(t *testing.T) {
	const w, h = 1280, 720
	p, e := newPair(t, w, h)
	if err := e.SetRate(Rate{Quality: 23, Kbps: 4000, BufferMS: 100}); err != nil {
		t.Fatal(err)
	}
	src, r := make([]byte, w*h*4), rand.New(rand.NewPCG(3, 4))
	total := 0
	for i := range 30 {
		for j := range src {
			src[j] = byte(r.Uint32())
		}
		if _, err := p.Update(src, w*4, full(w, h)); err != nil {
			t.Fatal(err)
		}
		pkt, err := e.Encode(p, FrameOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i > 2 {
			total += pkt.Bytes
		}
	}
	// Pure noise at the coarsest quantiser is still larger than the rate allows; what counts is that it is far below the 400 kB of a free frame.
	if avg := total / 27; avg > 120_000 {
		t.Fatalf("noise at 4 Mbit/s takes %d bytes a frame", avg)
	}
}

// Where bits are scarce, H.264 finds what has moved farther than it looks otherwise: a photograph that is panned takes a fraction of them.
func TestScarceBitsHaveMotionLookedForFarAway(t *testing.T) {
	const w, h, shift = 640, 320, 24
	pan := make([]byte, w*2*h*4)
	r, soft := rand.New(rand.NewPCG(9, 9)), 128.0
	for i := range pan {
		soft = max(0, min(soft+r.Float64()*24-12, 255))
		pan[i] = byte(soft)
	}
	bytes := map[bool]int{}
	for _, scarce := range []bool{false, true} {
		p, e := newPair(t, w, h)
		if err := e.SetRate(Rate{Quality: 30, Kbps: 1_000_000, BufferMS: 1000}); err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			if scarce {
				e.(*software).gov.scarce = time.Now().Add(time.Hour)
			}
			if _, err := p.Update(pan[i*shift*w*4:][:w*h*4], w*4, full(w, h)); err != nil {
				t.Fatal(err)
			}
			pkt, err := e.Encode(p, FrameOptions{Key: i == 0})
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 {
				bytes[scarce] += pkt.Bytes
			}
		}
	}
	t.Logf("%d bytes, where they are scarce %d", bytes[false], bytes[true])
	if bytes[true]*3 > bytes[false]*2 {
		t.Errorf("where bits are scarce a pan takes %d of them, %d else", bytes[true], bytes[false])
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	const w, h = 640, 480
	for _, f := range SoftwareFormats() {
		p, err := NewPictureOf(Colours{Chroma: f.Chroma()}, w, h)
		if err != nil {
			t.Fatal(err)
		}
		e, err := NewSoftware(Coding{Format: f}, w, h, 2, usual)
		if err != nil {
			t.Fatal(err)
		}
		src := screen(w, h)
		rects := full(w, h)
		v := byte(0)
		got := testing.AllocsPerRun(20, func() {
			v++
			fill(src, w*4, image.Rect(100, 100, 200, 200), v)
			if _, err := p.Update(src, w*4, rects); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Encode(p, FrameOptions{}); err != nil {
				t.Fatal(err)
			}
		})
		if got > 0 {
			t.Errorf("%s: %v allocations a frame, want none", f, got)
		}
		e.Close()
		p.Close()
	}
}

func BenchmarkUpdate(b *testing.B) {
	const w, h = 1920, 1080
	a, c := screen(w, h), make([]byte, w*h*4)
	fill(c, w*4, image.Rect(0, 0, w, h), 90)
	for _, m := range []struct {
		name string
		x, y []byte
	}{{"same", a, a}, {"all", a, c}} {
		b.Run(m.name, func(b *testing.B) {
			p, _ := newPair(b, w, h)
			for i := range b.N {
				src := m.x
				if i%2 == 1 {
					src = m.y
				}
				if _, err := p.Update(src, w*4, full(w, h)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, f := range SoftwareFormats() {
		b.Run(string(f), func(b *testing.B) {
			benchmarkEncoder(b, func(b *testing.B, w, h int) Encoder {
				e, err := NewSoftware(Coding{Format: f}, w, h, 2, usual)
				if err != nil {
					b.Fatal(err)
				}
				return e
			})
		})
	}
}

// The same by NVENC: on the card that EASEL_NVENC_DEVICE names, by UUID, and else on the double, which encodes by x264 on one thread and so
// says what the way to it costs.
func BenchmarkEncodeNVENC(b *testing.B) {
	o := NVENCOptions{Device: os.Getenv("EASEL_NVENC_DEVICE"), FrameLimit: time.Minute}
	if o.Device == "" {
		o.Device, o.Libraries = nvenctest.Card, nvenctest.Build(b).Libraries
	}
	card, err := OpenNVENC(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(card.Close)
	b.Log(card.Name())
	for _, chroma := range []Chroma{Chroma420, Chroma444} {
		b.Run(string(chroma), func(b *testing.B) {
			benchmarkEncoder(b, func(b *testing.B, w, h int) Encoder {
				e, err := card.NewEncoder(w, h, Colours{Chroma: chroma}, usual)
				if err != nil {
					b.Fatal(err)
				}
				return e
			})
		})
	}
}

func benchmarkEncoder(b *testing.B, open func(b *testing.B, w, h int) Encoder) {
	const w, h = 1920, 1080
	base := screen(w, h)
	grain, r := make([]byte, 1<<16+1), rand.New(rand.NewPCG(5, 6))
	for i := range grain {
		grain[i] = byte(r.IntN(16))
	}
	for _, m := range []struct {
		name string
		draw func(src []byte, i int) image.Rectangle
	}{
		{"still", func([]byte, int) image.Rectangle { return image.Rectangle{} }},
		{"brush", func(src []byte, i int) image.Rectangle {
			r := image.Rect(600+i%200, 400+i%100, 640+i%200, 440+i%100)
			fill(src, w*4, r, byte(i))
			return r
		}},
		{"colour", func(src []byte, i int) image.Rectangle {
			fill(src, w*4, image.Rect(0, 0, w, h), byte(i*37))
			return image.Rect(0, 0, w, h)
		}},
		{"ui", func(src []byte, i int) image.Rectangle { // a dialog of text comes elsewhere
			copy(src, base)
			r := image.Rect(200+i%8*100, 150+i%5*60, 1000+i%8*100, 750+i%5*60)
			for y := r.Min.Y; y < r.Max.Y; y++ {
				for x := r.Min.X; x < r.Max.X; x++ {
					v := byte(230)
					if (x*7+y*3+i)%11 < 3 && y%14 < 9 {
						v = 20
					}
					at := (y*w + x) * 4
					src[at], src[at+1], src[at+2] = v, v, v
				}
			}
			return image.Rect(200, 150, 1700, 990)
		}},
		{"scroll", func(src []byte, i int) image.Rectangle {
			n := copy(src, base[(i*6%h)*w*4:])
			copy(src[n:], base)
			return image.Rect(0, 0, w, h)
		}},
		{"noise", func(src []byte, i int) image.Rectangle {
			for at := range src { // as a camera in poor light has
				src[at] = base[at] + grain[(at+i*7919)%len(grain)]
			}
			return image.Rect(0, 0, w, h)
		}},
	} {
		b.Run(m.name, func(b *testing.B) {
			e := open(b, w, h)
			b.Cleanup(e.Close)
			p, err := NewPictureOf(Colours{Chroma: Chroma(e.Info().Chroma)}, w, h)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(p.Close)
			src := append([]byte(nil), base...)
			if _, err := p.Update(src, w*4, full(w, h)); err != nil {
				b.Fatal(err)
			}
			if _, err := e.Encode(p, FrameOptions{Key: true}); err != nil {
				b.Fatal(err)
			}
			total := 0
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				r := m.draw(src, i)
				b.StartTimer()
				if _, err := p.Update(src, w*4, []image.Rectangle{r}); err != nil {
					b.Fatal(err)
				}
				pkt, err := e.Encode(p, FrameOptions{})
				if err != nil {
					b.Fatal(err)
				}
				total += pkt.Bytes
			}
			b.ReportMetric(float64(total)*8/1000/float64(b.N), "kbit/frame")
		})
	}
}

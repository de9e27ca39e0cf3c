package stream

import (
	"bytes"
	"fmt"
	"image"
	"testing"
	"time"

	"easel/integration/xclient"
	"easel/noded/stream/congestion"
	"easel/noded/stream/tile"
	"easel/pkg/codec"
)

// BenchmarkNarrowCodecs scrolls a screen at the rates of narrow ways by each codec, as the painter does: how many pictures a second come of it, what one takes in
// bits and time, and how near the decoded ones are to what was drawn.
func BenchmarkNarrowCodecs(b *testing.B) {
	size := image.Pt(1920, 1080)
	for _, page := range []struct {
		name string
		draw func(width, height int) []byte
	}{
		{"text", xclient.Document},
		{"photograph", func(w, h int) []byte { return xclient.Photograph(w, h, 3) }},
	} {
		pix := page.draw(size.X, 2*size.Y)
		pix = append(pix, pix[:size.X*size.Y*4]...)
		for _, kbps := range []int{1000, 2000, 4000} {
			for _, f := range []Format{H264, VP9, AV1} {
				b.Run(fmt.Sprintf("%s/%d-kbps/%s", page.name, kbps, f), func(b *testing.B) {
					for range b.N {
						r := reel{format: f, size: size, page: pix, kbps: kbps}
						r.play(b, 8*time.Second)
						r.report(b, 3*time.Second)
					}
				})
			}
		}
	}
}

// reel is what an encoder made of a page that scrolls.
type reel struct {
	format Format
	size   image.Point
	page   []byte // as high as two screens, and its beginning once more
	kbps   int
	frames []reelFrame
}

type reelFrame struct {
	at    time.Duration
	drawn int
	units [][]byte
	bytes int
	took  time.Duration
	scale congestion.Scale
	begun bool // by a new encoder
}

// screen is what is drawn as so manieth.
func (r *reel) screen(drawn int) []byte {
	const step = 6 // rows
	at := drawn * step % (2 * r.size.Y) * r.size.X * 4
	return r.page[at:][:r.size.X*r.size.Y*4]
}

// play encodes in real time what is drawn at 60 Hz, as often as the rate lets it.
func (r *reel) play(b *testing.B, lasts time.Duration) {
	quality := Quality{Factor: qualities[defaultQuality].factor, Kbps: r.kbps, BufferMS: int(frameBuffer.Milliseconds())}
	coding := Coding{Format: r.format}
	enc, err := testCodec{}.Open(r.size, coding, quality, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { enc.Close() }()
	plan := congestion.Plan{FPS: min(max(r.kbps/50, congestion.MinFPS), congestion.MaxFPS)}
	var scaler congestion.Scaler
	began, key := time.Now(), true
	debt, next, drawn := began, began, -1
	for time.Since(began) < lasts {
		nap(time.Until(latest(next, debt.Add(-burst))))
		start := time.Now()
		n := int(start.Sub(began) * 60 / time.Second)
		if n == drawn {
			nap(time.Millisecond)
			continue
		}
		drawn = n
		changed, err := enc.Update(r.screen(drawn), r.size.X*4, []image.Rectangle{{Max: r.size}})
		if err != nil {
			b.Fatal(err)
		}
		share := float64(changed) / float64(tile.Cells(r.size))
		if s := scaler.Look(congestion.Sight{Kbps: r.kbps, Share: share, Sharpens: true}, start); s != coding.Scale {
			coding.Scale, key = s, true
			if enc, err = (testCodec{}).Open(r.size, coding, quality, enc); err != nil {
				b.Fatal(err)
			}
		}
		from := time.Now()
		pkt, err := enc.Encode(key, 0)
		if err != nil {
			b.Fatal(err)
		}
		f := reelFrame{at: start.Sub(began), drawn: drawn, bytes: pkt.Bytes, took: time.Since(from), scale: coding.Scale, begun: key}
		for _, u := range pkt.Units {
			f.units = append(f.units, bytes.Clone(u))
		}
		r.frames = append(r.frames, f)
		if !pkt.Key {
			scaler.Frame(pkt.Bytes, pkt.QP, share)
		}
		key, next, debt = false, start.Add(plan.Pace(pace)), latest(debt, start).Add(congestion.OnWay(float64(pkt.Bytes), r.kbps))
	}
}

// report decodes what was made, and tells of what came after a while.
func (r *reel) report(b *testing.B, after time.Duration) {
	var d *codec.Decoder
	defer func() { d.Close() }()
	var bytes, pictures, looked int
	var took time.Duration
	var psnr, ssim float64
	for i, f := range r.frames {
		if f.begun {
			if d != nil {
				d.Close()
			}
			var err error
			if d, err = codec.NewDecoder(codec.Format(r.format)); err != nil {
				b.Fatal(err)
			}
		}
		size := f.scale.Of(r.size)
		got, _, err := d.Decode(f.units, size.X, size.Y)
		if err != nil {
			b.Fatal(err)
		}
		if f.at < after {
			continue
		}
		pictures, bytes, took = pictures+1, bytes+f.bytes, took+f.took
		if i%4 == 0 {
			got, want := enlarged(got, size, r.size), r.screen(f.drawn)
			looked, psnr, ssim = looked+1, psnr+codec.PSNR(got, want), ssim+likeness(got, want, r.size)
		}
	}
	n, last := float64(max(pictures, 1)), r.frames[len(r.frames)-1]
	b.ReportMetric(n/(last.at-after).Seconds(), "pictures/s")
	b.ReportMetric(float64(bytes)*8/1000/n, "kbit/picture")
	b.ReportMetric(took.Seconds()*1000/n, "ms/picture")
	b.ReportMetric(psnr/float64(max(looked, 1)), "dB")
	b.ReportMetric(ssim/float64(max(looked, 1)), "SSIM")
	b.ReportMetric(last.scale.Ratio(), "scale")
}

// enlarged is a picture of BGRX as the browser shows it on a larger screen: between the nearest pixels.
func enlarged(pix []byte, from, to image.Point) []byte {
	if from == to {
		return pix
	}
	out := make([]byte, to.X*to.Y*4)
	near := func(i, from, to int) (at int, part int) { // in 1/256
		v := max(((2*i+1)*from*256/to-256)/2, 0)
		return min(v>>8, from-2), min(v-min(v>>8, from-2)<<8, 256)
	}
	for y := range to.Y {
		j, v := near(y, from.Y, to.Y)
		upper, lower := pix[j*from.X*4:], pix[(j+1)*from.X*4:]
		for x := range to.X {
			i, h := near(x, from.X, to.X)
			for c := range 3 {
				a, b := i*4+c, i*4+4+c
				out[(y*to.X+x)*4+c] = byte(((int(upper[a])*(256-h)+int(upper[b])*h)*(256-v) + (int(lower[a])*(256-h)+int(lower[b])*h)*v) >> 16)
			}
		}
	}
	return out
}

// likeness is the mean structural similarity (SSIM) of two pictures of BGRX, of green in blocks of 8×8.
func likeness(a, b []byte, size image.Point) float64 {
	const side, c1, c2 = 8, 6.5025, 58.5225
	sum, blocks := 0.0, 0
	for y := 0; y+side <= size.Y; y += side {
		for x := 0; x+side <= size.X; x += side {
			var s, t, ss, tt, st float64
			for row := range side {
				at := ((y+row)*size.X+x)*4 + 1
				for i := range side {
					p, q := float64(a[at+4*i]), float64(b[at+4*i])
					s, t, ss, tt, st = s+p, t+q, ss+p*p, tt+q*q, st+p*q
				}
			}
			const n = side * side
			s, t = s/n, t/n
			va, vb, cov := ss/n-s*s, tt/n-t*t, st/n-s*t
			sum += (2*s*t + c1) * (2*cov + c2) / ((s*s + t*t + c1) * (va + vb + c2))
			blocks++
		}
	}
	return sum / float64(blocks)
}

package codec

import (
	"bytes"
	"encoding/binary"
	"image"
	"math"
	"os/exec"
	"testing"
)

// recorder keeps a stream as ffmpeg reads it.
type recorder struct {
	format Format
	file   bytes.Buffer
	frames int
}

func newRecorder(f Format, size image.Point) *recorder {
	r := &recorder{format: f}
	if fourCC := map[Format]string{VP9: "VP90", VP9444: "VP90", AV1: "AV01", AV1444: "AV01"}[f]; fourCC != "" { // IVF
		h := append([]byte("DKIF\x00\x00\x20\x00"), fourCC...)
		h = binary.LittleEndian.AppendUint16(h, uint16(size.X))
		h = binary.LittleEndian.AppendUint16(h, uint16(size.Y))
		h = binary.LittleEndian.AppendUint32(h, 60)
		h = binary.LittleEndian.AppendUint32(h, 1)
		r.file.Write(append(h, make([]byte, 8)...))
	}
	return r
}

func (r *recorder) add(units [][]byte) {
	var frame []byte
	switch r.format {
	case VP9, VP9444:
		frame = join(units)
	case AV1, AV1444:
		frame = JoinOBUs(units)
	default:
		for _, u := range units {
			r.file.Write(append([]byte{0, 0, 0, 1}, u...))
		}
		return
	}
	h := binary.LittleEndian.AppendUint32(nil, uint32(len(frame)))
	h = binary.LittleEndian.AppendUint64(h, uint64(r.frames))
	r.file.Write(append(h, frame...))
	r.frames++
}

// decode gives the planes of all pictures, one after the other.
func (r *recorder) decode(t *testing.T) []byte {
	t.Helper()
	kind, pixels := "ivf", "yuvj420p"
	if r.format == H264 || r.format == H264444 {
		kind = "h264"
	}
	if r.format.Chroma() == Chroma444 {
		pixels = "yuvj444p"
	}
	// As it lies there: the range that the stream tells of is not to be converted to another one.
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", kind, "-i", "-", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &r.file, &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("ffmpeg: %v: %s", err, errs.Bytes())
	}
	return out.Bytes()
}

// quality is how near two planes are, in dB.
func quality(a, b []byte) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return 10 * math.Log10(255*255/(sum/float64(len(a))+1e-9))
}

// Every frame of every format decodes, by a decoder that is not ours, to what the encoder was given: whole, changed in part, scrolled, and then refined.
func TestFormatsDecodeToTheScreen(t *testing.T) {
	const w, h = 658, 322 // neither side a multiple of a macroblock
	for _, f := range SoftwareFormats() {
		t.Run(string(f), func(t *testing.T) {
			e, err := NewSoftware(Coding{Format: f}, w, h, 2, Rate{Quality: 23, Kbps: 500_000, BufferMS: 1000}) // nothing of it is for want of rate
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			p, err := NewPictureOf(Colours{Chroma: f.Chroma()}, w, h)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r := newRecorder(f, image.Pt(w, h))
			src := screen(w, h)
			var want [][][]byte
			show := func(o FrameOptions) Packet {
				t.Helper()
				if _, err := p.Update(src, w*4, full(w, h)); err != nil {
					t.Fatal(err)
				}
				pkt, err := e.Encode(p, o)
				if err != nil {
					t.Fatal(err)
				}
				if pkt.Bytes == 0 || len(pkt.Units) == 0 {
					t.Fatalf("the frame is %+v", pkt)
				}
				r.add(pkt.Units)
				var planes [][]byte
				for _, plane := range Planes(p) {
					planes = append(planes, bytes.Clone(plane))
				}
				want = append(want, planes)
				return pkt
			}
			if pkt := show(FrameOptions{Key: true}); !pkt.Key {
				t.Error("the first frame is no keyframe")
			}
			for i := range 12 {
				fill(src, w*4, image.Rect(40+i*20, 30+i*10, 80+i*20, 60+i*10), byte(i*20))
				if pkt := show(FrameOptions{}); pkt.Key {
					t.Errorf("frame %d is a keyframe", i)
				}
			}
			copy(src, src[6*w*4:])
			show(FrameOptions{})
			if pkt := show(FrameOptions{Key: true}); !pkt.Key {
				t.Error("a keyframe was asked for and none came")
			}
			refined := show(FrameOptions{QP: 12})
			for range 3 {
				show(FrameOptions{QP: 12})
			}
			if refined.QP > 13 {
				t.Errorf("a still picture's quantiser is %d, asked for 12", refined.QP)
			}
			got := r.decode(t)
			size := 0
			for _, plane := range want[0] {
				size += len(plane)
			}
			if len(got) != len(want)*size {
				t.Fatalf("%d bytes were decoded, want %d pictures of %d", len(got), len(want), size)
			}
			for i, planes := range want {
				least := 32.0
				if i == len(want)-1 {
					least = 42
				}
				for j, plane := range planes {
					if dB := quality(got[:len(plane)], plane); dB < least {
						t.Errorf("plane %d of frame %d is at %.1f dB, want %.0f", j, i, dB, least)
					}
					got = got[len(plane):]
				}
			}
		})
	}
}

// A picture that changes how it has its colours is the same picture.
func TestPictureChangesItsColours(t *testing.T) {
	const w, h = 640, 360
	src := screen(w, h)
	p, err := NewPicture(w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Update(src, w*4, full(w, h)); err != nil {
		t.Fatal(err)
	}
	p.Tiles().Changed()
	fresh, err := NewPictureOf(Colours{Chroma: Chroma444}, w, h)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if _, err := fresh.Update(src, w*4, full(w, h)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Colours{{Chroma: Chroma444, Short: true}, {Chroma: Chroma444}, {Chroma: Chroma420}, {Chroma: Chroma444}} {
		if err := p.SetColours(c); err != nil || p.Colours() != c {
			t.Fatalf("the colours are %+v, want %+v: %v", p.Colours(), c, err)
		}
	}
	for i, plane := range Planes(fresh) {
		if !bytes.Equal(Planes(p)[i], plane) {
			t.Errorf("plane %d differs from that of a picture that was of 4:4:4 from the start", i)
		}
	}
	if n := len(p.Tiles().Changed()); n != 0 {
		t.Errorf("%d tiles are to be told anew", n)
	}
	if n, err := p.Update(src, w*4, full(w, h)); n != 0 || err != nil {
		t.Errorf("%d cells differ from the screen: %v", n, err)
	}
}

func TestOBUsLoseTheirSizesAndGetThemBack(t *testing.T) {
	frame := []byte{0x12, 0, 0x0a, 2, 7, 8, 0x36, 0x20, 3, 1, 2, 3, 0x32, 0x80, 1}
	frame = append(frame, bytes.Repeat([]byte{9}, 128)...)
	want := [][]byte{{0x08, 7, 8}, {0x34, 0x20, 1, 2, 3}, append([]byte{0x30}, bytes.Repeat([]byte{9}, 128)...)}
	got := splitOBUs(nil, bytes.Clone(frame))
	if len(got) != len(want) {
		t.Fatalf("%d units, want %d: %x", len(got), len(want), got)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("unit %d is %x, want %x", i, got[i], want[i])
		}
	}
	if back := JoinOBUs(got); !bytes.Equal(back, frame) {
		t.Errorf("joined again it is %x", back)
	}
}

func FuzzSplitOBUs(f *testing.F) {
	f.Add([]byte{0x12, 0, 0x0a, 2, 7, 8, 0x36, 0x20, 3, 1, 2, 3})
	f.Add([]byte{0x36})
	f.Add([]byte{0x0a, 0x80, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, u := range splitOBUs(nil, b) {
			if total += len(u); len(u) == 0 || total > len(b) {
				t.Errorf("a unit is %x", u)
			}
		}
		splitLengths(nil, b)
	})
}

package codec_test

import (
	"bytes"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"easel/pkg/codec"
	"easel/pkg/codec/nvenctest"
)

var nvencRate = codec.Rate{Quality: 20, Kbps: 200_000, BufferMS: 500}

// patient is a deadline that no busy machine meets.
const patient = time.Minute

func openNVENC(t testing.TB, d *nvenctest.Driver, device string) *codec.NVENC {
	t.Helper()
	n, err := codec.OpenNVENC(codec.NVENCOptions{Device: device, Libraries: d.Libraries, FrameLimit: patient})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// canvas is a screen that is drawn on, the encoder that shows it, and the stream so far.
type canvas struct {
	t      testing.TB
	w, h   int
	pix    []byte
	p      *codec.Picture
	e      codec.Encoder
	stream bytes.Buffer
}

func newCanvas(t testing.TB, n *codec.NVENC, chroma codec.Chroma, w, h int) *canvas {
	t.Helper()
	p, err := codec.NewPictureOf(codec.Colours{Chroma: chroma}, w, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	e, err := n.NewEncoder(w, h, codec.Colours{Chroma: chroma}, nvencRate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c := &canvas{t: t, w: w, h: h, pix: make([]byte, w*h*4), p: p, e: e}
	r := rand.New(rand.NewPCG(1, 2))
	for y := range h {
		for x := range w {
			c.set(x, y, byte(x/2+r.IntN(8)), byte(y/2), byte(255-x/3))
		}
	}
	return c
}

func (c *canvas) set(x, y int, b, g, r byte) {
	copy(c.pix[(y*c.w+x)*4:], []byte{b, g, r, 0})
}

func (c *canvas) paint(r image.Rectangle, v byte) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c.set(x, y, v, 255-v, v/2+byte(x*y%32))
		}
	}
}

func (c *canvas) encode(o codec.FrameOptions) (codec.Packet, error) {
	c.t.Helper()
	if _, err := c.p.Update(c.pix, c.w*4, []image.Rectangle{image.Rect(0, 0, c.w, c.h)}); err != nil {
		c.t.Fatal(err)
	}
	p, err := c.e.Encode(c.p, o)
	for _, nal := range p.Units {
		c.stream.Write([]byte{0, 0, 0, 1})
		c.stream.Write(nal)
	}
	return p, err
}

func (c *canvas) show(o codec.FrameOptions) codec.Packet {
	c.t.Helper()
	p, err := c.encode(o)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// check decodes the stream and compares each plane of its last picture with the screen's.
func (c *canvas) check(frames int, chroma codec.Chroma) {
	c.t.Helper()
	pixels, size := "yuvj420p", c.w*c.h*3/2
	if chroma == codec.Chroma444 {
		pixels, size = "yuvj444p", c.w*c.h*3
	}
	out := nvenctest.Decode(c.t, c.stream.Bytes(), pixels)
	if len(out) != frames*size {
		c.t.Fatalf("the stream has %d bytes of pictures, want %d pictures of %d", len(out), frames, size)
	}
	got, at := out[len(out)-size:], 0
	for i, want := range codec.Planes(c.p) {
		if psnr := psnrOf(got[at:at+len(want)], want); psnr < 38 {
			c.t.Errorf("plane %d of the last picture is at %.1f dB, want 38", i, psnr)
		}
		at += len(want)
	}
}

func psnrOf(a, b []byte) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return 10 * math.Log10(255*255/(sum/float64(len(a))+1e-9))
}

func TestNVENCMakesAStreamThatDecodesToTheScreen(t *testing.T) {
	d := nvenctest.Build(t)
	n := openNVENC(t, d, nvenctest.Card)
	for _, chroma := range []codec.Chroma{codec.Chroma420, codec.Chroma444} {
		t.Run(string(chroma), func(t *testing.T) {
			c := newCanvas(t, n, chroma, 650, 362) // neither side a multiple of a macroblock
			first := c.show(codec.FrameOptions{})
			if !first.Key || first.Units[0][0]&31 != 7 || first.Units[1][0]&31 != 8 {
				t.Fatalf("the first frame is no keyframe that starts with its parameters: %v", first.Key)
			}
			for i := range 12 {
				c.paint(image.Rect(30*i, 20*i, 30*i+70, 20*i+50), byte(20*i))
				if p := c.show(codec.FrameOptions{Key: i == 7}); p.Key != (i == 7) {
					t.Fatalf("frame %d: key is %v", i, p.Key)
				}
			}
			c.paint(image.Rect(c.w-3, c.h-3, c.w, c.h), 9) // the last macroblock, which is not whole
			c.show(codec.FrameOptions{})
			c.check(14, chroma)
			if info := c.e.Info(); !info.Hardware || info.Chroma != string(chroma) || !strings.Contains(info.Encoder, "Double of a card") {
				t.Errorf("the encoder says it is %+v", info)
			}
		})
	}
	if n := d.Count("initialized 650x362 gop=infinite bframes=0 lookahead=0 passes=1 constqp=1 ptd=1 reorder=0"); n != 2 {
		t.Errorf("%d sessions had the settings of the least latency, want 2:\n%s", n, strings.Join(d.Calls(), "\n"))
	}
}

// The parameters that tell a browser the picture's colours are the same, bit by bit, from both encoders.
func TestNVENCSaysTheSameColoursAsX264(t *testing.T) {
	d := nvenctest.Build(t)
	c := newCanvas(t, openNVENC(t, d, nvenctest.Card), codec.Chroma420, 320, 240)
	soft, err := codec.NewSoftware(codec.Coding{Format: codec.H264}, 320, 240, 1, nvencRate)
	if err != nil {
		t.Fatal(err)
	}
	defer soft.Close()
	hard := bytes.Clone(c.show(codec.FrameOptions{Key: true}).Units[0])
	p, err := soft.Encode(c.p, codec.FrameOptions{Key: true})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hard, p.Units[0]) {
		t.Errorf("NVENC's sequence parameters are %x, x264's %x", hard, p.Units[0])
	}
}

func TestNVENCCopiesOnlyWhatChanged(t *testing.T) {
	d := nvenctest.Build(t)
	c := newCanvas(t, openNVENC(t, d, nvenctest.Card), codec.Chroma420, 640, 480)
	c.show(codec.FrameOptions{})
	c.show(codec.FrameOptions{})                // nothing
	c.paint(image.Rect(70, 20, 71, 21), 200)    // one cell of 64x16
	c.show(codec.FrameOptions{})                //
	c.paint(image.Rect(0, 0, 1, 1), 200)        // two cells that are far apart
	c.paint(image.Rect(639, 479, 640, 480), 30) //
	c.show(codec.FrameOptions{})
	frames := d.Frames()
	if len(frames) != 4 {
		t.Fatalf("the driver saw %d frames, want 4", len(frames))
	}
	const cell = 64 * 16 * 3 / 2
	for i, want := range []struct{ copied, copies, skipped int }{
		{640 * 480 * 3 / 2, 3, 0}, {0, 0, 0}, {cell, 3, 1200 - 4}, {2 * cell, 6, 1200 - 8},
	} {
		if f := frames[i]; f.Copied != want.copied || f.Copies != want.copies || f.Skipped != want.skipped {
			t.Errorf("frame %d: %d bytes in %d copies, %d macroblocks skipped; want %+v", i, f.Copied, f.Copies, f.Skipped, want)
		}
	}
	c.check(4, codec.Chroma420)
}

func TestNVENCIsRetunedInPlace(t *testing.T) {
	d := nvenctest.Build(t)
	c := newCanvas(t, openNVENC(t, d, nvenctest.Card), codec.Chroma420, 640, 480)
	c.show(codec.FrameOptions{})
	c.show(codec.FrameOptions{QP: 14})
	c.show(codec.FrameOptions{QP: 14})
	sharp := nvencRate
	sharp.Quality = 30
	if err := c.e.SetRate(sharp); err != nil {
		t.Fatal(err)
	}
	c.paint(image.Rect(100, 100, 300, 300), 77)
	c.show(codec.FrameOptions{})
	if err := c.e.SetRate(codec.Rate{Quality: 20, Kbps: 100, BufferMS: 10}); err != nil { // all but nothing may go out
		t.Fatal(err)
	}
	c.paint(image.Rect(0, 0, 640, 480), 3)
	p := c.show(codec.FrameOptions{})
	if err := c.e.SetRate(codec.Rate{}); err == nil {
		t.Error("a rate of nothing was taken")
	}
	frames := d.Frames()
	for i, want := range []struct{ qp, reconfigured int }{{20, 0}, {14, 1}, {14, 0}, {30, 1}} {
		if f := frames[i]; f.QP != want.qp || f.Reconfigured != want.reconfigured {
			t.Errorf("frame %d: quantiser %d after %d retunings, want %+v", i, f.QP, f.Reconfigured, want)
		}
	}
	if last := frames[4]; last.QP < 45 || last.QP != p.QP || last.Key != 0 {
		t.Errorf("a frame for which the rate has no room: %+v, packet's quantiser %d", last, p.QP)
	}
	if n := d.Count("session opened"); n != 1 {
		t.Errorf("%d sessions were opened, want one that is retuned", n)
	}
}

func TestNVENCIsChosenByUUID(t *testing.T) {
	d := nvenctest.Build(t)
	for device, name := range map[string]string{
		nvenctest.Card: "Double of a card", nvenctest.Other: "Double of another card", nvenctest.MIG: "Double of a MIG device",
	} {
		n, err := codec.OpenNVENC(codec.NVENCOptions{Device: device, Libraries: d.Again(t).Libraries, FrameLimit: patient}) // CUDA chooses once for a process
		if err != nil {
			t.Errorf("open %s: %v", device, err)
			continue
		}
		if n.Name() != name {
			t.Errorf("%s is %q, want %q", device, n.Name(), name)
		}
		caps, err := n.Capabilities()
		if err != nil || len(caps.Chroma) != 2 || caps.Max != image.Pt(4096, 4096) || strings.Join(caps.Codecs, " ") != "H264 HEVC" {
			t.Errorf("%s can do %+v (%v)", device, caps, err)
		}
		n.Close()
	}
	if _, err := codec.OpenNVENC(codec.NVENCOptions{Device: "GPU-5a1e0000-0000-4000-8000-00000000dead", Libraries: d.Libraries, FrameLimit: patient}); !errors.Is(err, codec.ErrNoDevice) {
		t.Errorf("a card that is not there: %v", err)
	}
}

// Whatever is missing has its own error, says what it is, and leaves nothing open.
func TestNVENCSaysWhyItCannot(t *testing.T) {
	built := nvenctest.Build(t)
	for _, c := range []struct {
		name   string
		fault  string
		value  int
		chroma codec.Chroma
		w, h   int
		want   error
		text   string
	}{
		{name: "an old driver", fault: "version", value: 0x80, want: codec.ErrNoDriver, text: "install a newer driver"},
		{name: "CUDA does not start", fault: "init", value: 999, want: codec.ErrDriver, text: "start CUDA: CUDA_ERROR_UNKNOWN"},
		{name: "no engine", fault: "no_engine", value: 1, want: codec.ErrNoEngine, text: "no encoder engine"},
		{name: "no H.264", fault: "no_h264", value: 1, want: codec.ErrNoEngine, text: "makes no H.264"},
		{name: "no session", fault: "sessions", value: 0, want: codec.ErrNoSession, text: "takes no further session"},
		{name: "no memory", fault: "no_memory", value: 1, want: codec.ErrDriver, text: "CUDA_ERROR_OUT_OF_MEMORY"},
		{name: "no 4:4:4", fault: "no_444", value: 1, chroma: codec.Chroma444, want: codec.ErrUnfit, text: "no H.264 4:4:4"},
		{name: "too large", w: 4098, h: 320, want: codec.ErrUnfit, text: "from 145x49 to 4096x4096, not 4098x320"},
		{name: "a card off the bus", fault: "lost", value: 1, want: codec.ErrDriver, text: "device does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := built.Again(t)
			if c.fault != "" {
				d.Fault(c.fault, c.value)
			}
			if c.chroma == "" {
				c.chroma = codec.Chroma420
			}
			if c.w == 0 {
				c.w, c.h = 640, 480
			}
			n, err := codec.OpenNVENC(codec.NVENCOptions{Device: nvenctest.Card, Libraries: d.Libraries, FrameLimit: patient})
			if err == nil {
				defer n.Close()
				var e codec.Encoder
				if e, err = n.NewEncoder(c.w, c.h, codec.Colours{Chroma: c.chroma}, nvencRate); err == nil {
					e.Close()
				}
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q of the kind %q", err, c.text, c.want)
			}
		})
	}
	if _, err := codec.OpenNVENC(codec.NVENCOptions{Device: nvenctest.Card, Libraries: t.TempDir()}); !errors.Is(err, codec.ErrNoDriver) || !strings.Contains(err.Error(), "libcuda.so.1") {
		t.Errorf("a host without the driver: %v", err)
	}
}

func TestNVENCSessionsAreCounted(t *testing.T) {
	d := nvenctest.Build(t)
	d.Fault("sessions", 2)
	n := openNVENC(t, d, nvenctest.Card)
	open := func() (codec.Encoder, error) {
		return n.NewEncoder(320, 240, codec.Colours{Chroma: codec.Chroma420}, nvencRate)
	}
	var encoders []codec.Encoder
	for range 2 {
		e, err := open()
		if err != nil {
			t.Fatal(err)
		}
		encoders = append(encoders, e)
	}
	if _, err := open(); !errors.Is(err, codec.ErrNoSession) {
		t.Errorf("a third session of two: %v", err)
	}
	encoders[0].Close()
	e, err := open()
	if err != nil {
		t.Fatalf("a session that was given back: %v", err)
	}
	e.Close()
	encoders[1].Close()
}

func TestNVENCThatIsLostInTheMiddle(t *testing.T) {
	d := nvenctest.Build(t)
	c := newCanvas(t, openNVENC(t, d, nvenctest.Card), codec.Chroma420, 640, 480)
	d.Fault("lost_at", 3)
	for range 3 {
		c.show(codec.FrameOptions{})
	}
	if _, err := c.encode(codec.FrameOptions{}); !errors.Is(err, codec.ErrDriver) || !strings.Contains(err.Error(), "device does not exist") {
		t.Errorf("a frame of a lost card: %v", err)
	}
	c.check(3, codec.Chroma420)
}

// A driver that hangs holds nobody up for longer than the deadline, neither in the frame nor afterwards, and the memory that it may still read is
// not freed under it.
func TestNVENCThatHangs(t *testing.T) {
	d := nvenctest.Build(t)
	n, err := codec.OpenNVENC(codec.NVENCOptions{Device: nvenctest.Card, Libraries: d.Libraries, FrameLimit: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	p, err := codec.NewPicture(640, 480)
	if err != nil {
		t.Fatal(err)
	}
	e, err := n.NewEncoder(640, 480, codec.Colours{Chroma: codec.Chroma420}, nvencRate)
	if err != nil {
		t.Fatal(err)
	}
	d.Fault("hang_at", 0)
	if _, err := e.Encode(p, codec.FrameOptions{}); !errors.Is(err, codec.ErrHung) {
		t.Fatalf("a frame that hangs: %v", err)
	}
	if _, err := e.Encode(p, codec.FrameOptions{}); !errors.Is(err, codec.ErrHung) {
		t.Errorf("a frame after one that hangs: %v", err)
	}
	if _, err := n.NewEncoder(320, 240, codec.Colours{Chroma: codec.Chroma420}, nvencRate); !errors.Is(err, codec.ErrHung) {
		t.Errorf("an encoder beside one that hangs: %v", err)
	}
	e.Close()
	p.Close()
	n.Close()
	if !codec.Held(p) {
		t.Error("the picture was freed while the driver reads it")
	}
	d.Fault("hang_at", -1) // it comes back after all
	d.Await("frame=0", 1)
	for deadline := time.Now().Add(30 * time.Second); codec.Held(p); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the picture was not freed when the driver let it go")
		}
	}
	d.Forgive() // what a hung driver has cannot be given back
}

func TestNVENCEncodingAllocatesNothing(t *testing.T) {
	d := nvenctest.Build(t)
	c := newCanvas(t, openNVENC(t, d, nvenctest.Card), codec.Chroma420, 320, 240)
	rects := []image.Rectangle{image.Rect(0, 0, c.w, c.h)}
	v := byte(0)
	got := testing.AllocsPerRun(50, func() {
		v++
		c.paint(image.Rect(100, 100, 140, 140), v)
		if _, err := c.p.Update(c.pix, c.w*4, rects); err != nil {
			t.Fatal(err)
		}
		if _, err := c.e.Encode(c.p, codec.FrameOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Fatalf("%v allocations a frame, want none", got)
	}
}

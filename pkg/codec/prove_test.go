package codec

import (
	"image"
	"strings"
	"testing"
)

var proofSize = image.Pt(640, 360)

func opener(c Coding) func() (Encoder, error) {
	return func() (Encoder, error) { return NewSoftware(c, proofSize.X, proofSize.Y, 2, ProofRate) }
}

// Every encoder of the processor is proven in both ranges of colours, and a decoder that is not its own looked at what it made.
func TestEncodersAreProven(t *testing.T) {
	for _, f := range SoftwareFormats() {
		for _, short := range []bool{false, true} {
			c := Coding{f, short}
			p, err := Prove(c, proofSize, opener(c))
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			if p.NoDecoder != nil || p.Decoder == "" || p.MS <= 0 || p.PSNR < p.Allowed.PSNR || p.Worst > p.Allowed.Worst || p.Info.Chroma != string(f.Chroma()) {
				t.Errorf("%+v: the proof is %+v", c, p)
			}
			t.Logf("%s, %t: %.1f dB, off by %d", f, short, p.PSNR, p.Worst)
		}
	}
}

// liar is an encoder that makes something else of the picture.
type liar struct {
	Encoder
	frame  int
	encode func(frame int, honest Packet, o FrameOptions) (Packet, error)
}

func (l *liar) Encode(p *Picture, o FrameOptions) (Packet, error) {
	pkt, err := l.Encoder.Encode(p, o)
	if err != nil {
		return pkt, err
	}
	l.frame++
	return l.encode(l.frame-1, pkt, o)
}

// other encodes pictures of its own.
type other struct {
	t       *testing.T
	picture *Picture
	enc     Encoder
	chart   func(frame int) []byte
}

func newOther(t *testing.T, c Coding, chart func(frame int) []byte) *other {
	t.Helper()
	o := &other{t: t, chart: chart}
	var err error
	if o.picture, err = NewPictureOf(c.Colours(), proofSize.X, proofSize.Y); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.picture.Close)
	if o.enc, err = opener(c)(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.enc.Close)
	return o
}

func (o *other) encode(frame int, _ Packet, opts FrameOptions) (Packet, error) {
	if _, err := o.picture.Update(o.chart(frame), proofSize.X*4, full(proofSize.X, proofSize.Y)); err != nil {
		o.t.Fatal(err)
	}
	return o.enc.Encode(o.picture, opts)
}

// An encoder that makes another picture, tells of other colours, or makes what nobody can decode fails its proof.
func TestFalseEncodersFailTheirProof(t *testing.T) {
	usual := func(frame int) []byte { return Chart(proofSize, frame) }
	for _, f := range SoftwareFormats() {
		c := Coding{Format: f}
		chroma := map[Format]Format{H264: H264444, H264444: H264, VP9: VP9444, VP9444: VP9, AV1: AV1444, AV1444: AV1}[f]
		for name, lie := range map[string]struct {
			encode func(int, Packet, FrameOptions) (Packet, error)
			want   string
		}{
			"another range":          {newOther(t, Coding{f, true}, usual).encode, "tells of colours"},
			"another chroma":         {newOther(t, Coding{Format: chroma}, usual).encode, "chroma"},
			"the change is not seen": {newOther(t, c, func(int) []byte { return Chart(proofSize, 0) }).encode, "picture 1 is decoded"},
			"grey":                   {newOther(t, c, func(int) []byte { return make([]byte, proofSize.X*proofSize.Y*4) }).encode, "picture 0 is decoded"},
			"all of it paler": {newOther(t, c, func(frame int) []byte {
				b := usual(frame)
				for i := range b {
					b[i] = 16 + byte(int(b[i])*219/255)
				}
				return b
			}).encode, "picture 0 is decoded"},
			"half a frame": {func(_ int, honest Packet, _ FrameOptions) (Packet, error) {
				last := len(honest.Units) - 1
				honest.Units[last] = honest.Units[last][:len(honest.Units[last])/2]
				return honest, nil
			}, ""},
			"rubbish": {func(_ int, honest Packet, _ FrameOptions) (Packet, error) {
				honest.Units = [][]byte{{0x80, 1, 2, 3}}
				return honest, nil
			}, "does not decode"},
			"nothing": {func(_ int, honest Packet, _ FrameOptions) (Packet, error) {
				honest.Units = nil
				return honest, nil
			}, "frame 0"},
			"keyframes alone": {func(_ int, honest Packet, _ FrameOptions) (Packet, error) {
				honest.Key = true
				return honest, nil
			}, "frame 1"},
		} {
			_, err := Prove(c, proofSize, func() (Encoder, error) {
				e, err := opener(c)()
				return &liar{Encoder: e, encode: lie.encode}, err
			})
			if err == nil || !strings.Contains(err.Error(), lie.want) {
				t.Errorf("%s, %s: %v", f, name, err)
			}
		}
	}
}

// AV1's tools for screens (palettes) are on: its frames say so (AV1, section 5.9.2: after show_existing_frame, frame_type, show_frame and
// disable_cdf_update comes allow_screen_content_tools).
func TestAV1CodesForScreens(t *testing.T) {
	for _, f := range []Format{AV1, AV1444} {
		c := Coding{Format: f}
		e, err := opener(c)()
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPictureOf(c.Colours(), proofSize.X, proofSize.Y)
		if err != nil {
			t.Fatal(err)
		}
		pkt, err := e.Encode(p, FrameOptions{Key: true})
		if err != nil {
			t.Fatal(err)
		}
		const frame, keyShown, tools = 6 << 3, 0b0001_0000, 0b0000_0100
		seen := false
		for _, u := range pkt.Units {
			if u[0]&obuType != frame {
				continue
			}
			if seen = true; u[1]&0b1111_0000 != keyShown || u[1]&tools == 0 {
				t.Errorf("%s: the frame begins with %08b", f, u[1])
			}
		}
		if !seen {
			t.Errorf("%s: no frame among %d units", f, len(pkt.Units))
		}
		e.Close()
		p.Close()
	}
}

package codec

// #include "encoder.h"
// #cgo LDFLAGS: -lvpx -laom
import "C"

import (
	"errors"
	"fmt"
	"image"
	"time"
	"unsafe"
)

// Format is a codec with its chroma.
type Format string

const (
	H264    Format = "h264"
	H264444 Format = "h264-444"
	VP9     Format = "vp9"
	VP9444  Format = "vp9-444"
	AV1     Format = "av1"
	AV1444  Format = "av1-444"
)

// SoftwareFormats are those that the processor encodes.
func SoftwareFormats() []Format { return []Format{H264, H264444, VP9, VP9444, AV1, AV1444} }

// Chroma is the format's.
func (f Format) Chroma() Chroma {
	switch f {
	case H264444, VP9444, AV1444:
		return Chroma444
	}
	return Chroma420
}

// Coding is what an encoder makes.
type Coding struct {
	Format Format
	// Short is the range of the picture's colours.
	Short bool
}

// Colours are those of the picture that it encodes.
func (c Coding) Colours() Colours { return Colours{Chroma: c.Format.Chroma(), Short: c.Short} }

// software is an encoder that needs nothing but the processor.
type software struct {
	c       *C.struct_encoder
	size    image.Point
	colours Colours
	info    Info
	gov     governor
	split   func(to [][]byte, b []byte) [][]byte // a frame into units
	units   [][]byte
	wish    C.struct_wish
	out     C.struct_encoded
}

// NewSoftware opens a low-latency encoder for pictures of one size, on 1 to 16 threads.
func NewSoftware(c Coding, width, height, threads int, r Rate) (Encoder, error) {
	f := c.Format
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("open an encoder of %s: %w", f, err)
	}
	if !validSize(width, height) {
		return nil, fmt.Errorf("open an encoder of %s for %dx%d: %s", f, width, height, wantSize)
	}
	if threads < 1 || threads > 16 {
		return nil, fmt.Errorf("open an encoder of %s: %d threads, want 1 to 16", f, threads)
	}
	e := &software{size: image.Pt(width, height), colours: c.Colours(), gov: newGovernor(r), units: make([][]byte, 0, 32)}
	full, whole := e.colours.flags()
	frames := C.struct_frames{width: C.int(width), height: C.int(height), yuv444: full, full: whole, threads: C.int(threads)}
	switch f {
	case H264, H264444:
		e.c, e.split, e.gov.spills = C.encoder_x264(&frames), splitLengths, true
		e.info = Info{Codec: "H264", Profile: h264Profile(f.Chroma()), Encoder: "x264 (software)"}
	case VP9, VP9444:
		e.c, e.split = C.encoder_vp9(&frames), func(to [][]byte, b []byte) [][]byte { return append(to, b) }
		e.info = Info{Codec: "VP9", Profile: fmt.Sprintf("profile %d", full), Encoder: "libvpx (software)"}
	case AV1, AV1444:
		e.c, e.split = C.encoder_av1(&frames), splitOBUs
		e.info = Info{Codec: "AV1", Profile: [...]string{"main", "high"}[full], Encoder: "libaom (software)"}
	default:
		return nil, fmt.Errorf("open an encoder of %q: there is none", f)
	}
	if e.c == nil {
		return nil, fmt.Errorf("open %s for %s of %dx%d: refused", e.info.Encoder, f, width, height)
	}
	e.info.Chroma = string(f.Chroma())
	return e, nil
}

func h264Profile(c Chroma) string {
	if c == Chroma444 {
		return "high-4:4:4-predictive"
	}
	return "constrained-baseline"
}

func (e *software) Encode(p *Picture, o FrameOptions) (Packet, error) {
	if p.size != e.size || p.colours != e.colours {
		return Packet{}, fmt.Errorf("encode: the picture is %v of %+v, the encoder's %v of %+v", p.size, p.colours, e.size, e.colours)
	}
	now := time.Now()
	k, detail, fine := e.gov.frame(p, o)
	qp := e.gov.choose(k, detail, fine, now)
	e.wish = C.struct_wish{qp: C.int(qp)}
	switch {
	case o.Key:
		e.wish.key = 1
	case k == refinement:
		e.wish.refine = 1
	}
	if e.gov.starved(k, qp, now) {
		e.wish.far = 1
	}
	if C.encoder_encode(e.c, p.c, &e.wish, &e.out) != 0 || e.out.size == 0 {
		return Packet{}, errors.New("encode: " + e.info.Encoder + " made no frame")
	}
	n := int(e.out.size)
	e.gov.learn(k, detail, qp, n, now)
	e.units = e.split(e.units[:0], unsafe.Slice((*byte)(unsafe.Pointer(e.out.data)), n))
	return Packet{Units: e.units, Key: e.out.key != 0, Bytes: n, QP: qp}, nil
}

func (e *software) SetRate(r Rate) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("set the rate of %s: %w", e.info.Encoder, err)
	}
	e.gov.rate = r
	return nil
}

func (e *software) Info() Info { return e.info }

func (e *software) Close() {
	C.encoder_close(e.c)
	e.c = nil
}

func (r Rate) validate() error {
	if r.Quality < 1 || r.Quality > 51 || r.Kbps < 100 || r.Kbps > 1_000_000 || r.BufferMS < 10 || r.BufferMS > 10_000 {
		return fmt.Errorf("rate %+v is out of bounds", r)
	}
	return nil
}

package codec

// #include "encoder.h"
import "C"

import (
	"errors"
	"fmt"
	"image"
	"time"
	"unsafe"
)

// lengthPrefix is how many bytes x264 writes before a NAL unit when asked for no start codes.
const lengthPrefix = 4

type x264 struct {
	c       *C.struct_encoder
	size    image.Point
	gov     governor
	nals    [][]byte
	cNALs   *C.x264_nal_t
	cCount  C.int
	cWasKey C.int
}

// NewX264 opens a low-latency software H.264 encoder for pictures of one size, on 1 to 16 threads.
func NewX264(width, height, threads int, r Rate) (Encoder, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("open x264: %w", err)
	}
	if threads < 1 || threads > 16 {
		return nil, fmt.Errorf("open x264: %d threads, want 1 to 16", threads)
	}
	c := C.encoder_open(C.int(width), C.int(height), C.int(threads))
	if c == nil {
		return nil, fmt.Errorf("open x264 for %dx%d: refused", width, height)
	}
	return &x264{c: c, size: image.Pt(width, height), gov: newGovernor(r), nals: make([][]byte, 0, 32)}, nil
}

func (e *x264) Encode(p *Picture, o FrameOptions) (Packet, error) {
	if p.size != e.size || p.chroma != Chroma420 {
		return Packet{}, fmt.Errorf("encode: the picture is %v of %s, the encoder's %v of %s", p.size, p.chroma, e.size, Chroma420)
	}
	now, key := time.Now(), C.int(0)
	k, detail, fine := e.gov.frame(p, o)
	if o.Key {
		key = 1
	}
	qp := e.gov.choose(k, detail, fine, now)
	n := C.encoder_encode(e.c, p.c, key, C.int(qp), &e.cNALs, &e.cCount, &e.cWasKey)
	if n <= 0 {
		return Packet{}, errors.New("encode: x264 made no frame")
	}
	e.gov.learn(k, detail, qp, int(n), now)
	e.nals = e.nals[:0]
	for _, nal := range unsafe.Slice(e.cNALs, int(e.cCount)) {
		if nal.i_type == C.NAL_SEI { // x264's note about itself, of no use to a viewer
			continue
		}
		b := unsafe.Slice((*byte)(unsafe.Pointer(nal.p_payload)), int(nal.i_payload))
		e.nals = append(e.nals, b[lengthPrefix:])
	}
	return Packet{Units: e.nals, Key: e.cWasKey != 0, Bytes: int(n), QP: qp}, nil
}

func (e *x264) SetRate(r Rate) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("set x264's rate: %w", err)
	}
	e.gov.rate = r
	return nil
}

func (e *x264) Info() Info {
	return Info{Codec: "H264", Profile: "constrained-baseline", Chroma: string(Chroma420), Encoder: "x264 (software)"}
}

func (e *x264) Close() {
	C.encoder_close(e.c)
	e.c = nil
}

func (r Rate) validate() error {
	if r.Quality < 1 || r.Quality > 51 || r.Kbps < 100 || r.Kbps > 1_000_000 || r.BufferMS < 10 || r.BufferMS > 10_000 {
		return fmt.Errorf("rate %+v is out of bounds", r)
	}
	return nil
}

package codec

// #cgo LDFLAGS: -ldl
// #include "decode.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// ErrNoDecoder means that a format's decoder is not there: H.264's, libavcodec, is loaded at run time.
var ErrNoDecoder = errors.New("there is no decoder")

// Decoder decodes what an encoder made, to prove the encoder. It is for one goroutine.
type Decoder struct {
	format Format
	c      *C.struct_decoder
}

// Told is what a stream tells of its colours, in H.273's numbers: 0 for what its codec has no word for.
type Told struct {
	Full                        bool
	Matrix, Primaries, Transfer int
}

// NewDecoder opens a decoder that is not of the encoder's making: libvpx's, libaom's, or libavcodec's for H.264.
func NewDecoder(f Format) (*Decoder, error) {
	d := &Decoder{format: f}
	var wrong [200]C.char
	switch f {
	case H264, H264444:
		d.c = C.decoder_h264(&wrong[0], C.size_t(len(wrong)))
	case VP9, VP9444:
		d.c = C.decoder_vp9()
	case AV1, AV1444:
		d.c = C.decoder_av1()
	}
	if d.c == nil {
		return nil, fmt.Errorf("decode %s: %w: %s", f, ErrNoDecoder, C.GoString(&wrong[0]))
	}
	return d, nil
}

// Name is the decoder's.
func (d *Decoder) Name() string {
	switch d.format {
	case H264, H264444:
		return "libavcodec"
	case VP9, VP9444:
		return "libvpx"
	}
	return "libaom"
}

// Decode gives a frame's picture as BGRX, of which the last byte says nothing, by the colours that the stream tells of.
func (d *Decoder) Decode(units [][]byte, width, height int) ([]byte, Told, error) {
	out := make([]byte, width*height*4)
	b := d.frame(units)
	var s C.struct_shown
	wrong := C.decoder_decode(d.c, (*C.uint8_t)(unsafe.Pointer(&b[0])), C.size_t(len(b)), (*C.uint8_t)(unsafe.Pointer(&out[0])), C.int(width), C.int(height), &s)
	told := Told{Full: s.full != 0, Matrix: int(s.matrix), Primaries: int(s.primaries), Transfer: int(s.transfer)}
	if wrong != nil {
		return nil, told, fmt.Errorf("decode %s: %s", d.format, C.GoString(wrong))
	}
	if (s.yuv444 != 0) != (d.format.Chroma() == Chroma444) {
		return nil, told, fmt.Errorf("decode %s: its chroma is not %s", d.format, d.format.Chroma())
	}
	return out, told, nil
}

// Close frees the decoder.
func (d *Decoder) Close() {
	C.decoder_close(d.c)
	d.c = nil
}

// frame is a frame as files and decoders have it, never empty.
func (d *Decoder) frame(units [][]byte) []byte {
	switch d.format {
	case AV1, AV1444:
		return JoinOBUs(units)
	case H264, H264444:
		return joinNALs(units)
	}
	return join(units)
}

func join(units [][]byte) []byte {
	b := make([]byte, 0, 1<<16)
	for _, u := range units {
		b = append(b, u...)
	}
	return append(b, 0)[:max(len(b), 1)]
}

// joinNALs puts a start code before each unit.
func joinNALs(units [][]byte) []byte {
	b := []byte{0}
	for _, u := range units {
		b = append(append(b, 0, 0, 1), u...)
	}
	return b
}

// JoinOBUs makes a temporal unit of OBUs without sizes, as files and decoders have it.
func JoinOBUs(units [][]byte) []byte {
	b := []byte{obuDelimiter | obuHasSize, 0}
	for _, u := range units {
		head := 1
		if u[0]&obuExtension != 0 {
			head = 2
		}
		b = append(b, u[0]|obuHasSize)
		b = append(b, u[1:head]...)
		b = binary.AppendUvarint(b, uint64(len(u)-head))
		b = append(b, u[head:]...)
	}
	return b
}

package codec

// #include "decode.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// ErrNoDecoder means that no decoder of a format is linked. H.264 has none: its is for a program beside this one to prove.
var ErrNoDecoder = errors.New("no decoder is linked")

// DecodeKey decodes one keyframe of VP9 or AV1, by its library's own decoder, into BGRX of that size.
func DecodeKey(f Format, units [][]byte, width, height int) ([]byte, error) {
	out := make([]byte, width*height*4)
	w, h, to := C.int(width), C.int(height), (*C.uint8_t)(unsafe.Pointer(&out[0]))
	var wrong *C.char
	switch f {
	case VP9, VP9444:
		b := join(units)
		wrong = C.decode_vp9((*C.uint8_t)(unsafe.Pointer(&b[0])), C.size_t(len(b)), to, w, h)
	case AV1, AV1444:
		b := JoinOBUs(units)
		wrong = C.decode_av1((*C.uint8_t)(unsafe.Pointer(&b[0])), C.size_t(len(b)), to, w, h)
	default:
		return nil, fmt.Errorf("decode %s: %w", f, ErrNoDecoder)
	}
	if wrong != nil {
		return nil, fmt.Errorf("decode %s: %s", f, C.GoString(wrong))
	}
	return out, nil
}

func join(units [][]byte) []byte {
	b := make([]byte, 0, 1<<16)
	for _, u := range units {
		b = append(b, u...)
	}
	return append(b, 0)[:len(b)] // never empty: its first byte is pointed at
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

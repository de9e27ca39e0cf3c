// Package opus encodes sound by libopus (BSD): stereo, 48 kHz, frames of 20 ms, with what repairs a lost packet in the next one, and
// next to nothing for silence. It has a decoder, by which an encoder is proven.
package opus

// #cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -Werror
// #cgo LDFLAGS: -lopus
// #include "opus.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// The one format.
const (
	Rate     = 48000
	Channels = 2
	// Frame is how many samples of each channel a packet has: 20 ms.
	Frame = Rate / 50
)

const (
	bitrate    = 96000
	complexity = 7 // the least at which libopus sees silence
	// loss is the percentage of lost packets that the encoder reckons with.
	loss = 5
	// MaxPacket bounds a packet, in bytes: what the bitrate makes, many times over.
	MaxPacket = 1275
)

var errFrame = errors.New("a frame of sound has another size")

// Encoder is for one goroutine.
type Encoder struct {
	c   *C.OpusEncoder
	buf [MaxPacket]byte
}

// NewEncoder makes one.
func NewEncoder() (*Encoder, error) {
	var failed C.int
	e := &Encoder{c: C.opus_encoder_create(Rate, Channels, C.OPUS_APPLICATION_AUDIO, &failed)}
	if failed != C.OPUS_OK {
		return nil, fmt.Errorf("make an Opus encoder: %w", errorOf(failed))
	}
	if failed := C.easel_opus_setup(e.c, bitrate, complexity, loss); failed != C.OPUS_OK {
		e.Close()
		return nil, fmt.Errorf("set the Opus encoder up: %w", errorOf(failed))
	}
	return e, nil
}

// Encode encodes one frame of both channels' samples in turn. The packet's memory is good until the next call; it is empty where nothing needs to
// be sent, because there is silence.
func (e *Encoder) Encode(pcm []int16) ([]byte, error) {
	if len(pcm) != Frame*Channels {
		return nil, fmt.Errorf("encode sound: %w: %d samples", errFrame, len(pcm))
	}
	n := C.opus_encode(e.c, (*C.opus_int16)(unsafe.Pointer(&pcm[0])), Frame, (*C.uchar)(unsafe.Pointer(&e.buf[0])), MaxPacket)
	if n < 0 {
		return nil, fmt.Errorf("encode sound: %w", errorOf(C.int(n)))
	}
	if n <= 2 { // discontinuous transmission: libopus's word for "no need to send this"
		return nil, nil
	}
	return e.buf[:n], nil
}

// Close frees it.
func (e *Encoder) Close() { C.opus_encoder_destroy(e.c) }

// Decoder is for one goroutine.
type Decoder struct{ c *C.OpusDecoder }

// NewDecoder makes one.
func NewDecoder() (*Decoder, error) {
	var failed C.int
	d := &Decoder{c: C.opus_decoder_create(Rate, Channels, &failed)}
	if failed != C.OPUS_OK {
		return nil, fmt.Errorf("make an Opus decoder: %w", errorOf(failed))
	}
	return d, nil
}

// Decode decodes a packet into a frame's samples. With repair it makes the lost frame before the packet out of what the packet says of that; without a
// packet it makes something up.
func (d *Decoder) Decode(packet []byte, pcm []int16, repair bool) error {
	if len(pcm) != Frame*Channels {
		return fmt.Errorf("decode sound: %w: %d samples", errFrame, len(pcm))
	}
	var from *C.uchar
	if len(packet) > 0 {
		from = (*C.uchar)(unsafe.Pointer(&packet[0]))
	}
	var fec C.int
	if repair {
		fec = 1
	}
	n := C.opus_decode(d.c, from, C.opus_int32(len(packet)), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), Frame, fec)
	if n < 0 {
		return fmt.Errorf("decode sound: %w", errorOf(n))
	}
	if n != Frame {
		return fmt.Errorf("decode sound: %w: %d samples", errFrame, int(n))
	}
	return nil
}

// Close frees it.
func (d *Decoder) Close() { C.opus_decoder_destroy(d.c) }

func errorOf(code C.int) error {
	return fmt.Errorf("libopus: %s", C.GoString(C.opus_strerror(code)))
}

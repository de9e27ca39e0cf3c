package codec

// #include "picture.h"
import "C"

import (
	"fmt"
	"image"
	"unsafe"
)

// Smaller is a picture that shows another one in fewer pixels, for encoders. It has no tiles: those are of the whole one.
type Smaller struct {
	*Picture
	of     *Picture
	scaled []byte // BGRX, as it was scaled last
	begun  bool
}

// Smaller makes one of this picture, in the same colours. Its sides must be even, 16 at least and no larger than this one's.
func (p *Picture) Smaller(size image.Point) (*Smaller, error) {
	if size.X > p.size.X || size.Y > p.size.Y {
		return nil, fmt.Errorf("make a picture of %v smaller: %v is larger", p.size, size)
	}
	small, err := newPicture(p.colours, size.X, size.Y)
	if err != nil {
		return nil, err
	}
	return &Smaller{Picture: small, of: p, scaled: make([]byte, 4*size.X*size.Y)}, nil
}

// Follow takes over what changed in the larger picture since it was last followed or encoded: all of that counts as encoded then.
func (s *Smaller) Follow() error {
	all := C.int(0)
	if !s.begun {
		all = 1
	}
	if C.picture_shrink(s.c, s.of.c, (*C.uint8_t)(unsafe.Pointer(&s.scaled[0])), all) != 0 {
		return fmt.Errorf("scale a picture of %v to %v: libyuv refuses", s.of.size, s.size)
	}
	s.begun = true
	return nil
}

// smallerEncoder encodes a picture made smaller.
type smallerEncoder struct {
	Encoder
	small *Smaller
}

// OfSize has an encoder of pictures of a size encode this one, which may be larger. Closing what it returns closes the encoder; when it fails, the encoder is
// as it was.
func OfSize(e Encoder, p *Picture, size image.Point) (Encoder, error) {
	if size == p.size {
		return e, nil
	}
	small, err := p.Smaller(size)
	if err != nil {
		return nil, err
	}
	return &smallerEncoder{e, small}, nil
}

func (e *smallerEncoder) Encode(p *Picture, o FrameOptions) (Packet, error) {
	if p != e.small.of {
		return Packet{}, fmt.Errorf("encode: the picture of %v is not the one that was to be made smaller", p.size)
	}
	if err := e.small.Follow(); err != nil {
		return Packet{}, err
	}
	return e.Encoder.Encode(e.small.Picture, o)
}

func (e *smallerEncoder) Close() {
	e.Encoder.Close()
	e.small.Close()
}

package codec

// #cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -Werror
// #cgo LDFLAGS: -lx264 -lyuv
// #include "picture.h"
import "C"

import (
	"fmt"
	"image"
	"unsafe"
)

// Picture is what the encoder saw last of a screen, in the screen's pixels and in the encoder's (I420, BT.601,
// limited range). It lasts from frame to frame, so that only what changed is converted. It is for one goroutine, but for
// Update.
type Picture struct {
	c    *C.struct_picture
	size image.Point
}

// NewPicture makes a black picture. Both sides must be even and from 16 to 16384 pixels.
func NewPicture(width, height int) (*Picture, error) {
	if width < 16 || height < 16 || width > 16384 || height > 16384 || width%2 != 0 || height%2 != 0 {
		return nil, fmt.Errorf("make a picture of %dx%d: sides must be even and from 16 to 16384", width, height)
	}
	c := C.picture_new(C.int(width), C.int(height))
	if c == nil {
		return nil, fmt.Errorf("make a picture of %dx%d: out of memory", width, height)
	}
	return &Picture{c: c, size: image.Pt(width, height)}, nil
}

// Size is the picture's size in pixels.
func (p *Picture) Size() image.Point { return p.size }

// Update takes over from src, a whole screen of BGRX rows stride bytes apart, what differs within the rectangles,
// and returns how many 64x16 cells did. Rectangles are clipped to the picture. Calls whose rectangles lie in different rows of cells may run
// at the same time.
func (p *Picture) Update(src []byte, stride int, rects []image.Rectangle) (int, error) {
	if stride < p.size.X*4 || len(src) < stride*p.size.Y {
		return 0, fmt.Errorf("update a %dx%d picture: %d bytes in rows of %d are too few", p.size.X, p.size.Y, len(src), stride)
	}
	bounds := image.Rectangle{Max: p.size}
	changed := 0
	for _, r := range rects {
		if r = r.Intersect(bounds); r.Empty() {
			continue
		}
		changed += int(C.picture_update(p.c, (*C.uint8_t)(unsafe.Pointer(&src[0])), C.size_t(stride),
			C.int(r.Min.X), C.int(r.Min.Y), C.int(r.Max.X), C.int(r.Max.Y)))
	}
	return changed, nil
}

// Close frees the picture.
func (p *Picture) Close() {
	C.picture_free(p.c)
	p.c = nil
}

package codec

// #cgo CFLAGS: -std=gnu11 -O2 -Wall -Wextra -Werror
// #cgo LDFLAGS: -lx264 -lyuv
// #include "picture.h"
import "C"

import (
	"errors"
	"fmt"
	"image"
	"sync"
	"unsafe"
)

// Chroma is how much colour a picture keeps.
type Chroma string

const (
	Chroma420 Chroma = "4:2:0" // one colour for four pixels
	Chroma444 Chroma = "4:4:4" // each pixel has its own
)

// Colours are how a picture and its encoder have them.
type Colours struct {
	Chroma Chroma
	// Short is BT.601 in the range of 16 to 235 and 240, for browsers that take every picture to have that range, and not BT.709 in the whole of a byte.
	Short bool
}

func (c Colours) flags() (full444, fullRange C.int) {
	if c.Chroma == Chroma444 {
		full444 = 1
	}
	if !c.Short {
		fullRange = 1
	}
	return full444, fullRange
}

// Picture is what the encoder saw last of a screen, in the screen's pixels and in the encoder's. It lasts from frame to frame, so that only what changed is converted. It is for one goroutine, but for
// Update.
type Picture struct {
	c       *C.struct_picture
	size    image.Point
	colours Colours
	tiles   *Tiles

	mu      sync.Mutex
	readers int // calls into a driver that read it, and may do so for ever
	closed  bool
}

// NewPicture makes a black picture of 4:2:0.
func NewPicture(width, height int) (*Picture, error) {
	return NewPictureOf(Colours{Chroma: Chroma420}, width, height)
}

// NewPictureOf makes a black picture. Both sides must be even and from 16 to 16384 pixels.
func NewPictureOf(colours Colours, width, height int) (*Picture, error) {
	p, err := newPicture(colours, width, height)
	if err != nil {
		return nil, err
	}
	if p.tiles, err = newTiles(p); err != nil {
		C.picture_free(p.c)
		return nil, err
	}
	return p, nil
}

// newPicture makes one without tiles.
func newPicture(colours Colours, width, height int) (*Picture, error) {
	if colours.Chroma != Chroma420 && colours.Chroma != Chroma444 {
		return nil, fmt.Errorf("make a picture: chroma %q, want %s or %s", colours.Chroma, Chroma420, Chroma444)
	}
	if !validSize(width, height) {
		return nil, fmt.Errorf("make a picture of %dx%d: %s", width, height, wantSize)
	}
	full, whole := colours.flags()
	c := C.picture_new(C.int(width), C.int(height), full, whole)
	if c == nil {
		return nil, fmt.Errorf("make a picture of %dx%d: out of memory", width, height)
	}
	return &Picture{c: c, size: image.Pt(width, height), colours: colours}, nil
}

const wantSize = "sides must be even and from 16 to 16384"

func validSize(width, height int) bool {
	valid := func(side int) bool { return side >= 16 && side <= 16384 && side%2 == 0 }
	return valid(width) && valid(height)
}

// Tiles codes the picture's cells exactly.
func (p *Picture) Tiles() *Tiles { return p.tiles }

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

// Colours are how it has them.
func (p *Picture) Colours() Colours { return p.colours }

// SetColours has it keep more or less of colours, or in another range. What it shows stays, but an encoder needs all of it: the next frame must be a
// keyframe. No frame may be under way.
func (p *Picture) SetColours(c Colours) error {
	if c == p.colours {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers > 0 {
		return errors.New("change a picture's colours: an encoder still reads it")
	}
	full, whole := c.flags()
	if C.picture_set_colours(p.c, full, whole) != 0 {
		return fmt.Errorf("change a picture of %v to %+v: out of memory", p.size, c)
	}
	p.colours = c
	return nil
}

// ColourLoss is the part of the picture, from 0 to 1, whose colours are visibly others in 4:2:0, where four pixels have one.
func (p *Picture) ColourLoss() float64 {
	return float64(C.picture_colour_loss(p.c))
}

// detail is how much there is to see in all of the picture, and in what changed since the last frame.
func (p *Picture) detail() (all, changed float64) {
	return float64(p.c.detail_all), float64(p.c.detail_changed)
}

// hold keeps the picture's memory until release, even if it is closed meanwhile.
func (p *Picture) hold() {
	p.mu.Lock()
	p.readers++
	p.mu.Unlock()
}

func (p *Picture) release() {
	p.mu.Lock()
	p.readers--
	p.free()
	p.mu.Unlock()
}

// Close frees the picture.
func (p *Picture) Close() {
	if p.tiles != nil {
		p.tiles.close()
	}
	p.mu.Lock()
	p.closed = true
	p.free()
	p.mu.Unlock()
}

// free frees what nobody needs any more.
func (p *Picture) free() {
	if p.closed && p.readers == 0 {
		C.picture_free(p.c)
		p.c = nil
	}
}

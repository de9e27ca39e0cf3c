package xclient

import (
	"errors"
	"image"
	"image/color"

	"github.com/jezek/xgb/xproto"
)

// The marker is a row of square cells in the screen's top left corner that names the frame: white, black, 16 bits of
// counter (most significant first, white is one), 4 bits of checksum. Large black and white cells survive any codec.
const (
	CellSize    = 16                     // pixels
	MarkerCells = 2 + 16 + 4             // cells
	MarkerWidth = MarkerCells * CellSize // pixels
)

// MarkerRect is where the marker lies on the screen.
func MarkerRect() image.Rectangle { return image.Rect(0, 0, MarkerWidth, CellSize) }

func markerBits(counter uint16) [MarkerCells]bool {
	bits := [MarkerCells]bool{0: true}
	for i := range 16 {
		bits[2+i] = counter>>(15-i)&1 == 1
	}
	sum := markerSum(counter)
	for i := range 4 {
		bits[18+i] = sum>>(3-i)&1 == 1
	}
	return bits
}

// markerSum is unequal to zero for counter 0, so that a black screen is no marker.
func markerSum(c uint16) uint16 { return (c ^ c>>4 ^ c>>8 ^ c>>12 ^ 0x9) & 0xf }

var errNoMarker = errors.New("no frame marker in the picture")

// ReadMarker returns the counter of the marker in a picture whose origin is the screen's.
func ReadMarker(img image.Image) (uint16, error) {
	var bits [MarkerCells]bool
	for i := range bits {
		r, g, b, _ := img.At(i*CellSize+CellSize/2, CellSize/2).RGBA()
		bits[i] = (r+g+b)/3 > 0x7fff
	}
	var c uint16
	for i := range 16 {
		c <<= 1
		if bits[2+i] {
			c |= 1
		}
	}
	if bits != markerBits(c) {
		return 0, errNoMarker
	}
	return c, nil
}

// drawMarker fills the marker of a counter into a drawable at the origin.
func (s *Screen) drawMarker(d xproto.Drawable, gc xproto.Gcontext, counter uint16) {
	var white []xproto.Rectangle
	for i, on := range markerBits(counter) {
		if on {
			white = append(white, xproto.Rectangle{X: int16(i * CellSize), Width: CellSize, Height: CellSize})
		}
	}
	s.fill(d, gc, color.RGBA{A: 255}, xproto.Rectangle{Width: MarkerWidth, Height: CellSize})
	s.fill(d, gc, color.RGBA{255, 255, 255, 255}, white...)
}

func (s *Screen) fill(d xproto.Drawable, gc xproto.Gcontext, c color.RGBA, r ...xproto.Rectangle) {
	xproto.ChangeGC(s.conn, gc, xproto.GcForeground, []uint32{uint32(c.R)<<16 | uint32(c.G)<<8 | uint32(c.B)})
	xproto.PolyFillRectangle(s.conn, d, gc, r)
}

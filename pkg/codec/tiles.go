package codec

// #include "tile.h"
// #cgo noescape tiles_code
// #cgo nocallback tiles_code
// #cgo noescape tiles_detailed
// #cgo nocallback tiles_detailed
// #cgo noescape tiles_find
// #cgo nocallback tiles_find
// #cgo noescape tiles_same
// #cgo nocallback tiles_same
import "C"

import (
	"fmt"
	"image"
	"unsafe"
)

// MaxTile is the most bytes that one tile takes.
const MaxTile = C.TILE_RAW

// Tiles codes cells of a picture exactly, each by itself, for one viewer: it remembers what that viewer has, so that a tile holds only what is
// new. It lives as long as its picture, and is for the goroutine that updates that, while it does not.
type Tiles struct {
	c       *C.struct_tiles
	changed []uint16
	dx, dy  C.int // by which something moved last
}

// newTiles makes a coder for a viewer that has nothing yet.
func newTiles(p *Picture) (*Tiles, error) {
	c := C.tiles_new(p.c)
	if c == nil {
		return nil, fmt.Errorf("make a coder of tiles for %v: out of memory", p.size)
	}
	if c.count > 1<<16 {
		C.tiles_free(c)
		return nil, fmt.Errorf("make a coder of tiles for %v: more than 65536 cells", p.size)
	}
	return &Tiles{c: c, changed: make([]uint16, int(c.count))}, nil
}

// Count is how many cells the picture has. They are numbered in rows.
func (t *Tiles) Count() int { return int(t.c.count) }

// Changed lists the cells that Update found to differ since they were last listed. The list is good until the next call.
func (t *Tiles) Changed() []uint16 {
	n := C.tiles_changed(t.c, (*C.uint16_t)(unsafe.Pointer(&t.changed[0])), t.c.count)
	return t.changed[:n]
}

// Detailed is how many of these cells are not of one colour, as far as their luma tells: these take bytes, and the viewer's time.
func (t *Tiles) Detailed(cells []uint16) int {
	return int(C.tiles_detailed(t.c, (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(cells))), C.int(len(cells))))
}

// Code appends a cell's pixels as the picture has them, and gives their hash. The viewer is taken to have them then.
func (t *Tiles) Code(b []byte, cell int) ([]byte, uint32) {
	if cell < 0 || cell >= int(t.c.count) {
		panic(fmt.Sprintf("codec: there is no cell %d of %d", cell, int(t.c.count)))
	}
	n := len(b)
	for cap(b)-n < MaxTile {
		b = append(b[:cap(b)], 0)
	}
	var hash C.uint32_t
	took := C.tiles_code(t.c, C.int(cell), (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b[n:n+1:cap(b)]))), &hash)
	return b[:n+int(took)], uint32(hash)
}

// Find tells how far most of these cells went, which the viewer has: (x, y) is now what was at (x, y) + by. False: they cannot be found anywhere.
func (t *Tiles) Find(cells []uint16) (by image.Point, found bool) {
	found = C.tiles_find(t.c, (*C.uint16_t)(unsafe.Pointer(unsafe.SliceData(cells))), C.int(len(cells)), &t.dx, &t.dy) != 0
	return image.Pt(int(t.dx), int(t.dy)), found
}

// Same says of each cell of a rectangle of cells, row by row, whether it is what the viewer has so far away.
func (t *Tiles) Same(cells image.Rectangle, by image.Point, same []bool) {
	wide := int(t.c.picture.cells_wide)
	if whole := image.Rect(0, 0, wide, int(t.c.count)/wide); cells.Empty() || !cells.In(whole) || len(same) != cells.Dx()*cells.Dy() {
		panic(fmt.Sprintf("codec: %d answers of the cells %v of %v", len(same), cells, whole))
	}
	C.tiles_same(t.c, rectangle(cells), C.int(by.X), C.int(by.Y), (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(same))))
}

// Grow grows a rectangle of pixels that are what the viewer has so far away, by less than a cell at each side, as far as most of those beside it are that too.
func (t *Tiles) Grow(pixels image.Rectangle, by image.Point) image.Rectangle {
	t.check(pixels, by)
	r := C.tiles_grow(t.c, rectangle(pixels), C.int(by.X), C.int(by.Y))
	return image.Rect(int(r.x0), int(r.y0), int(r.x1), int(r.y1))
}

// Shift has the viewer's pixels in a rectangle be those from so far away.
func (t *Tiles) Shift(pixels image.Rectangle, by image.Point) {
	t.check(pixels, by)
	C.tiles_shift(t.c, rectangle(pixels), C.int(by.X), C.int(by.Y))
}

func (t *Tiles) check(pixels image.Rectangle, by image.Point) {
	whole := image.Rect(0, 0, int(t.c.picture.width), int(t.c.picture.height))
	if pixels.Empty() || !pixels.In(whole) || !pixels.Add(by).In(whole) {
		panic(fmt.Sprintf("codec: pixels %v from %v away are not all in %v", pixels, by, whole))
	}
}

func rectangle(r image.Rectangle) C.struct_rect {
	return C.struct_rect{x0: C.int(r.Min.X), y0: C.int(r.Min.Y), x1: C.int(r.Max.X), y1: C.int(r.Max.Y)}
}

// Forget has the cell be coded whole the next time, because the viewer has something else.
func (t *Tiles) Forget(cell int) { unsafe.Slice(t.c.known, int(t.c.count))[cell] = 0 }

// Reset is for a viewer that has nothing.
func (t *Tiles) Reset() { clear(unsafe.Slice(t.c.known, int(t.c.count))) }

func (t *Tiles) close() {
	C.tiles_free(t.c)
	t.c = nil
}

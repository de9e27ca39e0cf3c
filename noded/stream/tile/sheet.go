package tile

import (
	"image"
	"iter"
)

// maxKept bounds what is kept of coded cells for others who may want them: some screens of detail.
const maxKept = 4 << 20

// Sheet is a picture cut into cells, each of which is coded once for all viewers: what a viewer is sent of a cell depends on which version of it
// that viewer has. It belongs to the painter.
type Sheet struct {
	coder   Coder
	wide    int      // how many cells a row has
	moved   []uint16 // cells that the last look at the picture found changed
	version []uint32 // of a cell's pixels when it was coded last: 0 for never
	stale   []bool   // the picture has other pixels now
	looks   uint32
	until   []uint32 // of a stale cell, the last look at which it was not

	// What was coded of the present versions, for others to have: nil while there is one viewer.
	news, whole []coded
	kept        int
}

// coded is a cell as it was coded: by what is new since a version, or whole (from 0).
type coded struct {
	from, version, hash uint32
	bytes               []byte
}

// NewSheet begins with a picture of which nobody has anything, so many pixels wide.
func NewSheet(coder Coder, width int) *Sheet {
	coder.Reset()
	coder.Changed()
	return &Sheet{coder: coder, wide: CellsWide(width), version: make([]uint32, coder.Count()), stale: make([]bool, coder.Count()), until: make([]uint32, coder.Count())}
}

// Look finds the cells that have changed. Each layer is to look after that.
func (s *Sheet) Look() {
	s.moved = s.coder.Changed()
	for _, c := range s.moved {
		s.spoil(int(c))
	}
	s.looks++
}

// spoil notes that the picture has other pixels than a cell was coded as.
func (s *Sheet) spoil(c int) {
	if !s.stale[c] {
		s.stale[c], s.until[c] = true, s.looks
	}
}

// Share says whether several viewers take cells from the sheet.
func (s *Sheet) Share(on bool) {
	switch {
	case !on:
		s.news, s.whole, s.kept = nil, nil, 0
	case s.news == nil:
		s.news, s.whole = make([]coded, len(s.version)), make([]coded, len(s.version))
	}
}

// cell appends a cell for a viewer that has a version of it, 0 for none, and gives its hash. The viewer is taken to have the present version then.
func (s *Sheet) cell(b []byte, c int, has uint32) ([]byte, uint32) {
	at, from := len(b), s.version[c]
	if s.stale[c] || from == 0 {
		b, hash := s.coder.Code(b, c)
		s.stale[c] = false
		s.version[c] = max(s.version[c]+1, 1)
		s.keep(s.news, c, from, b[at:], hash)
		if has == from {
			return b, hash
		}
	}
	if has == s.version[c] {
		return s.coder.Code(b, c) // as good as nothing
	}
	if s.news != nil {
		for _, k := range [...]*coded{&s.news[c], &s.whole[c]} {
			if k.version == s.version[c] && (k.from == has || k.from == 0) {
				return append(b, k.bytes...), k.hash
			}
		}
	}
	s.coder.Forget(c)
	b, hash := s.coder.Code(b, c)
	s.keep(s.whole, c, 0, b[at:], hash)
	return b, hash
}

// shift has all that was coded of some pixels be what was so far away. That is right, but for cells that are to be coded again; some of these are coded whole.
func (s *Sheet) shift(pixels image.Rectangle, by image.Point, again, whole []uint16) {
	s.coder.Shift(pixels, by)
	for c := range s.touched(pixels) {
		s.version[c], s.stale[c] = max(s.version[c]+1, 1), false
	}
	for _, c := range again {
		s.spoil(int(c))
	}
	for _, c := range whole {
		s.coder.Forget(int(c))
	}
}

// at is a cell's place among the cells.
func (s *Sheet) at(c int) image.Rectangle {
	p := image.Pt(c%s.wide, c/s.wide)
	return image.Rectangle{Min: p, Max: p.Add(image.Pt(1, 1))}
}

// touched are the cells in which pixels of a rectangle lie, in order.
func (s *Sheet) touched(pixels image.Rectangle) iter.Seq[int] {
	return func(yield func(int) bool) {
		for y := pixels.Min.Y / CellHeight; y*CellHeight < pixels.Max.Y; y++ {
			for x := pixels.Min.X / CellWidth; x*CellWidth < pixels.Max.X; x++ {
				if !yield(y*s.wide + x) {
					return
				}
			}
		}
	}
}

// keep keeps a cell as it was coded, in the memory of what was kept of it before.
func (s *Sheet) keep(in []coded, c int, from uint32, bytes []byte, hash uint32) {
	if in == nil {
		return
	}
	if s.kept > maxKept {
		clear(s.news)
		clear(s.whole)
		s.kept = 0
	}
	k := &in[c]
	s.kept -= cap(k.bytes)
	*k = coded{from, s.version[c], hash, append(k.bytes[:0], bytes...)}
	s.kept += cap(k.bytes)
}

package tile

import (
	"testing"
)

// noisyCoder codes every cell as noise, which takes as much as its pixels.
type noisyCoder struct {
	Coder
	coded, cells int
}

func (c *noisyCoder) Count() int              { return c.cells }
func (c *noisyCoder) Changed() []uint16       { return nil }
func (c *noisyCoder) Detailed(d []uint16) int { return len(d) }
func (c *noisyCoder) Forget(int)              {}
func (c *noisyCoder) Reset()                  {}

func (c *noisyCoder) Code(b []byte, cell int) ([]byte, uint32) {
	c.coded++
	return append(b, make([]byte, 3*CellWidth*CellHeight+1)...), uint32(cell)
}

// TestKeptCellsAreBounded: a screen of noise that is larger than what may be kept is coded again for who comes later, and no more is kept.
func TestKeptCellsAreBounded(t *testing.T) {
	coder := &noisyCoder{cells: 8000} // 24 MB
	s := NewSheet(coder, 8000*CellWidth)
	s.Share(true)
	var b []byte
	for range 2 {
		for c := range coder.cells {
			b, _ = s.cell(b[:0], c, 0)
			if s.kept > maxKept+2*cap(b) {
				t.Fatalf("%d bytes are kept, at most %d may be", s.kept, maxKept)
			}
		}
	}
	if coder.coded < coder.cells+coder.cells/2 {
		t.Errorf("%d cells were coded for two viewers of %d: more is kept than may be", coder.coded, coder.cells)
	}
	s.Share(false)
	if s.kept != 0 || s.news != nil {
		t.Error("cells are kept for one viewer alone")
	}
}

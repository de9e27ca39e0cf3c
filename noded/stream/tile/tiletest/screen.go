// Package tiletest reads the tiles channel as a viewer does, for tests.
package tiletest

import (
	"encoding/binary"
	"fmt"
	"image"

	"easel/noded/stream/tile"
	"easel/pkg/codec/tiletest"

	"github.com/pion/webrtc/v4"
)

// Screen is what a viewer has of the picture by tiles.
type Screen struct {
	Size image.Point
	N    uint32 // the last message
	// Shifts is how many messages had a part of the picture moved, Kept how many brought what is only kept.
	Shifts, Kept int
	pix          [][]uint32 // of each cell, empty where the video shows it
	has          [][]uint32 // what the next tile of it may be told against
}

// keeps is the flag of a message whose tiles are not shown.
const keeps = 2

// Channel is how a viewer opens the channel.
func Channel() *webrtc.DataChannelInit {
	protocol := tile.Protocol
	return &webrtc.DataChannelInit{Protocol: &protocol}
}

// Report is the message by which a viewer reports.
func Report(r tile.Report) []byte {
	b := []byte{tile.ReportMessage, 0}
	b = binary.LittleEndian.AppendUint16(b, r.Cell)
	for _, v := range []uint32{r.N, r.Shown, r.Bad} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = binary.LittleEndian.AppendUint16(b, r.Video)
	return binary.LittleEndian.AppendUint16(b, r.Tile)
}

// Read takes one message in.
func (s *Screen) Read(b []byte) error {
	if n := le32(b, 4); n != s.N+1 {
		return fmt.Errorf("message %d comes after %d", n, s.N)
	}
	s.N++
	count, body := le16(b, 2), b[tile.HeaderBytes:]
	switch b[0] {
	case tile.SizeMessage:
		s.Size = image.Pt(le16(body, 0), le16(body, 2))
		s.pix, s.has = make([][]uint32, tile.Cells(s.Size)), make([][]uint32, tile.Cells(s.Size))
		for i := range s.pix {
			r := s.cell(i)
			s.has[i] = make([]uint32, r.Dx()*r.Dy())
			s.pix[i] = make([]uint32, 0, len(s.has[i]))
		}
	case tile.TilesMessage:
		var moved image.Rectangle
		dear, keep := 0, b[1]&keeps != 0
		if keep {
			s.Kept++
		}
		for i := range count {
			cell, hash, code := le16(body, 0), le32(body, 4), body[tile.RecordBytes:tile.RecordBytes+le16(body, 2)]
			body = body[tile.RecordBytes+len(code):]
			if i == 0 && len(code) == tile.ShiftBytes && code[0] == 4 {
				if !keep {
					s.Shifts++
				}
				at, size := image.Pt(le16(code, 1), le16(code, 3)), image.Pt(le16(code, 5), le16(code, 7))
				moved = image.Rectangle{at, at.Add(size)}
				s.shift(moved, image.Pt(int(int16(le16(code, 9))), int(int16(le16(code, 11)))))
				continue
			}
			if len(code) == 6 && code[0] == 3 { // of one colour, and so are some that follow
				for c := cell + 1; c <= cell+le16(code, 4); c++ {
					if err := s.read(c, code[:4], !keep); err != nil {
						return err
					}
				}
				code = code[:4]
			} else if dear++; dear > tile.MaxCells {
				return fmt.Errorf("more than %d cells of more than one colour in one message", tile.MaxCells)
			}
			if err := s.check(cell, code, hash, !keep); err != nil {
				return err
			}
		}
		if !keep {
			s.put(moved)
		}
	case tile.VideoMessage:
		for i := range count {
			first, length := le16(body, 4*i), le16(body, 4*i+2)
			for c := first; c < first+length; c++ {
				s.pix[c] = s.pix[c][:0]
			}
		}
	default:
		return fmt.Errorf("message of kind %d", b[0])
	}
	return nil
}

func (s *Screen) read(cell int, code []byte, show bool) error {
	if cell >= len(s.has) {
		return fmt.Errorf("there is no cell %d", cell)
	}
	r := s.cell(cell)
	if err := tiletest.Decode(code, r.Dx(), r.Dy(), s.has[cell]); err != nil {
		return fmt.Errorf("cell %d: %w", cell, err)
	}
	if show {
		s.pix[cell] = append(s.pix[cell][:0], s.has[cell]...)
	}
	return nil
}

// shift has pixels be what was so far away.
func (s *Screen) shift(of image.Rectangle, by image.Point) {
	before := make([]uint32, s.Size.X*s.Size.Y)
	for i, pix := range s.has {
		r := s.cell(i)
		for j, p := range pix {
			before[(r.Min.Y+j/r.Dx())*s.Size.X+r.Min.X+j%r.Dx()] = p
		}
	}
	for i, pix := range s.has {
		r := s.cell(i)
		for j := range pix {
			if p := r.Min.Add(image.Pt(j%r.Dx(), j/r.Dx())); p.In(of) {
				p = p.Add(by)
				pix[j] = before[p.Y*s.Size.X+p.X]
			}
		}
	}
}

// put shows what is known of some pixels. A cell of which these are but a part is shown by a tile, or was.
func (s *Screen) put(of image.Rectangle) {
	for i, pix := range s.has {
		r := s.cell(i)
		if r.In(of) {
			s.pix[i] = s.pix[i][:len(pix)]
		}
		for j := range s.pix[i] {
			if r.Min.Add(image.Pt(j%r.Dx(), j/r.Dx())).In(of) {
				s.pix[i][j] = pix[j]
			}
		}
	}
}

func (s *Screen) check(cell int, code []byte, hash uint32, show bool) error {
	if err := s.read(cell, code, show); err != nil {
		return err
	}
	if tiletest.HashOf(cell, code, s.has[cell]) != hash {
		return fmt.Errorf("cell %d has another hash", cell)
	}
	return nil
}

func (s *Screen) cell(i int) image.Rectangle {
	wide := tile.CellsWide(s.Size.X)
	at := image.Pt(i%wide*tile.CellWidth, i/wide*tile.CellHeight)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(tile.CellWidth, tile.CellHeight))}.Intersect(image.Rectangle{Max: s.Size})
}

// Exact is the whole picture as RGBA: nil while the video shows some of it.
func (s *Screen) Exact() []byte {
	out := make([]byte, s.Size.X*s.Size.Y*4)
	for i, pix := range s.pix {
		r := s.cell(i)
		if len(pix) == 0 {
			return nil
		}
		for j, p := range pix {
			at := ((r.Min.Y+j/r.Dx())*s.Size.X + r.Min.X + j%r.Dx()) * 4
			out[at], out[at+1], out[at+2], out[at+3] = byte(p), byte(p>>8), byte(p>>16), 255
		}
	}
	return out
}

// Spoil has all tiles be as if they had been read wrong.
func (s *Screen) Spoil() {
	for i := range s.has {
		clear(s.pix[i])
		clear(s.has[i])
	}
}

func le16(b []byte, at int) int    { return int(binary.LittleEndian.Uint16(b[at:])) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

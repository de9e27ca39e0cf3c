// Package tile shows a picture exactly: cells of the screen, coded without loss, lie above the video where that is cheaper or the picture is still.
// ARCHITECTURE.md, "Exact tiles", is the contract with the viewer.
package tile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
)

// Protocol is what the channel says that its two ends mean by all this. A page of another time shows the video alone.
const Protocol = "3"

// Messages of the tiles channel (ARCHITECTURE.md, "Exact tiles").
const (
	TilesMessage  = 1 // tiles to show
	VideoMessage  = 2 // cells that the video shows from a frame on
	SizeMessage   = 3 // the screen's size; nothing of before counts
	ReportMessage = 16

	HeaderBytes = 16 // of each message to the viewer
	RecordBytes = 8  // before each tile
	// plain begins a tile of one colour, whose record says for how many cells more it holds.
	plain, plainBytes = 3, 4
	// shifted begins what is no tile, and comes before all tiles: a rectangle of pixels that are to be what the viewer has elsewhere.
	shifted, ShiftBytes = 4, 13
	ReportBytes         = 20
	// MaxMessage bounds one message, and so what belongs together.
	MaxMessage = 60 << 10
	// genBits is how much of the generation a video frame's timestamp carries.
	genBits = 6
	genMask = 1<<genBits - 1
	// StampStep is what a frame's time is rounded down to in its timestamp, in ticks of RTP.
	StampStep = 1 << genBits
)

// A cell is the least piece of a picture whose change is counted, in pixels.
const (
	CellWidth  = 64
	CellHeight = 16
)

// Cells is how many a screen has.
func Cells(size image.Point) int {
	return CellsWide(size.X) * ((size.Y + CellHeight - 1) / CellHeight)
}

// CellsWide is how many stand side by side.
func CellsWide(width int) int { return (width + CellWidth - 1) / CellWidth }

// Coder codes cells of an encoder's picture exactly, each by itself, against how it coded them before. Cells are numbered in rows.
type Coder interface {
	Count() int
	// Changed lists the cells that Update found to differ since they were last listed, in order. The list is good until the next call.
	Changed() []uint16
	// Code appends a cell and gives its hash: what is new since it was coded last, or all of it if it was not.
	Code(b []byte, cell int) ([]byte, uint32)
	// Detailed is how many of these cells are not of one colour, more or less.
	Detailed(cells []uint16) int
	// Find tells how far most of these cells went, as they were coded last, if they did: (x, y) is now what was at (x, y) + by.
	Find(cells []uint16) (by image.Point, found bool)
	// Same says of each cell of a rectangle of cells, row by row, whether it is what was so far away.
	Same(cells image.Rectangle, by image.Point, same []bool)
	// Grow grows a rectangle of pixels that are what was so far away, by less than a cell at each side, as far as most of those beside it are that too.
	Grow(pixels image.Rectangle, by image.Point) image.Rectangle
	// Shift has what a rectangle of pixels was coded as before be what was so far away.
	Shift(pixels image.Rectangle, by image.Point)
	// Forget has a cell be coded whole the next time, Reset all.
	Forget(cell int)
	Reset()
}

// Flags of a message: it is for after the video frame that it names; or its tiles are only kept, for others to be told against.
const hasAfter, keeps = 1, 2

// builder makes one message to the viewer after the other in the same memory.
type builder struct {
	buf   []byte
	count int // of tiles or runs
	cells int // that tiles bring
	dear  int // those that are not of one colour
	// open is where the record of one colour begins that the next cell may be in: 0 for none. last is the last cell in it.
	open, last int
}

// begin begins a message. With after it counts from the moment when that video frame, or a later one, is on show.
func (b *builder) begin(kind byte, n, gen uint32, after *uint32) {
	*b = builder{buf: b.buf[:0]}
	b.buf = append(b.buf, kind, 0, 0, 0)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, n)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, gen)
	rtp := uint32(0)
	if after != nil {
		b.buf[1] = hasAfter
		rtp = *after
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, rtp)
}

// keep has the message change nothing that is on show, and be of the generation that is.
func (b *builder) keep(gen uint32) {
	b.buf[1] = keeps
	binary.LittleEndian.PutUint32(b.buf[8:], gen)
	clear(b.buf[12:HeaderBytes])
}

// tile puts a cell into a message of tiles, for a viewer that has a version of it.
func (b *builder) tile(sheet *Sheet, cell int, has uint32) {
	at := len(b.buf)
	b.buf = append(b.buf, make([]byte, RecordBytes)...)
	var hash uint32
	b.buf, hash = sheet.cell(b.buf, cell, has)
	record := b.buf[at:]
	binary.LittleEndian.PutUint16(record, uint16(cell))
	binary.LittleEndian.PutUint16(record[2:], uint16(len(record)-RecordBytes))
	binary.LittleEndian.PutUint32(record[4:], hash)
	b.cells++
	if len(record) == RecordBytes+plainBytes && record[RecordBytes] == plain {
		b.plain(at, cell)
		return
	}
	b.count++
	b.dear++
	b.open = 0
}

// plain has the record of one colour that begins at at be one with that of the cell before, if that has the same.
func (b *builder) plain(at, cell int) {
	const code, more = RecordBytes, RecordBytes + plainBytes
	if b.open > 0 && b.last == cell-1 && bytes.Equal(b.buf[b.open+code:b.open+more], b.buf[at+code:at+more]) {
		n := b.buf[b.open+more:]
		binary.LittleEndian.PutUint16(n, binary.LittleEndian.Uint16(n)+1)
		b.buf, b.last = b.buf[:at], cell
		return
	}
	b.buf = append(b.buf, 0, 0)
	binary.LittleEndian.PutUint16(b.buf[at+2:], plainBytes+2)
	b.open, b.last = at, cell
	b.count++
}

// shift begins a message of tiles with a rectangle of pixels that are to be what the viewer has so far away.
func (b *builder) shift(pixels image.Rectangle, by image.Point) {
	b.buf = append(b.buf, make([]byte, RecordBytes)...) // no cell, and no hash: what it makes is proven once it rests
	binary.LittleEndian.PutUint16(b.buf[len(b.buf)-RecordBytes+2:], ShiftBytes)
	b.buf = append(b.buf, shifted)
	for _, v := range [...]int{pixels.Min.X, pixels.Min.Y, pixels.Dx(), pixels.Dy(), by.X, by.Y} {
		b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(v))
	}
	b.count++
}

// run names cells [first, first+length) in a message of what the video shows.
func (b *builder) run(first, length int) {
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(first))
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(length))
	b.count++
}

// size is the body of a message that tells the screen's size.
func (b *builder) size(width, height int) {
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(width))
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(height))
}

// bytes is the message, good until the next begins.
func (b *builder) bytes() []byte {
	binary.LittleEndian.PutUint16(b.buf[2:], uint16(b.count))
	return b.buf
}

// Report is what the viewer says of the tiles that it has.
type Report struct {
	N     uint32 // all messages up to this one are on show
	Shown uint32 // the video frame that is
	Bad   uint32 // tiles so far whose hash was wrong
	Video uint16 // 1/10 ms from a frame's arrival to its being on show
	Tile  uint16 // the same of a message of tiles
	Cell  uint16 // 1/10 µs that one tile takes
}

// ParseReport reads what a viewer said.
func ParseReport(b []byte) (Report, error) {
	if len(b) != ReportBytes || b[0] != ReportMessage {
		return Report{}, fmt.Errorf("read a report on tiles: %d bytes, want %d that begin with %d", len(b), ReportBytes, ReportMessage)
	}
	return Report{N: binary.LittleEndian.Uint32(b[4:]), Shown: binary.LittleEndian.Uint32(b[8:]), Bad: binary.LittleEndian.Uint32(b[12:]), Video: binary.LittleEndian.Uint16(b[16:]), Tile: binary.LittleEndian.Uint16(b[18:]), Cell: binary.LittleEndian.Uint16(b[2:])}, nil
}

// runs calls f for each run of neighbouring numbers in cells, which are in order.
func runs(cells []uint16, f func(first, length int)) {
	for len(cells) > 0 {
		n := 1
		for n < len(cells) && cells[n] == cells[n-1]+1 {
			n++
		}
		f(int(cells[0]), n)
		cells = cells[n:]
	}
}

// after tells whether a number, which may wrap, comes after another.
func after(a, b uint32) bool { return int32(a-b) > 0 }

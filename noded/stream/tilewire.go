package stream

import (
	"encoding/binary"
	"fmt"
)

// Messages of the tiles channel (ARCHITECTURE.md, "Exact tiles").
const (
	tilesMessage = 1 // tiles to show
	videoMessage = 2 // cells that the video shows from a frame on
	sizeMessage  = 3 // the screen's size; nothing of before counts
	tilesAck     = 16

	tileHeader   = 16 // of each message to the viewer
	tileRecord   = 8  // before each tile
	tileAckBytes = 20
	// maxTileMessage bounds one message, and so what belongs together.
	maxTileMessage = 60 << 10
	// genBits is how much of the generation a video frame's timestamp carries.
	genBits = 6
	genMask = 1<<genBits - 1
)

// hasAfter says that a message is for after the video frame that it names.
const hasAfter = 1

// tileBuilder makes one message to the viewer after the other in the same memory.
type tileBuilder struct {
	buf   []byte
	count int
}

// begin begins a message. With after it counts from the moment when that video frame, or a later one, is on show.
func (b *tileBuilder) begin(kind byte, n, gen uint32, after *uint32) {
	b.count = 0
	b.buf = append(b.buf[:0], kind, 0, 0, 0)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, n)
	b.buf = binary.LittleEndian.AppendUint32(b.buf, gen)
	rtp := uint32(0)
	if after != nil {
		b.buf[1] = hasAfter
		rtp = *after
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, rtp)
}

// tile codes a cell into a message of tiles.
func (b *tileBuilder) tile(coder TileCoder, cell int) {
	at := len(b.buf)
	b.buf = append(b.buf, make([]byte, tileRecord)...)
	var hash uint32
	b.buf, hash = coder.Code(b.buf, cell)
	record := b.buf[at:]
	binary.LittleEndian.PutUint16(record, uint16(cell))
	binary.LittleEndian.PutUint16(record[2:], uint16(len(record)-tileRecord))
	binary.LittleEndian.PutUint32(record[4:], hash)
	b.count++
}

// run names cells [first, first+length) in a message of what the video shows.
func (b *tileBuilder) run(first, length int) {
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(first))
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(length))
	b.count++
}

// size is the body of a message that tells the screen's size.
func (b *tileBuilder) size(width, height int) {
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(width))
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(height))
}

// bytes is the message, good until the next begins.
func (b *tileBuilder) bytes() []byte {
	binary.LittleEndian.PutUint16(b.buf[2:], uint16(b.count))
	return b.buf
}

// tileReport is what the viewer says of the tiles that it has.
type tileReport struct {
	N     uint32 // all messages up to this one are on show
	Shown uint32 // the video frame that is
	Bad   uint32 // tiles so far whose hash was wrong
	Video uint16 // 1/10 ms from a frame's arrival to its being on show
	Tile  uint16 // the same of a message of tiles
	Cell  uint16 // 1/10 µs that one tile takes
}

func parseTileReport(b []byte) (tileReport, error) {
	if len(b) != tileAckBytes || b[0] != tilesAck {
		return tileReport{}, fmt.Errorf("read a report on tiles: %d bytes, want %d that begin with %d", len(b), tileAckBytes, tilesAck)
	}
	return tileReport{N: le32(b, 4), Shown: le32(b, 8), Bad: le32(b, 12), Video: le16(b, 16), Tile: le16(b, 18), Cell: le16(b, 2)}, nil
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

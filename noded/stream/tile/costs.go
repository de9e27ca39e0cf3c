package tile

import (
	"math/bits"
	"time"
)

// What is taken for a frame's cost until some were measured, as one of 1920x1080 costs on one slow core.
const (
	guessEncode     = 1500 * time.Microsecond
	guessEncodeCell = 3 * time.Microsecond
	guessFrame      = 300 // bytes
	guessFrameCell  = 40
	// shiftCell is what moving a cell costs here and in the viewer: for a screen of 1920x1080, 1.4 ms of processor and 3 ms.
	shiftCell = 3 * time.Microsecond
	// RetryAfter is after how long without tiles they are taken to cost no more than that.
	RetryAfter = 2 * time.Second
	// news is how much of a new measurement is believed.
	news = 0.2
)

// client is how long a viewer takes for a video frame, for a message of tiles, and for each tile.
type client struct{ video, tiles, cell time.Duration }

// guessed is taken for that until the viewer has said.
func guessed() client {
	return client{5 * time.Millisecond, 2 * time.Millisecond, 10 * time.Microsecond}
}

// sizes are how many cells changed, in powers of two: what a frame costs depends on it.
const sizes = 17

// Costs knows what a change takes by either way: measured time and bytes. A millisecond of the server's processor counts as one of waiting.
type Costs struct {
	encode [sizes]float64 // seconds
	bytes  [sizes]float64
	code   float64 // seconds a cell
}

func sizeOf(cells int) int { return min(bits.Len(uint(cells)), sizes-1) }

// Encoded takes in what a video frame took.
func (c *Costs) Encoded(cells int, took time.Duration, bytes int) {
	i := sizeOf(cells)
	blend(&c.encode[i], took.Seconds())
	blend(&c.bytes[i], float64(bytes))
}

// Coded takes in how long tiles took to code, so many of which were not of one colour: the others take next to nothing.
func (c *Costs) Coded(dear int, took time.Duration) {
	if dear > 0 {
		blend(&c.code, took.Seconds()/float64(dear))
	}
}

func blend(v *float64, sample float64) {
	if *v == 0 {
		*v = sample
		return
	}
	*v += (sample - *v) * news
}

// Change is one that may go by tiles or by video.
type Change struct {
	Cells      int
	Dear       int // tiles that are not of one colour
	Shifted    int // cells that come by being moved
	VideoKbps  int // what video may use of the way
	TileKbps   int
	SinceFrame time.Duration // since the last frame of video
	SinceTiles time.Duration // since the last change that went by tiles
}

// Room is how many bytes a change may take as tiles before video is the cheaper way. Less than 0: it is so in any case.
func (c *Costs) Room(f *Flow, d Change) int {
	client, known := f.client()
	if !known {
		client = guessed()
	}
	return c.room(client, d)
}

func (c *Costs) room(v client, d Change) int {
	limit := c.video(d.Cells, d.VideoKbps, v.video)
	// Tiles wait in the viewer for the frame before them.
	hold := max(v.video-d.SinceFrame, 0)
	if d.SinceTiles > RetryAfter { // what was dear may be so no longer
		v.tiles, v.cell = min(v.tiles, guessed().tiles), min(v.cell, guessed().cell)
	}
	left := limit - hold - v.tiles - time.Duration(d.Dear)*v.cell - seconds(2*c.code*float64(d.Dear)) - time.Duration(d.Shifted)*shiftCell
	return int(left.Seconds() * float64(d.TileKbps) * 1000 / 8)
}

// video is what a frame with so many changed cells costs.
func (c *Costs) video(cells, kbps int, client time.Duration) time.Duration {
	i := sizeOf(cells)
	encode, bytes := c.encode[i], c.bytes[i]
	if encode == 0 {
		encode = (guessEncode + time.Duration(cells)*guessEncodeCell).Seconds()
		bytes = float64(guessFrame + cells*guessFrameCell)
	}
	return seconds(2*encode) + client + seconds(bytes*8/1000/float64(max(kbps, 1)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

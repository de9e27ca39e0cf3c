package stream

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
	guessVideo      = 5 * time.Millisecond // in the viewer
	guessTile       = 2 * time.Millisecond
	guessCell       = 10 * time.Microsecond
	// tileTry is after how long without tiles they are taken to cost no more than that.
	tileTry = 2 * time.Second
	// news is how much of a new measurement is believed.
	news = 0.2
)

// sizes are how many cells changed, in powers of two: what a frame costs depends on it.
const sizes = 17

// costs knows what a change takes by either way: measured time and bytes. A millisecond of the server's processor counts as one of waiting.
type costs struct {
	encode [sizes]float64 // seconds
	bytes  [sizes]float64
	code   float64 // seconds a cell
}

func sizeOf(cells int) int { return min(bits.Len(uint(cells)), sizes-1) }

// encoded takes in what a video frame took.
func (c *costs) encoded(cells int, took time.Duration, bytes int) {
	i := sizeOf(cells)
	blend(&c.encode[i], took.Seconds())
	blend(&c.bytes[i], float64(bytes))
}

// coded takes in how long tiles took to code.
func (c *costs) coded(cells int, took time.Duration) {
	blend(&c.code, took.Seconds()/float64(max(cells, 1)))
}

func blend(v *float64, sample float64) {
	if *v == 0 {
		*v = sample
		return
	}
	*v += (sample - *v) * news
}

// video is what a frame with so many changed cells costs.
func (c *costs) video(cells, kbps int, client time.Duration) time.Duration {
	i := sizeOf(cells)
	encode, bytes := c.encode[i], c.bytes[i]
	if encode == 0 {
		encode = (guessEncode + time.Duration(cells)*guessEncodeCell).Seconds()
		bytes = float64(guessFrame + cells*guessFrameCell)
	}
	return seconds(2*encode) + client + onWay(bytes, kbps)
}

// room is how many bytes of tiles cost no more than limit, beside what their number costs. Less than 0: none do.
func (c *costs) room(cells, kbps int, client, cell, limit time.Duration) int {
	left := limit - client - time.Duration(cells)*cell - seconds(2*c.code*float64(cells))
	return int(left.Seconds() * float64(kbps) * 1000 / 8)
}

func onWay(bytes float64, kbps int) time.Duration {
	return seconds(bytes * 8 / 1000 / float64(max(kbps, 1)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

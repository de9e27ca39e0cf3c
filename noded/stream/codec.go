package stream

import (
	"image"
	"time"

	"easel/noded/stream/tile"
)

// Codec makes encoders. It is a dependency, so that this package is built and tested without any particular one.
type Codec interface {
	// Makes tells whether it has encoders of the format at all.
	Makes(f Format) bool
	// Open makes an encoder for a screen's size. The picture of from, an encoder of the same size that this codec or another one made, goes over to
	// the new one, and from is closed; nil begins with a black picture. When it fails, from is as it was.
	Open(size image.Point, c Coding, q Quality, from Encoder) (Encoder, error)
}

// Encoding is what a streamer encodes with: the codecs, of which the first that can be had is taken, and what a picture of full colour may take.
type Encoding struct {
	Codecs []Codec
	Room   Room
}

// Encoder keeps a picture of the screen and encodes it. It is for one goroutine.
type Encoder interface {
	// Update takes over what differs within the rectangles from pix, a whole screen of BGRX rows stride bytes apart, and
	// returns how many cells did. Calls for rows that are 16 apart or more may run at the same time.
	Update(pix []byte, stride int, rects []image.Rectangle) (int, error)
	// Encode encodes the picture; key asks for a frame that needs none before it, qp above 0 is the finest quantiser, which the rate may coarsen. What it returns is good until
	// the next call.
	Encode(key bool, qp int) (Packet, error)
	SetQuality(q Quality) error
	// Tiles codes cells of the picture, as the last Update left it.
	Tiles() tile.Coder
	// ColourLoss is the part of the picture whose colours 4:2:0 shows visibly wrong, from 0 to 1. It takes milliseconds.
	ColourLoss() float64
	Info() CodecInfo
	Close()
}

// Packet is one encoded frame, in order: H.264's NAL units without start codes, VP9's frame as one unit, AV1's OBUs without their sizes and without
// the temporal delimiter.
type Packet struct {
	Units [][]byte
	Key   bool
	Bytes int
	QP    int // the quantiser that it was made with
}

// Quality bounds what an encoder makes: Factor is the quantiser where the rate allows it, Kbps the rate over time, BufferMS
// how much of it one frame may take at once.
type Quality struct {
	Factor   float64
	Kbps     int
	BufferMS int
}

// CodecInfo names an encoder and what it makes. Hardware tells whether an encoder engine does it, not the processor.
type CodecInfo struct {
	Codec, Profile, Chroma, Encoder string
	Hardware                        bool
}

// frameBuffer is how much of the rate one frame may take.
const frameBuffer = 50 * time.Millisecond

// qualities are what the viewer may choose. Finest is the quantiser at which a still picture is left alone.
var qualities = map[string]struct {
	factor float64
	finest int
	share  float64 // of the rate
}{
	"auto":  {23, 12, 1},
	"sharp": {18, 10, 2},
	"fast":  {28, 16, 0.5},
}

const defaultQuality = "auto"

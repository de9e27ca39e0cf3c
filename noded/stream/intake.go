package stream

import (
	"image"
	"runtime"
	"sync"
	"sync/atomic"
)

// maxIntake is how many pieces of a frame are taken in at the same time at most.
const maxIntake = 4

// intake brings what changed from a frame into the encoder's picture, each piece while the X server still writes the next. It makes nothing new for a
// frame: its goroutines live as long as the painter, who owns it.
type intake struct {
	pieces  chan image.Rectangle
	helpers sync.WaitGroup
	// arrived takes a piece that is there.
	arrived func(piece image.Rectangle)

	// Of the present frame.
	enc     Encoder
	pix     []byte
	stride  int
	rects   []image.Rectangle
	open    sync.WaitGroup // pieces
	changed atomic.Int64
	failed  atomic.Pointer[error]
}

func newIntake() *intake {
	in := &intake{pieces: make(chan image.Rectangle, maxIntake)}
	in.arrived = func(piece image.Rectangle) {
		in.open.Add(1)
		in.pieces <- piece
	}
	for range min(runtime.GOMAXPROCS(0), maxIntake) {
		in.helpers.Go(in.help)
	}
	return in
}

func (in *intake) help() {
	var part []image.Rectangle
	for piece := range in.pieces {
		part = part[:0]
		for _, r := range in.rects {
			if r = r.Intersect(piece); !r.Empty() {
				part = append(part, r)
			}
		}
		n, err := in.enc.Update(in.pix, in.stride, part)
		if err != nil {
			in.fail(err)
		}
		in.changed.Add(int64(n))
		in.open.Done()
	}
}

func (in *intake) fail(err error) { in.failed.Store(&err) }

// begin is for a frame whose pixels, BGRX in rows of stride bytes, are new within the rectangles.
func (in *intake) begin(enc Encoder, pix []byte, stride int, rects []image.Rectangle) {
	in.enc, in.pix, in.stride, in.rects = enc, pix, stride, rects
	in.changed.Store(0)
	in.failed.Store(nil)
}

// wait waits for the pieces that have arrived, and says how many cells of them differ.
func (in *intake) wait() (changed int, err error) {
	in.open.Wait()
	if e := in.failed.Load(); e != nil {
		err = *e
	}
	return int(in.changed.Load()), err
}

// close ends the goroutines. No piece may arrive any more.
func (in *intake) close() {
	close(in.pieces)
	in.helpers.Wait()
}

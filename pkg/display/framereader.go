package display

import (
	"image"
	"sync"
	"time"

	"github.com/jezek/xgb/shm"
)

// frameReader is the goroutine that waits for a frame's pieces, and what it uses for one read after the other: frames are too many to make such things
// anew for each.
type frameReader struct {
	bands   []band
	at      image.Point
	cookies []shm.GetImageCookie
	timer   *time.Timer
	jobs    chan struct{}
	done    chan error
	ended   chan struct{}

	mu      sync.Mutex
	arrived func(piece image.Rectangle) // nil: nobody may hear of a piece
}

// start begins to run read for each job.
func (r *frameReader) start(read func() error) {
	r.bands, r.timer = make([]band, 0, maxRects), time.NewTimer(time.Hour)
	r.jobs, r.done, r.ended = make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(r.ended)
		for range r.jobs {
			r.done <- safely(read)
		}
	}()
}

// begin has the goroutine read the bands of what lies at a place of the root window.
func (r *frameReader) begin(at image.Point, arrived func(image.Rectangle)) bool {
	r.at, r.arrived = at, arrived
	r.jobs <- struct{}{}
	return true
}

// tell tells of a piece that is there.
func (r *frameReader) tell(piece image.Rectangle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arrived != nil {
		r.arrived(piece)
	}
}

// forget has nobody hear of more pieces: a read that timed out may still be answered.
func (r *frameReader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived = nil
}

// stop ends the goroutine. One that an X server keeps waiting ends with the connection.
func (r *frameReader) stop(stuck bool) {
	r.timer.Stop()
	close(r.jobs)
	if !stuck {
		<-r.ended
	}
}

package clipboard

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"easel/pkg/display"
)

const (
	// silence is how long a viewer that was asked for a content may say nothing.
	silence = 10 * time.Second
	// keptArrival is how large a content may be that is kept for who asks again.
	keptArrival = 1 << 20
	// maxArrivals is how often the contents of one offer are asked for: the session's applications may ask without end, and the artist's
	// line is not theirs.
	maxArrivals = 16
)

var (
	errLate   = errors.New("the viewer does not hand over what it has on its clipboard")
	errBroken = errors.New("the content broke off")
)

// arrival is one content on its way from a viewer into the session: it can be read while it comes.
type arrival struct {
	format display.Format
	number uint8 // of its fetch

	mu      sync.Mutex
	content content
	done    bool
	err     error
	more    chan struct{} // closed at the next change
	readers int
}

func newArrival(f display.Format, number uint8) *arrival {
	return &arrival{format: f, number: number, more: make(chan struct{})}
}

// is tells whether a message is of this arrival: one that was stopped before may have left parts on their way.
func (a *arrival) is(m Message) bool { return m.Number == 0 || m.Number == a.number }

// add takes a part. An error ends the arrival.
func (a *arrival) add(b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.done:
		return a.err
	case a.content.size+len(b) > a.format.Limit():
		a.finish(display.ErrTooLarge)
	default:
		a.content.add(b)
		if a.format == display.ClipPNG {
			if err := checkPicture(a.content.head()); err != nil {
				a.finish(err)
				break
			}
		}
		a.wake()
	}
	return a.err
}

// end notes that it is whole, or why it never will be; it returns how much came.
func (a *arrival) end(err error) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done {
		if err == nil && a.format == display.ClipPNG && a.content.size < pngHead {
			err = errPicture
		}
		a.finish(err)
	}
	return a.content.size
}

func (a *arrival) finish(err error) {
	a.done, a.err = true, err
	a.wake()
}

func (a *arrival) wake() {
	close(a.more)
	a.more = make(chan struct{})
}

// state tells whether it is over, and how.
func (a *arrival) state() (done bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done, a.err
}

// reader reads it from the beginning. left is called when who reads has closed it: with all of it taken, or not; and as the last one, or not.
func (a *arrival) reader(ctx context.Context, left func(whole, last bool)) io.ReadCloser {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.readers++
	return &arrivalReader{a: a, ctx: ctx, left: left}
}

type arrivalReader struct {
	a    *arrival
	ctx  context.Context
	at   int
	left func(whole, last bool)
	once sync.Once
}

// Read waits for what has not come yet.
func (r *arrivalReader) Read(p []byte) (int, error) {
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		r.a.mu.Lock()
		n := copy(p, r.a.content.from(r.at))
		done, err, more := r.a.done, r.a.err, r.a.more
		r.a.mu.Unlock()
		switch r.at += n; {
		case n > 0:
			return n, nil
		case done && err != nil:
			return 0, err
		case done:
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-timer.C:
			r.a.end(errLate)
			return 0, errLate
		}
	}
}

// Close lets go of it.
func (r *arrivalReader) Close() error {
	r.once.Do(func() {
		r.a.mu.Lock()
		r.a.readers--
		last := r.a.readers == 0
		whole := r.a.done && r.a.err == nil && r.at == r.a.content.size
		r.a.mu.Unlock()
		r.left(whole, last)
	})
	return nil
}

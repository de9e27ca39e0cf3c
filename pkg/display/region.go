package display

import (
	"image"
	"sync"
	"time"
)

// maxRects bounds how many rectangles damage is kept in; more are merged where that wastes least.
const maxRects = 32

// Region gathers damage between two frames. It is safe for use by several goroutines, and Wake gets a value
// when there is something to take.
type Region struct {
	wake chan struct{}

	mu    sync.Mutex
	rects []image.Rectangle
	since time.Time
}

// NewRegion makes an empty region.
func NewRegion() *Region {
	return &Region{wake: make(chan struct{}, 1), rects: make([]image.Rectangle, 0, maxRects)}
}

// Wake receives when damage may be there. One value may stand for many additions.
func (r *Region) Wake() <-chan struct{} { return r.wake }

// Add puts a rectangle in.
func (r *Region) Add(a image.Rectangle) {
	if a.Empty() {
		return
	}
	r.mu.Lock()
	if len(r.rects) == 0 {
		r.since = time.Now()
	}
	r.rects = merge(r.rects, a)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Pending tells whether there is damage to take.
func (r *Region) Pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rects) > 0
}

// Area is about how many pixels there are to take, no fewer than there are.
func (r *Region) Area() (pixels int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.rects {
		pixels += area(a)
	}
	return pixels
}

// Take moves what is there into buf and says when the first of it came.
func (r *Region) Take(buf []image.Rectangle) ([]image.Rectangle, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	buf = append(buf[:0], r.rects...)
	r.rects = r.rects[:0]
	return buf, r.since
}

// merge adds a to rects, keeping them at most maxRects: what is covered is not added, and when they are full the
// rectangle that grows least takes a in.
func merge(rects []image.Rectangle, a image.Rectangle) []image.Rectangle {
	best, least := 0, -1
	for i, r := range rects {
		u := r.Union(a)
		if u == r {
			return rects
		}
		grown := area(u) - area(r)
		if grown <= area(a) || u == a { // the two together waste nothing
			rects[i] = u
			return rects
		}
		if least < 0 || grown < least {
			best, least = i, grown
		}
	}
	if len(rects) < maxRects {
		return append(rects, a)
	}
	rects[best] = rects[best].Union(a)
	return rects
}

func area(r image.Rectangle) int { return r.Dx() * r.Dy() }

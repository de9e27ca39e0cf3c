package xclient

import (
	"context"
	"fmt"
	"image/color"
	"math"
	"time"

	"github.com/jezek/xgb/xproto"
)

// Kind is a moving picture.
type Kind string

// The moving pictures.
const (
	Paint  Kind = "paint"  // a small brush blob at 60 Hz that leaves its trace
	Scroll Kind = "scroll" // the whole screen scrolls detailed content at 60 Hz
	Noise  Kind = "noise"  // the whole screen is a new noisy photograph at 30 Hz
	Turn   Kind = "turn"   // paint on a page of detailed content, which is another every turnTime
)

// turnTime is how long a page is painted on.
const turnTime = 6 * time.Second

// Rate is how often a kind is drawn, in frames a second.
func (k Kind) Rate() int {
	if k == Noise {
		return 30
	}
	return 60
}

// Frame is one drawing: the counter in its marker and when it was begun.
type Frame struct {
	Counter uint16
	At      time.Time
}

// Play covers the screen with a moving picture until ctx ends. ready is called before the first frame. The frames drawn
// come back, also with an error. A frame that the X server is too slow for is left out, as an application would.
func (s *Screen) Play(ctx context.Context, kind Kind, ready func()) ([]Frame, error) {
	w, err := s.coverAll(0)
	if err != nil {
		return nil, fmt.Errorf("play %s: %w", kind, err)
	}
	defer w.close()
	draw, err := w.player(kind)
	if err != nil {
		return nil, fmt.Errorf("play %s: %w", kind, err)
	}
	mark, err := w.pixmap(MarkerWidth, CellSize, nil)
	if err != nil {
		return nil, fmt.Errorf("play %s: %w", kind, err)
	}
	defer xproto.FreePixmap(s.conn, mark)
	ready()
	tick := time.NewTicker(time.Second / time.Duration(kind.Rate()))
	defer tick.Stop()
	var frames []Frame
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return frames, nil
		case <-tick.C:
		}
		frames = append(frames, Frame{Counter: uint16(n), At: time.Now()})
		s.drawMarker(xproto.Drawable(mark), w.gc, uint16(n))
		draw(n)
		xproto.CopyArea(s.conn, xproto.Drawable(mark), xproto.Drawable(w.id), w.gc, 0, 0, 0, 0, MarkerWidth, CellSize)
		if err := w.sync(); err != nil {
			return frames, fmt.Errorf("play %s: %w", kind, err)
		}
	}
}

// Start plays as Play does until stop is called, which says why it did not. It returns before the first frame.
func (s *Screen) Start(ctx context.Context, kind Kind) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := s.Play(ctx, kind, func() { close(ready) })
		ended <- err
	}()
	select {
	case <-ready:
		return func() error { cancel(); return <-ended }, nil
	case err := <-ended:
		cancel()
		return nil, err
	}
}

// player returns the function that draws frame n of a kind, everything but the marker.
func (w *window) player(kind Kind) (func(n int), error) {
	switch kind {
	case Paint:
		return w.paint(), nil
	case Scroll:
		return w.scroll()
	case Noise:
		return w.noise()
	case Turn:
		return w.turn()
	}
	return nil, fmt.Errorf("unknown kind %q; try paint, scroll, noise or turn", kind)
}

// paint moves a 24 pixel brush along a curve that fills most of the screen.
func (w *window) paint() func(int) {
	const brush = 24
	return func(n int) {
		t := float64(n) / 60
		x := (0.5 + 0.4*math.Sin(t*1.3)) * float64(w.size.X)
		y := (0.5 + 0.4*math.Sin(t*1.7+1)) * float64(w.size.Y)
		c := color.RGBA{uint8(128 + 100*math.Sin(t)), uint8(128 + 100*math.Sin(t+2)), uint8(128 + 100*math.Sin(t+4)), 255}
		xproto.ChangeGC(w.conn, w.gc, xproto.GcForeground, []uint32{uint32(c.R)<<16 | uint32(c.G)<<8 | uint32(c.B)})
		xproto.PolyFillArc(w.conn, xproto.Drawable(w.id), w.gc, []xproto.Arc{{
			X: int16(x) - brush/2, Y: int16(y) - brush/2, Width: brush, Height: brush, Angle2: 360 * 64,
		}})
	}
}

// scroll moves the window of the screen's size over a picture twice as high, 6 pixels a frame.
func (w *window) scroll() (func(int), error) {
	height := w.size.Y * 2
	page, err := w.pixmap(w.size.X, height, Document(w.size.X, height))
	if err != nil {
		return nil, err
	}
	return func(n int) {
		y := n * 6 % height
		first := min(w.size.Y, height-y)
		w.blit(page, y, 0, first)
		if first < w.size.Y {
			w.blit(page, 0, first, w.size.Y-first)
		}
	}, nil
}

// noise shows six noisy photographs in turn.
func (w *window) noise() (func(int), error) {
	var shots []xproto.Pixmap
	for i := range 6 {
		p, err := w.pixmap(w.size.X, w.size.Y, Photograph(w.size.X, w.size.Y, uint64(i)))
		if err != nil {
			return nil, err
		}
		shots = append(shots, p)
	}
	return func(n int) { w.blit(shots[n%len(shots)], 0, 0, w.size.Y) }, nil
}

// turn paints on pages of detailed content.
func (w *window) turn() (func(int), error) {
	text, err := w.text()
	if err != nil {
		return nil, err
	}
	paint, frames := w.paint(), Turn.Rate()*int(turnTime/time.Second)
	return func(n int) {
		if n%frames == 1 {
			w.blit(text, n/frames%pages*pageStep, 0, w.size.Y)
		}
		paint(n)
	}, nil
}

// text is a pixmap of pages, which overlap.
func (w *window) text() (xproto.Pixmap, error) {
	height := w.size.Y + pageStep*pages
	return w.pixmap(w.size.X, height, Document(w.size.X, height))
}

// blit copies full-width rows of a pixmap into the window.
func (w *window) blit(p xproto.Pixmap, from, to, rows int) {
	xproto.CopyArea(w.conn, xproto.Drawable(p), xproto.Drawable(w.id), w.gc, 0, int16(from), 0, int16(to), uint16(w.size.X), uint16(rows))
}

// Pages are detailed still pictures that cover the screen, one at a time.
type Pages struct {
	w    *window
	text xproto.Pixmap
}

// Pages covers the screen. It shows nothing in particular until the first Turn.
func (s *Screen) Pages() (*Pages, error) {
	w, err := s.coverAll(0)
	if err != nil {
		return nil, fmt.Errorf("still pictures: %w", err)
	}
	p, err := w.text()
	if err != nil {
		w.close()
		return nil, fmt.Errorf("still pictures: %w", err)
	}
	return &Pages{w: w, text: p}, nil
}

// How many pages there are, and how far apart they lie in the text.
const pages, pageStep = 4, 97

// Turn shows page n, which differs from the one before it nearly everywhere, and says when its drawing began. The server has it then.
func (p *Pages) Turn(n int) (time.Time, error) {
	began := time.Now()
	p.w.blit(p.text, n%pages*pageStep, 0, p.w.size.Y)
	return began, p.w.sync()
}

// Close takes them away again.
func (p *Pages) Close() {
	xproto.FreePixmap(p.w.conn, p.text)
	p.w.close()
}

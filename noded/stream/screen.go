package stream

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// maxScreens is how many screens a session has: the first always, another while somebody has a window for it.
const maxScreens = display.Outputs

// screen is one of a session's screens: an output of the X server, who watches it, and what is known of its picture.
type screen struct {
	number   int
	viewers  *viewers
	encoders *encoders
	meter    *meter
	want     atomic.Pointer[contract.Size] // the size last asked for
	output   atomic.Pointer[display.Output]
}

func newScreen(number int, codecs []Codec, b *board, all *audience, log *slog.Logger) *screen {
	if number > 1 {
		log = log.With("screen", number)
	}
	return &screen{number: number, viewers: newViewers(number, b, all), encoders: newEncoders(codecs, b, log), meter: &meter{}}
}

// place is where the screen lies on the X server's: empty while it is off.
func (s *screen) place() image.Rectangle {
	if o := s.output.Load(); o != nil {
		return o.Rect()
	}
	return image.Rectangle{}
}

// screenOf is the screen that a request is about: the first unless it names another.
func (w *Worker) screenOf(r *http.Request) (*screen, error) {
	q := r.URL.Query()
	if !q.Has("screen") {
		return w.screens[0], nil
	}
	for _, s := range w.screens {
		if q.Get("screen") == string(rune('0'+s.number)) {
			return s, nil
		}
	}
	return nil, errors.New("screen must be 1 or 2")
}

// resize asks for another size of a screen; the last one asked for wins.
func (w *Worker) resize(s *screen, size contract.Size) {
	s.want.Store(&size)
	poke(w.arranging)
}

// arrange gives the screens the sizes that are asked for, as long as the display lives.
func (w *Worker) arrange(ctx context.Context, d *display.Display) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.arranging:
			if err := w.arrangeOnce(d); err != nil {
				return err
			}
		case <-d.ScreenChanged():
			if err := w.arranged(d.Refresh()); err != nil {
				return err
			}
		}
		if !pause(ctx, resizeRate) {
			return nil
		}
	}
}

func (w *Worker) arrangeOnce(d *display.Display) error {
	var sizes [maxScreens]image.Point
	for i := range sizes {
		sizes[i] = d.Output(i + 1).Size()
	}
	if s := w.screens[0].want.Load(); s != nil {
		sizes[0] = image.Pt(s.Width, s.Height)
	}
	return w.arranged(d.Arrange(sizes))
}

// arranged tells whether the display is of no more use; what else went wrong with its screens is logged.
func (w *Worker) arranged(err error) error {
	if errors.Is(err, display.ErrUnresponsive) || errors.Is(err, display.ErrClosed) {
		return err
	}
	if err != nil {
		w.log.Warn("screens not arranged", "err", err)
	}
	return nil
}

// audience counts who watches any of the session's screens. It is safe for several goroutines.
type audience struct {
	board *board

	mu    sync.Mutex
	heads [maxScreens]int
	paths [maxScreens]string
}

// set notes who watches a screen, and which way.
func (a *audience) set(number, heads int, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heads[number-1], a.paths[number-1] = heads, path
	all, way := 0, contract.PathNone
	for i := range a.heads {
		all += a.heads[i]
		if way == contract.PathNone {
			way = a.paths[i]
		}
	}
	a.board.update(func(h *contract.Health) { h.Viewers, h.Path = all, way })
	a.board.degrade("VNC fallback in use", way == contract.PathVNC)
}

// stats gathers what is known of a screen's stream.
func (w *Worker) stats(on *screen) Stats {
	v := on.viewers
	v.mu.Lock()
	p, info, size, vnc := v.peer, v.info, v.size, v.vnc
	v.mu.Unlock()
	h, _ := w.board.get()
	s := Stats{OpenCL: h.OpenCL.String(), Codec: info.Codec, Profile: info.Profile, Chroma: info.Chroma, Encoder: info.Encoder, Width: size.Width, Height: size.Height}
	if vnc > 0 {
		s.Path = contract.PathVNC
	}
	on.meter.fill(&s, time.Now())
	if p != nil && p.connected.Load() {
		s.Path, s.Limit, s.Bad, s.Skipped = p.path(), p.rate.Kbps(), p.bad.Load(), p.hand.skipped.Load()
		s.RTT = round(p.rtt().Seconds()*1000, 100)
		if c := p.client.Load(); c != nil {
			s.Client = *c
		}
	}
	return s
}

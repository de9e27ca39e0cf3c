package stream

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// maxScreens is how many screens a session has: the first always, another while somebody has a window for it.
const maxScreens = display.Outputs

// screenGrace is how long a screen that nobody watches any more stays, and backGrace how long one is left to viewers whose streamer died.
const (
	screenGrace = 4 * time.Second
	backGrace   = 15 * time.Second
)

// screen is one of a session's screens: an output of the X server, who watches it, and what is known of its picture.
type screen struct {
	number   int
	all      *audience
	viewers  *viewers
	encoders *encoders
	meter    *meter
	hands    hands
	want     atomic.Pointer[contract.Size] // the size last asked for
	scale    atomic.Int32                  // and of the interface, per cent; 0: none yet
	output   atomic.Pointer[display.Output]
}

func newScreen(number int, codecs []Codec, all *audience, guests int, log *slog.Logger) *screen {
	return &screen{number: number, all: all, viewers: newViewers(number, all, guests), encoders: newEncoders(codecs, all.board, log.With("screen", number)), meter: &meter{}}
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

// resize asks for another size of a screen, and of the interface on it in per cent; the last one asked for wins.
func (w *Worker) resize(s *screen, size contract.Size, scale float64) {
	s.want.Store(&size)
	s.scale.Store(interfaceScale(scale))
	poke(w.arranging)
}

// size is which size it should have, zero for none, and when to look again (zero: when something changes). The first screen is on always; another one
// while it is watched, and for a while afterwards, because a reload must not move the artist's windows.
func (s *screen) size(has image.Point, now time.Time) (size image.Point, again time.Time) {
	want := has
	if w := s.want.Load(); w != nil {
		want = image.Pt(w.Width, w.Height)
	}
	if s.number == 1 {
		return want, again
	}
	heads, left := s.all.of(s.number)
	switch gone := left.Add(screenGrace); {
	case heads > 0:
		return want, again
	case now.Before(gone):
		return has, gone
	}
	s.want.Store(nil)
	return image.Point{}, again
}

// beside is what of a size may be had beside a screen of another.
func beside(first, size image.Point) image.Point {
	size.X = min(size.X, display.MaxRoot/first.Y-first.X) &^ 1
	if size.X < contract.MinSide || size.Y < contract.MinSide {
		return image.Point{}
	}
	size.Y = min(size.Y, display.MaxRoot/(first.X+size.X)) &^ 1
	return size
}

// arrange gives the screens the sizes that are asked for, as long as the display lives.
func (w *Worker) arrange(ctx context.Context, d *display.Display) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		again := time.Time{}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-w.arranging:
			again, err = w.arrangeOnce(d, time.Now())
		case <-timer.C:
			again, err = w.arrangeOnce(d, time.Now())
		case <-d.ScreenChanged():
			err = w.arranged(d.Refresh())
		}
		if err != nil {
			return err
		}
		if !again.IsZero() {
			timer.Reset(time.Until(again))
		}
		if !pause(ctx, resizeRate) {
			return nil
		}
	}
}

// interfaceScale is what of a scale a viewer may ask for.
func interfaceScale(percent float64) int32 {
	if !(percent >= display.MinScale) { // NaN as well
		return display.MinScale
	}
	return int32(math.Round(min(percent, display.MaxScale)))
}

// arrangeOnce says when it is due again without anything having changed, zero for never.
func (w *Worker) arrangeOnce(d *display.Display, now time.Time) (again time.Time, err error) {
	var sizes [maxScreens]image.Point
	for i, s := range w.screens {
		var at time.Time
		if sizes[i], at = s.size(d.Output(i+1).Size(), now); i > 0 {
			sizes[i] = beside(sizes[0], sizes[i])
		}
		again = sooner(again, at)
	}
	// Applications know one scale for all of their screens: the first one's.
	if scale := w.screens[0].scale.Load(); scale != 0 {
		if err := w.arranged(d.SetScale(int(scale))); err != nil {
			return again, err
		}
	}
	return again, w.arranged(d.Arrange(sizes))
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
	board   *board
	changed func()

	mu    sync.Mutex
	heads [maxScreens]heads
	left  [maxScreens]time.Time // when the last one went
}

// Whose picture does not become exact, though their browsers could show that.
const (
	noTiles      = "picture: the viewer lost the channel for exact tiles"
	noGuestTiles = "picture: a guest lost the channel for exact tiles"
)

// heads are those who watch a screen: all, the guests among them, who has lost exact tiles, and which way the picture goes to the one whom it is made for.
type heads struct {
	all                   int
	guests                contract.Guests
	noTiles, noGuestTiles int
	path                  string
}

// count adds one by WebRTC.
func (h *heads) count(role string, tilesLost bool) {
	h.all++
	lost := &h.noGuestTiles
	switch role {
	case contract.RoleTakePart:
		h.guests.TakePart++
	case contract.RoleView:
		h.guests.View++
	default:
		lost = &h.noTiles
	}
	if tilesLost {
		*lost++
	}
}

func newAudience(b *board, changed func()) *audience {
	a := &audience{board: b, changed: changed}
	for i := range a.left {
		a.left[i] = time.Now().Add(backGrace - screenGrace) // who watched before this streamer began
	}
	return a
}

// of tells how many watch a screen, and when the last one went.
func (a *audience) of(number int) (heads int, left time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heads[number-1].all, a.left[number-1]
}

// set notes who watches a screen.
func (a *audience) set(number int, h heads) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.heads[number-1].all > 0 && h.all == 0 {
		a.left[number-1] = time.Now()
	}
	a.heads[number-1] = h
	var sum heads
	for _, h := range a.heads {
		sum.all += h.all
		sum.guests.TakePart += h.guests.TakePart
		sum.guests.View += h.guests.View
		sum.noTiles += h.noTiles
		sum.noGuestTiles += h.noGuestTiles
		if sum.path == contract.PathNone {
			sum.path = h.path
		}
	}
	a.board.update(func(h *contract.Health) {
		h.Viewers, h.Guests, h.Path, h.TilesLost = sum.all, sum.guests, sum.path, sum.noTiles+sum.noGuestTiles
	})
	a.board.degrade(noTiles, sum.noTiles > 0)
	a.board.degrade(noGuestTiles, sum.noGuestTiles > 0)
	a.board.degrade("VNC fallback in use", sum.path == contract.PathVNC)
	a.changed()
}

// stats gathers what is known of a screen's stream.
func (w *Worker) stats(on *screen) Stats {
	v := on.viewers
	v.mu.Lock()
	p, info, size, by, vnc := v.lead(), v.info, v.size, v.scale, v.vnc
	v.mu.Unlock()
	h, _ := w.board.get()
	s := Stats{OpenCL: h.OpenCL.String(), Codec: info.Codec, Profile: info.Profile, Chroma: info.Chroma, Encoder: info.Encoder, Width: size.X, Height: size.Y, Scale: round(by.Ratio(), 100)}
	if vnc > 0 {
		s.Path = contract.PathVNC
	}
	on.meter.fill(&s, time.Now())
	if p != nil {
		s.Path, s.Limit, s.Bad, s.Skipped = p.path(), p.rate.Kbps(), p.bad.Load(), p.hand.Skipped()
		p.fill(&s, time.Now())
		s.RTT = round(p.rtt().Seconds()*1000, 100)
		if c := p.client.Load(); c != nil {
			s.Client = *c
		}
	}
	return s
}

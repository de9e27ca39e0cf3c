package main

import (
	"context"
	"fmt"
	"image"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"easel/integration/xclient"
)

// Plan says how long to measure.
type Plan struct {
	Clicks int           // clicks of each kind
	Play   time.Duration // of each moving picture
	Idle   time.Duration
	Starts int      // sessions of each kind of start
	Only   []string // when not empty, just the measurements whose name holds one of these
}

func (p Plan) wants(name string) bool {
	for _, word := range p.Only {
		if strings.Contains(name, word) {
			return true
		}
	}
	return len(p.Only) == 0
}

// Result is everything measured of one target.
type Result struct {
	Name      string
	AtRest    Clicks // the page asks for no frames: one click now and then
	Animating Clicks // the page produces frames all the time, as under a moving hand
	Play      map[xclient.Kind]Motion
	GIMP      Motion // the pen in GIMP itself; Easel alone
	IdleCores map[string]float64
	IdleKBps  *float64           // kB/s that come to the idle page; nil when not measured
	Daemons   map[string]float64 // cores of what serves all sessions, idle
	Still     Likeness           // a detailed picture, two seconds after the last change
	Exact     Quantiles          // from the last change of a picture until the page knows each pixel to be right; Easel alone
	StillGIMP Likeness           // GIMP's window after painting, likewise; Easel alone
	Memory    map[string]int64
	Starts    map[string]time.Duration
	Warmth    []Start // from the click to the first picture, by what the session began from; Easel alone
}

// Clicks are the times from a click to its picture, by what changes.
type Clicks struct {
	Small Quantiles // 200×200
	Full  Quantiles // the whole screen turns to another colour
	Photo Quantiles // the whole screen turns to another noisy photograph
}

// Quantiles sum up latencies.
type Quantiles struct {
	N        int
	P50, P95 time.Duration
}

// measure runs the whole plan against a target.
func measure(ctx context.Context, log *slog.Logger, t *Target, plan Plan) (*Result, error) {
	r := &Result{Name: t.Name, Play: map[xclient.Kind]Motion{}, Starts: t.Starts, Warmth: t.Warmth}
	steps := []struct {
		name string
		do   func() error
	}{
		{"memory", func() (err error) {
			g, err := t.Groups()
			if err != nil {
				return err
			}
			r.Memory, err = memory(g)
			return err
		}},
		{"idle", func() error { return idle(ctx, t, plan.Idle, r) }},
		{"click 200×200", func() error {
			return r.clicks(ctx, t, xclient.Target{Area: image.Rect(600, 400, 800, 600)}, plan.Clicks, func(c *Clicks) *Quantiles { return &c.Small })
		}},
		{"click full screen", func() error {
			return r.clicks(ctx, t, xclient.Target{Area: wholeScreen()}, plan.Clicks, func(c *Clicks) *Quantiles { return &c.Full })
		}},
		{"click full photograph", func() error {
			return r.clicks(ctx, t, xclient.Target{Area: wholeScreen(), Photo: true}, plan.Clicks, func(c *Clicks) *Quantiles { return &c.Photo })
		}},
		{"paint", func() error { return r.play(ctx, t, xclient.Paint, plan.Play) }},
		{"scroll", func() error { return r.play(ctx, t, xclient.Scroll, plan.Play) }},
		{"noise", func() error { return r.play(ctx, t, xclient.Noise, plan.Play) }},
		{"pen in GIMP", func() (err error) {
			if t.HasGIMP {
				r.GIMP, r.StillGIMP, err = paintInGIMP(ctx, t, plan.Play)
			}
			return err
		}},
		{"still", func() error { return r.still(ctx, t, plan.Clicks/2) }},
	}
	for _, s := range steps {
		if !plan.wants(s.name) || t.Answer != nil && !strings.HasPrefix(s.name, "click") {
			continue
		}
		log.Info("measuring", "what", s.name, "of", t.Name)
		if err := s.do(); err != nil {
			return nil, fmt.Errorf("measure %s of %s: %w", s.name, t.Name, err)
		}
	}
	return r, nil
}

// play measures a moving picture and what the viewer says of it.
func (r *Result) play(ctx context.Context, t *Target, kind xclient.Kind, d time.Duration) (err error) {
	m, err := play(ctx, t, kind, d)
	if err == nil && t.HasGIMP {
		m.Stages, err = stages(t)
	}
	r.Play[kind] = m
	return err
}

// idle measures the server while nothing happens, after what went before has settled.
func idle(ctx context.Context, t *Target, d time.Duration, r *Result) (err error) {
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	before, err := t.Page.Received()
	if err != nil {
		return err
	}
	began := time.Now()
	r.IdleCores, err = coresOver(t.Groups, func() (err error) {
		if t.Overhead == nil {
			return sleep(ctx, d)
		}
		r.Daemons, err = coresOver(t.Overhead, func() error { return sleep(ctx, d) })
		return err
	})
	if err != nil {
		return err
	}
	after, err := t.Page.Received()
	kbps := float64(after-before) / 1000 / time.Since(began).Seconds()
	r.IdleKBps = &kbps
	return err
}

func wholeScreen() image.Rectangle { return image.Rect(0, 0, screenWidth, screenHeight) }

// clicks measures n clicks whose answer is a change of the target, with the page at rest and then animating.
func (r *Result) clicks(ctx context.Context, t *Target, target xclient.Target, n int, cell func(*Clicks) *Quantiles) (err error) {
	if *cell(&r.AtRest), err = clicks(ctx, t, target, n); err != nil {
		return fmt.Errorf("page at rest: %w", err)
	}
	if err := t.Page.Animate(true); err != nil {
		return err
	}
	if *cell(&r.Animating), err = clicks(ctx, t, target, n); err != nil {
		return fmt.Errorf("page animating: %w", err)
	}
	return t.Page.Animate(false)
}

// clicks measures n clicks whose answer is a change of the target.
func clicks(ctx context.Context, t *Target, target xclient.Target, n int) (Quantiles, error) {
	stop, err := answer(ctx, t, target)
	if err != nil {
		return Quantiles{}, err
	}
	defer stop()
	points := target.Points()
	at := image.Pt(700, 500)
	if err := t.Page.Move(float64(at.X), float64(at.Y)); err != nil {
		return Quantiles{}, err
	}
	if err := t.Page.Shows(10*time.Second, xclient.Palette[0], points...); err != nil {
		return Quantiles{}, fmt.Errorf("wait for the first picture: %w", err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var times []time.Duration
	const warm = 3
	for i := 1; i <= n+warm; i++ {
		// A random wait, so that no click keeps step with the browser's frames.
		if err := sleep(ctx, 250*time.Millisecond+time.Duration(rng.IntN(100_000))*time.Microsecond); err != nil {
			return Quantiles{}, err
		}
		l, err := t.Page.ClickToPhoton(at, xclient.Palette[i%len(xclient.Palette)], points)
		if err != nil {
			return Quantiles{}, fmt.Errorf("click %d: %w", i, err)
		}
		if i > warm {
			times = append(times, l.Event)
		}
	}
	return quantiles(times), nil
}

// answer shows the click target and has each press change it, until stop.
func answer(ctx context.Context, t *Target, target xclient.Target) (stop func(), _ error) {
	if t.Answer != nil {
		return func() {}, t.Answer(target)
	}
	s, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- s.Click(ctx, target, func() { close(ready) }, nil) }()
	select {
	case <-ready:
		return func() { cancel(); <-ended; s.Close() }, nil
	case err := <-ended:
		cancel()
		s.Close()
		return nil, fmt.Errorf("the X client ended before it began: %w", err)
	}
}

func quantiles(d []time.Duration) Quantiles {
	if len(d) == 0 {
		return Quantiles{}
	}
	slices.Sort(d)
	return Quantiles{N: len(d), P50: d[len(d)/2], P95: d[len(d)*95/100]}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

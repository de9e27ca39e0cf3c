package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/lossylink"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// Of the remote screen, in pixels.
const screenWidth, screenHeight = 1920, 1080

// exactWithin is how long a picture may take to become exact before that counts as never.
const exactWithin = time.Minute

// restTime is how long nothing moves before a link is gone through again.
const restTime = 5 * time.Second

// seen is what was seen of one phase of a link.
type seen struct {
	shown, drawn int
	freeze       time.Duration // the longest time without a new picture
	p50, p95     time.Duration // age: from drawn to shown
	used, most   float64       // kbit/s that came through, and that would have; 0: not bounded
	rtt          float64
	scale        float64       // of the video at the end
	codec        string        // likewise
	first        time.Duration // until the first picture, from when the page was there; where the viewer comes while the screen moves
	file         float64       // kbit/s of a file that crossed
}

// measureAll measures one link after the other, each in a session of its own, and prints a row as soon as it is known.
func measureAll(ctx context.Context, log *slog.Logger, all []emulated, kind xclient.Kind, seed uint64, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "easel-linkbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stack, err := devstack.Start(ctx, devstack.Options{Dir: dir, Log: log, LogLevel: "warn"})
	if err != nil {
		return err
	}
	defer func() {
		// Its own context: the run's may have ended by Ctrl-C, which is no reason to leave a session behind.
		end, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if e := stack.Stop(end); e != nil && err == nil {
			err = e
		}
	}()
	header(out, kind)
	for i, l := range all {
		log.Info("measuring", "link", l.name)
		if err := measureOne(ctx, log, stack, i, l, kind, seed, out); err != nil {
			return fmt.Errorf("measure %s: %w", l.name, err)
		}
	}
	return nil
}

// measureOne measures one link in a browser and a session of its own.
func measureOne(ctx context.Context, log *slog.Logger, stack *devstack.Stack, n int, l emulated, kind xclient.Kind, seed uint64, out io.Writer) error {
	b, err := browser.StartChromium(ctx, log)
	if err != nil {
		return err
	}
	defer b.Close()
	a, err := artist.SignIn(ctx, stack, b)
	if err != nil {
		return err
	}
	defer a.Close()
	created, err := a.Create(fmt.Sprintf("linkbench-%d", n))
	if err != nil {
		return err
	}
	defer func() { _ = a.End(created.ID) }()
	s, err := artist.Await(ctx, artist.Node(stack), created.ID, time.Minute, easelv1.State_STATE_READY)
	if err != nil {
		return err
	}
	if l.play != "" {
		kind = l.play
	}
	w := &watcher{port: int(s.GetUdpPort()), seed: seed, kind: kind, artist: a, id: created.ID, codec: l.codec}
	defer w.close()
	if err := w.open(l.phases[0]); err != nil {
		return err
	}
	if slices.ContainsFunc(l.phases, func(p phase) bool { return p.file != "" }) {
		if w.courier, err = newCourier(ctx, a, created.ID, w.link); err != nil {
			return err
		}
	}
	script := w.link.Script()
	if l.joins {
		script = "" // the first viewer only makes the screen as large as the next one wants it
	}
	if err := w.look(script); err != nil {
		return err
	}
	defer func() { w.page.Close() }()
	if err := artist.AwaitPicture(w.page, time.Minute); err != nil {
		return err
	}
	if err := w.page.Until(30*time.Second, fmt.Sprintf("__probe.size().width === %d", screenWidth)); err != nil {
		return err
	}
	if w.x, err = artist.X(ctx, s); err != nil {
		return err
	}
	defer w.x.Close()
	if err := w.row(ctx, l, out); err != nil || !l.again {
		return err
	}
	l.name += " again"
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(restTime):
	}
	return w.row(ctx, l, out)
}

// row plays and prints what was seen.
func (w *watcher) row(ctx context.Context, l emulated, out io.Writer) error {
	phases, exact, err := w.play(ctx, l)
	if err != nil {
		return err
	}
	offers, err := browser.Eval[int](w.page, 10*time.Second, "window.offers")
	if err != nil {
		return err
	}
	rows(out, l, phases, exact, offers)
	return nil
}

// watcher looks at one session over its links.
type watcher struct {
	port    int
	seed    uint64
	kind    xclient.Kind
	codec   string // "": any
	page    *browser.Page
	artist  *artist.Artist
	id      string // of the session
	courier *courier
	x       *xclient.Screen
	link    *lossylink.Link
	links   []*lossylink.Link
}

func (w *watcher) open(p phase) error {
	link, err := lossylink.Open(p.trip/2, w.seed)
	if err != nil {
		return err
	}
	link.Aim(w.port)
	p.set(link)
	w.link, w.links = link, append(w.links, link)
	return nil
}

func (w *watcher) close() {
	for _, l := range w.links {
		l.Close()
	}
}

// look opens the viewer.
func (w *watcher) look(script string) (err error) {
	query := fmt.Sprintf("scale=1&chrome=0&size=%dx%d&codec=%s", screenWidth, screenHeight, cmp.Or(w.codec, "auto"))
	w.page, err = w.artist.View(w.id, query, browser.PageOptions{Width: screenWidth, Height: screenHeight, Script: script})
	return err
}

// play has the screen move through a link's phases, and says how long the picture took to become exact when it stood still again; negative for never.
func (w *watcher) play(ctx context.Context, l emulated) (phases []seen, exact time.Duration, err error) {
	type played struct {
		frames []xclient.Frame
		err    error
	}
	moving, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan played, 1)
	go func() {
		f, err := w.x.Play(moving, w.kind, func() { close(ready) })
		ended <- played{f, err}
	}()
	select {
	case <-ready:
	case p := <-ended:
		return nil, 0, p.err
	}
	if l.joins {
		w.page.Close()
		if err := w.look(w.link.Script()); err != nil {
			return nil, 0, err
		}
	}
	var shown [][]browser.Shown
	var from []time.Time
	for _, p := range l.phases {
		s, at, result, err := w.phase(ctx, p)
		if err != nil {
			return nil, 0, err
		}
		shown, from, phases = append(shown, s), append(from, at), append(phases, result)
	}
	stop()
	still := time.Now()
	p := <-ended
	if p.err != nil {
		return nil, 0, p.err
	}
	for i := range phases {
		phases[i].look(p.frames, shown[i], from[i], l.phases[i].lasts, l.joins)
	}
	exact = -1
	if w.page.Until(exactWithin, fmt.Sprintf("window.easel.stats().exact && performance.timeOrigin + window.easel.exactSince > %d", still.UnixMilli())) == nil {
		since, err := browser.Eval[float64](w.page, 10*time.Second, "performance.timeOrigin + (window.easel.exactSince ?? performance.now())")
		if err != nil {
			return nil, 0, err
		}
		exact = time.UnixMilli(int64(since)).Sub(still)
	}
	return phases, exact, nil
}

// phase sets the link and watches for as long as the phase lasts.
func (w *watcher) phase(ctx context.Context, p phase) (shown []browser.Shown, from time.Time, s seen, err error) {
	if p.other {
		w.link.Dark(true)
		if err := w.open(p); err != nil {
			return nil, from, s, err
		}
		if err := w.page.Do(fmt.Sprintf("window.linkPort = %d; window.dispatchEvent(new Event('online'))", w.link.Port())); err != nil {
			return nil, from, s, err
		}
	}
	p.set(w.link)
	before := w.link.Bytes()
	from = time.Now()
	stop := func() (float64, error) { return 0, nil }
	if p.file != "" {
		stop = w.courier.carry(ctx, p.file)
	}
	shown, err = w.page.Watch(p.lasts)
	kbps, failed := stop()
	if err := errors.Join(err, failed); err != nil {
		return nil, from, s, err
	}
	s.file = kbps
	s.used = float64(w.link.Bytes()-before) * 8 / 1000 / time.Since(from).Seconds()
	s.most = float64(p.kbps)
	stats, err := artist.Stats(w.page)
	if err == nil {
		s.rtt, _ = stats["rtt"].(float64)
		s.scale, _ = stats["scale"].(float64)
		s.codec, _ = stats["codec"].(string)
	}
	return shown, from, s, err
}

// look counts each picture once, when it was first shown. Of a viewer that joins, freezes are those after its first picture.
func (s *seen) look(drawn []xclient.Frame, shown []browser.Shown, from time.Time, lasts time.Duration, joins bool) {
	at := map[int]time.Time{}
	to := from.Add(lasts)
	for _, f := range drawn {
		at[int(f.Counter)] = f.At
		if f.At.After(from) && f.At.Before(to) {
			s.drawn++
		}
	}
	var ages []time.Duration
	last, newest := from, -1
	for _, v := range shown {
		begun, ok := at[v.Counter]
		if !ok || v.Counter <= newest {
			continue
		}
		newest = v.Counter
		if joins && len(ages) == 0 {
			s.first, last = v.At.Sub(from), v.At
		}
		ages = append(ages, v.At.Sub(begun))
		s.freeze = max(s.freeze, v.At.Sub(last))
		last = v.At
	}
	s.freeze = max(s.freeze, to.Sub(last))
	s.shown = len(ages)
	if len(ages) > 0 {
		slices.Sort(ages)
		s.p50, s.p95 = ages[len(ages)/2], ages[len(ages)*95/100]
	}
}

package main

import (
	"context"
	"fmt"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// Motion is what was seen of a moving picture.
type Motion struct {
	Drawn, Shown   float64 // frames a second, each counted once
	AgeP50, AgeP95 time.Duration
	Unread         int // pictures whose marker could not be read
	Cores          map[string]float64
	Stages         map[string]float64 // median ms of a picture's way, by the viewer's own stats; Easel alone
}

// beats is how many parts a moving picture is measured in. What is drawn and the browser's frames keep the same time, so that how long a picture
// waits for its frame is the luck of when the two began, for all of a part: each part begins at another time of the beat.
const beats = 8

// lead is how long it is watched before and after what counts: the page sees a picture by its being drawn, so the first that is shown after it began
// to watch may be none that it saw.
const lead = 100 * time.Millisecond

// viewing gathers what was seen of a moving picture.
type viewing struct {
	Motion
	ages []time.Duration
}

// play measures a moving picture.
func play(ctx context.Context, t *Target, kind xclient.Kind, d time.Duration) (Motion, error) {
	v := viewing{Motion: Motion{Cores: map[string]float64{}}}
	epoch := time.Now()
	for i := range beats {
		beat := time.Second / time.Duration(kind.Rate())
		start := func() {
			time.Sleep(beat - (time.Since(epoch)-beat*time.Duration(i)/beats)%beat)
		}
		if err := v.watch(ctx, t, kind, d/beats, start); err != nil {
			return Motion{}, err
		}
	}
	q := quantiles(v.ages)
	v.AgeP50, v.AgeP95 = q.P50, q.P95
	v.Drawn, v.Shown = v.Drawn/beats, v.Shown/beats
	for name := range v.Cores {
		v.Cores[name] /= beats
	}
	return v.Motion, nil
}

// watch adds one part of it, after a second to get under way; start is called right before the first frame is drawn.
func (v *viewing) watch(ctx context.Context, t *Target, kind xclient.Kind, d time.Duration, start func()) error {
	s, err := xclient.Open(ctx, t.XSocket, t.XCookie)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	type drawn struct {
		frames []xclient.Frame
		err    error
	}
	ready := make(chan struct{})
	ended := make(chan drawn, 1)
	go func() {
		f, err := s.Play(ctx, kind, func() { close(ready); start() })
		ended <- drawn{f, err}
	}()
	defer cancel()
	select {
	case <-ready:
	case e := <-ended:
		return fmt.Errorf("the X client ended before it began: %w", e.err)
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	from := time.Now().Add(lead)
	cores, err := coresOver(t.Groups, func() error {
		seen, err := t.Page.Watch(lead + d + lead)
		if err != nil {
			return err
		}
		cancel()
		e := <-ended
		if e.err != nil {
			return e.err
		}
		v.join(e.frames, seen, from, d)
		return nil
	})
	for name, n := range cores {
		v.Cores[name] += n
	}
	return err
}

// join matches pictures shown within d after from with frames drawn, by their counters.
func (v *viewing) join(frames []xclient.Frame, seen []browser.Shown, from time.Time, d time.Duration) {
	at := map[uint16]time.Time{}
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(from.Add(d)) }
	inside := 0
	for _, f := range frames {
		at[f.Counter] = f.At
		if within(f.At) {
			inside++
		}
	}
	counted := map[uint16]bool{}
	for _, s := range seen {
		drawn, ok := at[uint16(s.Counter)]
		if !within(s.At) {
			continue
		}
		if s.Counter < 0 || !ok {
			v.Unread++
			continue
		}
		if !counted[uint16(s.Counter)] {
			counted[uint16(s.Counter)] = true
			v.ages = append(v.ages, s.At.Sub(drawn))
		}
	}
	v.Drawn += float64(inside) / d.Seconds()
	v.Shown += float64(len(counted)) / d.Seconds()
}

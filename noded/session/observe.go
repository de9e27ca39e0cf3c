package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"easel/noded/stream/contract"
)

// Bounds of a streamer's life.
const (
	hungAfter    = 75 * time.Second // without an answer, a streamer is taken to hang and restarted
	crashWindow  = 10 * time.Minute
	crashLimit   = 6                // ends within the window, then the session fails
	adoptedGrace = 15 * time.Second // a session that was taken up again does not expire before
)

// observe watches a session that is all made, until something must be done about it.
func (k *keeper) observe(ctx context.Context) error {
	r, err := k.store.Get(k.id)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(ctx)
	var owned sync.WaitGroup
	defer owned.Wait()
	defer cancel()
	exits, streamer, healths := make(chan Exit, 1), make(chan error, 2), make(chan contract.Health)
	owned.Go(func() { k.awaitExit(watching, exits) })
	owned.Go(func() { streamer <- k.awaitStreamer(watching, r.Worker) })
	owned.Go(func() {
		if err := k.listen(watching, healths); err != nil {
			streamer <- err
		}
	})
	for {
		wait, due := k.deadline()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-k.claimed:
			timer.Stop()
			return nil // there are steps to make now
		case e := <-exits:
			timer.Stop()
			return k.fail(ctx, k.epitaph(e))
		case err := <-streamer:
			timer.Stop()
			return k.restartStreamer(ctx, err)
		case h := <-healths:
			timer.Stop()
			if ended, err := k.apply(ctx, h); err != nil || ended {
				return err
			}
		case <-timer.C:
			if due != nil {
				return due(ctx)
			}
		}
	}
}

// awaitExit reports the end of the container's first process, through restarts of containerd.
func (k *keeper) awaitExit(ctx context.Context, exits chan<- Exit) {
	pause := backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	for ctx.Err() == nil {
		ended, err := k.containers.Wait(ctx, k.id)
		if err == nil {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-ended:
				if ok {
					exits <- e
					return
				}
			}
		}
		k.log.Debug("cannot watch the container yet", "error", err)
		pause.sleep(ctx)
	}
}

// hasEnded looks whether the container's first process was started and has ended: then nothing that needs
// it can succeed.
func (k *keeper) hasEnded(ctx context.Context) (Exit, bool) {
	r, err := k.store.Get(k.id)
	if err != nil || r.Steps["task"] != Done {
		return Exit{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond) // one that lives does not answer
	defer cancel()
	exits, err := k.containers.Wait(ctx, k.id)
	if err != nil {
		return Exit{}, false
	}
	select {
	case e, ok := <-exits:
		return e, ok
	case <-ctx.Done():
		return Exit{}, false
	}
}

// epitaph says why the container ended.
func (k *keeper) epitaph(e Exit) string {
	r, err := k.store.Get(k.id)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("the container ended with exit code %d", e.Code)
	switch {
	case e.Gone:
		return "the container is gone: was the host, or containerd's store, started anew?"
	case e.Code == 137 && e.OOM:
		return fmt.Sprintf("the container ran out of memory: its limit is %d MiB", r.Limits.Memory>>20)
	case e.Code > 128 && e.Code < 192:
		text = fmt.Sprintf("the container was ended by signal %d", e.Code-128)
	}
	if r.State == Starting {
		text += " before it was ready"
	}
	if last := lastWords(k.paths.BoxLog); last != "" {
		text += "; its last words: " + last
	}
	return text
}

// awaitStreamer returns when the streamer process has ended.
func (k *keeper) awaitStreamer(ctx context.Context, w Worker) error {
	if k.workers.WorkerAlive(w) {
		if err := k.workers.WaitWorker(ctx, w); err != nil {
			return fmt.Errorf("watch the streamer: %w", err)
		}
	}
	return errors.New("the streamer ended")
}

// listen passes on what the streamer says; it returns an error when the streamer has said nothing for too long.
func (k *keeper) listen(ctx context.Context, healths chan<- contract.Health) error {
	pace := rate.NewLimiter(10, 20) // a streamer that chatters costs no more than this
	pause := backoff{first: 20 * time.Millisecond, most: time.Second}
	last, seq := time.Now(), uint64(0)
	var counted time.Time
	for pace.Wait(ctx) == nil {
		h, err := k.streamers.Watch(ctx, k.paths.Worker, seq)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if time.Since(last) > hungAfter {
				return fmt.Errorf("the streamer has not answered for %s: %w", hungAfter, err)
			}
			k.log.Debug("the streamer does not answer yet", "error", err)
			pause.sleep(ctx)
			continue
		}
		pause.reset()
		last = time.Now()
		k.metrics.latency.add(k.latency, h.Latency)
		k.latency = h.Latency
		if last.Sub(counted) >= linkEvery {
			counted = last
			k.metrics.links.add(h.Link)
		}
		if h.Seq == seq {
			continue
		}
		seq = h.Seq
		select {
		case healths <- h:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// restartStreamer takes the streamer away, so that the next look at the record starts another, unless too
// many have ended of late.
func (k *keeper) restartStreamer(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	now := time.Now()
	recent := k.crashes[:0]
	for _, at := range k.crashes {
		if now.Sub(at) < crashWindow {
			recent = append(recent, at)
		}
	}
	k.crashes = append(recent, now)
	k.health.Store(nil)
	if len(k.crashes) >= crashLimit {
		reason := fmt.Sprintf("the streamer ended %d times within %s", len(k.crashes), crashWindow)
		if last := lastWords(k.paths.Streamer); last != "" {
			reason += "; its last words: " + last
		}
		return k.fail(ctx, reason)
	}
	k.log.Warn("restarting the streamer", "error", cause, "last_words", lastWords(k.paths.Streamer))
	k.metrics.streamerRestarts.Inc()
	r, err := k.store.Update(k.id, func(r *Record) error { r.StreamerRestarts++; return nil })
	if err != nil {
		return err
	}
	if r.State == Connected {
		if err := k.enter(ctx, Detached, "", k.expire); err != nil {
			return err
		}
	}
	pause := backoff{first: 50 * time.Millisecond << len(k.crashes), most: 5 * time.Second}
	pause.sleep(ctx)
	for _, s := range steps {
		if s.name == "streamer" {
			return k.undo(ctx, s, r)
		}
	}
	return nil
}

func (k *keeper) expire(r *Record) { r.Expires = time.Now().Add(k.grace) }

// apply moves the session to where its streamer says it is.
func (k *keeper) apply(ctx context.Context, h contract.Health) (ended bool, err error) {
	k.auditClipboard(k.health.Load(), h)
	k.auditHand(k.health.Load(), h)
	k.noteFallbacks(k.health.Swap(&h), h)
	defer k.changed()
	if h.GIMP.State == contract.Failed {
		return true, k.fail(ctx, "GIMP ends again and again; its container gave up"+k.saying(h))
	}
	if s, ok := h.Services["xorg"]; ok && s.State == contract.Failed {
		return true, k.fail(ctx, "the X server ends again and again; its container gave up"+k.saying(h))
	}
	r, err := k.store.Get(k.id)
	if err != nil {
		return false, err
	}
	if r.pooled() {
		return k.applyWarm(ctx, r, h)
	}
	if r.State == Starting && h.Ready && complete(r) {
		if err := k.becomeReady(ctx, r, h); err != nil {
			return false, err
		}
		r.State = Ready
	}
	owners := h.Viewers - h.Guests.Count() // a guest alone keeps no session from its end
	switch {
	case (r.State == Ready || r.State == Detached) && owners > 0:
		err = k.enter(ctx, Connected, "", func(r *Record) { r.Expires = time.Time{} })
	case r.State == Connected && owners == 0:
		err = k.enter(ctx, Detached, "", k.expire)
	}
	if err != nil {
		return false, err
	}
	return false, k.noteRestarts(ctx, r, h)
}

func (k *keeper) saying(h contract.Health) string {
	if h.Error == "" {
		return ""
	}
	return ": " + h.Error
}

func (k *keeper) becomeReady(ctx context.Context, r Record, h contract.Health) error {
	taken := time.Since(r.Created)
	window := min(taken, r.TaskStarted.Sub(r.Created)+time.Duration(h.GIMP.WindowMS)*time.Millisecond)
	window = max(window, time.Millisecond) // it was up before the claim: 0 would say that it is not up yet
	err := k.enter(ctx, Ready, "", func(r *Record) {
		k.expire(r)
		r.WindowMS = window.Milliseconds()
	})
	if err == nil {
		k.metrics.ready.WithLabelValues(r.Warmth.String()).Observe(taken.Seconds())
	}
	return err
}

// noteRestarts counts GIMP's restarts and says so when memory was the cause.
func (k *keeper) noteRestarts(ctx context.Context, r Record, h contract.Health) error {
	restarts := uint32(h.GIMP.Restarts)
	if restarts == r.GIMPRestarts {
		return nil
	}
	if k.outOfMemory(ctx) {
		note := fmt.Sprintf("the session ran out of memory (its limit is %d MiB) and GIMP was started again", r.Limits.Memory>>20)
		k.notes.Store(&note)
	}
	if restarts > r.GIMPRestarts {
		k.metrics.gimpRestarts.Add(float64(restarts - r.GIMPRestarts))
	}
	_, err := k.store.Update(k.id, func(r *Record) error { r.GIMPRestarts = restarts; return nil })
	return err
}

// noteFallbacks counts encoders that a worse one stood in for. What a streamer that was taken up again had counted before is not new; a new
// streamer counts from 0.
func (k *keeper) noteFallbacks(before *contract.Health, h contract.Health) {
	if before == nil {
		return
	}
	known := before.Fallbacks
	if h.Fallbacks < known {
		known = 0
	}
	if n := h.Fallbacks - known; n > 0 {
		k.metrics.fallbacks.Add(float64(n))
		k.log.Warn("a worse encoder stands in", "encoder", h.Encoder, "degraded", h.Degraded)
	}
}

// outOfMemory asks for a while only: whoever watches the session must not wait for a containerd that hangs.
func (k *keeper) outOfMemory(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, containerdPatience)
	defer cancel()
	oom, err := k.containers.OutOfMemory(ctx, k.id)
	return err == nil && oom
}

// deadline is how long the session may stay as it is, and what to do then; nil when it may stay for ever.
func (k *keeper) deadline() (time.Duration, func(context.Context) error) {
	r, err := k.store.Get(k.id)
	if err != nil {
		return time.Second, nil
	}
	switch r.State {
	case Starting:
		since := r.at(Starting)
		if k.began.After(since) {
			since = k.began
		}
		return max(0, time.Until(since.Add(k.startLimit))), k.tooSlow
	case Ready, Detached:
		at := r.Expires
		if r.pooled() {
			return max(0, time.Until(at)), k.tooOld
		}
		if earliest := k.began.Add(adoptedGrace); at.Before(earliest) && r.Created.Before(k.began) {
			at = earliest
		}
		return max(0, time.Until(at)), k.unused
	}
	return time.Hour, nil
}

func (k *keeper) tooSlow(ctx context.Context) error {
	reason := fmt.Sprintf("it was not ready within %s", k.startLimit)
	if h := k.health.Load(); h != nil {
		reason += ": " + lacking(*h)
	} else {
		reason += ": " + lacking(contract.Health{})
	}
	if last := lastWords(k.paths.BoxLog); last != "" {
		reason += "; the container's last words: " + last
	}
	return k.fail(ctx, reason)
}

func (k *keeper) unused(ctx context.Context) error {
	r, err := k.store.Get(k.id)
	if err != nil {
		return err
	}
	if r.State == Ready {
		return k.finish(ctx, fmt.Sprintf("nobody connected within %s", k.grace))
	}
	return k.finish(ctx, fmt.Sprintf("nobody was connected for %s", k.grace))
}

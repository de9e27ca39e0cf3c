// Package pool keeps the node's warm sessions at the number that is wished for: it begins them one at a time while nobody waits for a
// session and the host has time, replaces those that are stale, and ends those that are too many. Sessions that users have are none of its business.
package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/session"
)

// Sessions is what the pool needs of the node's sessions.
type Sessions interface {
	// Warm lists the warm sessions that nobody has claimed, oldest first.
	Warm() ([]session.Warm, error)
	// Starting tells whether a session is being started for somebody.
	Starting() (bool, error)
	Prepare(ctx context.Context, image, class string, kind session.Warmth, expires time.Time) (session.Warm, error)
	// Retire ends a warm session unless it has been claimed.
	Retire(ctx context.Context, id, reason string) error
	Get(id string) (session.Session, error)
	ImageDigest(ctx context.Context, ref string) (string, error)
	DefaultImage() string
	Changed() <-chan struct{}
}

// Options is what a Pool is made of.
type Options struct {
	Sessions Sessions
	DB       *bbolt.DB
	Own      []Wish                               // of the node's own configuration
	MaxAge   time.Duration                        // an unclaimed session is replaced at about this age
	CPU      float64                              // no session is begun while a greater part of the host's processors is busy
	Busy     func() (part float64, measured bool) // of late
	Metrics  *Metrics
	Log      *slog.Logger
}

// Pool keeps warm sessions. Its methods are safe for concurrent use.
type Pool struct {
	Options
	kick chan struct{} // holds one: the wishes have changed

	mu     sync.Mutex
	wishes []Wish
	held   bool

	// Run's own.
	rising   string    // the one that has been begun and is not up yet
	failures int       // in a row
	notUntil time.Time // of the next begin, after a failure
	digests  map[string]imageSeen
}

type imageSeen struct {
	digest string
	at     time.Time
}

// Pauses of the pool.
const (
	settle     = 250 * time.Millisecond // changes come in bursts
	idle       = 30 * time.Second       // nothing to do
	busyPause  = 2 * time.Second        // the host, or a session of somebody's, has the processors
	fullPause  = 15 * time.Second       // there is no room; a change is heard before
	firstAgain = 5 * time.Second        // after a session that did not come up, doubled each time
	mostAgain  = 10 * time.Minute
	lookAgain  = time.Minute // at an image
)

// New returns a pool with the wishes that were told last, or the node's own.
func New(o Options) (*Pool, error) {
	for _, w := range o.Own {
		if err := w.check(); err != nil {
			return nil, err
		}
	}
	p := &Pool{Options: o, kick: make(chan struct{}, 1), digests: map[string]imageSeen{}}
	told, ok, err := readWishes(o.DB)
	if err != nil {
		return nil, fmt.Errorf("read what warm sessions were wished for: %w", err)
	}
	p.wishes = o.Own
	if ok {
		p.wishes = told
	}
	return p, nil
}

// Run keeps the pool until ctx ends, and leaves its sessions: the next Run finds them.
func (p *Pool) Run(ctx context.Context) error {
	for {
		changed := p.Sessions.Changed()
		pause, err := p.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			p.Log.Warn("cannot keep warm sessions as wished; trying again", "error", err)
			pause = firstAgain
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-p.kick:
		case <-timer.C:
		}
		timer.Stop()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
	}
}

// step does the one thing that is most needed, and says how long the pool may wait when nothing changes.
func (p *Pool) step(ctx context.Context) (time.Duration, error) {
	warm, err := p.Sessions.Warm()
	if err != nil {
		return 0, err
	}
	p.followRising(warm)
	rows := p.table(warm)
	p.Metrics.tell(rows)
	if done, err := p.retireOne(ctx, rows); done || err != nil {
		return settle, err
	}
	lacking := needy(rows)
	if len(lacking) == 0 {
		return idle, nil
	}
	if pause := p.mustWait(warm); pause > 0 {
		return pause, nil
	}
	for _, row := range lacking { // where one class has no slice to give, another may
		if begun, err := p.begin(ctx, row); begun || err != nil {
			return idle, err
		}
	}
	return fullPause, nil
}

// followRising learns what became of the session that was begun last.
func (p *Pool) followRising(warm []session.Warm) {
	if p.rising == "" {
		return
	}
	i := slices.IndexFunc(warm, func(w session.Warm) bool { return w.ID == p.rising })
	if i >= 0 && !warm[i].Up {
		return
	}
	failed := false
	if i >= 0 {
		p.Metrics.refill.Observe(warm[i].Took.Seconds())
	} else if s, err := p.Sessions.Get(p.rising); err == nil {
		failed = s.State == session.Failed
	}
	p.rising = ""
	if !failed {
		p.failures = 0
		return
	}
	p.failures++
	p.Metrics.failures.Inc()
	wait := firstAgain << min(p.failures-1, 10)
	p.notUntil = time.Now().Add(min(wait, mostAgain))
	p.Log.Warn("a warm session did not come up; the next is begun later", "in", min(wait, mostAgain), "failures", p.failures)
}

// mustWait is how long it is not the time to begin a session; 0 when it is. Whoever waits for a session, or works in one, goes first.
func (p *Pool) mustWait(warm []session.Warm) time.Duration {
	if slices.ContainsFunc(warm, func(w session.Warm) bool { return !w.Up }) {
		return busyPause
	}
	if wait := time.Until(p.notUntil); wait > 0 {
		return wait
	}
	if starting, err := p.Sessions.Starting(); err != nil || starting {
		return busyPause
	}
	p.mu.Lock()
	most := p.CPU
	p.mu.Unlock()
	if part, measured := p.Busy(); !measured || part > most {
		return busyPause
	}
	return 0
}

// begin starts one session of the row, unless there is no room for it.
func (p *Pool) begin(ctx context.Context, row *row) (bool, error) {
	w, err := p.Sessions.Prepare(ctx, row.wish.Image, row.wish.Class, row.wish.Kind, time.Now().Add(p.age()))
	var refusal *session.Refusal
	if errors.As(err, &refusal) {
		p.Log.Debug("no warm session is begun", "class", row.wish.Class, "reason", refusal.Reason)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.rising = w.ID
	return true, nil
}

// age is MaxAge, a tenth more or less: sessions that were begun together are not replaced together.
func (p *Pool) age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(float64(p.MaxAge) * (0.9 + 0.2*rand.Float64()))
}

// retireOne ends one session that is too many, or whose image is not what its name means any more.
func (p *Pool) retireOne(ctx context.Context, rows []*row) (bool, error) {
	for _, r := range rows {
		if extra := len(r.warm) - r.wish.Want; extra > 0 {
			return true, p.Sessions.Retire(ctx, r.lastNeeded().ID, "fewer warm sessions are wished for")
		}
		for _, w := range r.warm {
			digest, err := p.digestOf(ctx, w.Image)
			if err != nil {
				return false, err
			}
			if digest != "" && w.Digest != "" && w.Digest != digest {
				return true, p.Sessions.Retire(ctx, w.ID, "its image was replaced")
			}
		}
	}
	return false, nil
}

// digestOf asks containerd now and then.
func (p *Pool) digestOf(ctx context.Context, image string) (string, error) {
	if seen, ok := p.digests[image]; ok && time.Since(seen.at) < lookAgain {
		return seen.digest, nil
	}
	digest, err := p.Sessions.ImageDigest(ctx, image)
	if err != nil {
		return "", err
	}
	p.digests[image] = imageSeen{digest, time.Now()}
	return digest, nil
}

package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// Warmth is how far a session was started before somebody asked for it.
type Warmth string

// A session that is kept ready has GIMP up with the image's own profile, for who has none yet. On a desktop all is up but GIMP, which then
// starts with the artist's profile: GIMP reads it once, at its start.
const (
	Cold        Warmth = ""
	WarmDesktop Warmth = "desktop"
	WarmReady   Warmth = "ready"
)

var warmths = []Warmth{Cold, WarmDesktop, WarmReady}

func (w Warmth) String() string {
	if w == Cold {
		return "cold"
	}
	return string(w)
}

// pooled tells whether the session is a warm one that nobody has claimed.
func (r *Record) pooled() bool { return r.User == "" && r.Warmth != Cold }

// claim gives a warm session to the user who asked. What is still to be made of it is in the table of steps, as for any session.
func (r *Record) claim(q Request, now time.Time) {
	r.User, r.Key, r.Intent = q.User, q.Key, q.Intent
	r.Created, r.Expires = now, time.Time{}
	// To its user it begins here: it is not there for use before the home is in it.
	r.State, r.Times = Starting, []StateTime{{Reserved, now}, {Starting, now}}
}

// endWarm wants a warm session ended, unless it has been claimed.
func (r *Record) endWarm(reason string, now time.Time) error {
	if !r.pooled() {
		return errTaken
	}
	if r.State.Ended() {
		return nil
	}
	r.Wanted = WantEnded
	return r.enter(Stopping, reason, now)
}

// claim finds the session that the request names, or gives it a warm one that fits, in one transaction: two requests never get the same.
// The record is empty when there is neither.
func (m *Manager) claim(ctx context.Context, q Request) (r Record, claimed bool, err error) {
	all, err := m.store.List()
	if err != nil {
		return Record{}, false, err
	}
	if r, ok, err := q.known(all); ok || err != nil {
		return r, false, err
	}
	if refusal := m.closed(); refusal != nil {
		return Record{}, false, refusal
	}
	if refusal := q.late(time.Now()); refusal != nil {
		return Record{}, false, refusal
	}
	kinds, err := m.kindsFor(all, q.User)
	if err != nil {
		return Record{}, false, err
	}
	if _, ok := m.fitting(all, q, kinds); !ok {
		return Record{}, false, nil
	}
	points := pointsOfTransition(claim)
	if err := m.points.Hit(ctx, points[0]); err != nil {
		return Record{}, false, err
	}
	err = m.store.Change(func(all []Record) ([]Record, error) {
		r, claimed = Record{}, false
		if err := ctx.Err(); err != nil { // nobody waits for it any more
			return nil, err
		}
		known, ok, err := q.known(all)
		if ok || err != nil {
			r = known
			return nil, err
		}
		fit, ok := m.fitting(all, q, kinds)
		if !ok {
			return nil, nil // others were quicker
		}
		fit.claim(q, time.Now())
		r, claimed = fit, true
		return []Record{fit}, nil
	})
	if err != nil || !claimed {
		return r, false, err
	}
	return r, true, m.points.Hit(ctx, points[1])
}

// kindsFor is what warmth a user may get, the best first. Who has a GIMP profile never gets a GIMP that runs without it; a user whose first
// session still lives is about to have one.
func (m *Manager) kindsFor(all []Record, user string) ([]Warmth, error) {
	profile, err := m.homes.HasProfile(user)
	if err != nil {
		return nil, fmt.Errorf("look for the profile of %s: %w", user, err)
	}
	for _, r := range all {
		profile = profile || r.User == user && r.holds()
	}
	if profile {
		return []Warmth{WarmDesktop}, nil
	}
	return []Warmth{WarmReady, WarmDesktop}, nil
}

// fitting is the warm session that the request gets. Of several the oldest goes first: it would be replaced first.
func (m *Manager) fitting(all []Record, q Request, kinds []Warmth) (Record, bool) {
	image, class, now := q.Image, classOf(q.Class), time.Now()
	if image == "" {
		image = m.settings().Image
	}
	for _, kind := range kinds {
		for _, r := range all {
			if r.pooled() && r.Warmth == kind && r.Image == image && r.Class == class && r.State == Ready && r.Wanted == WantRunning && now.Before(r.Expires) && m.well(r) && (q.Encoder != EncoderHardware || class == gpu.None || r.GPU.Encoder) {
				return r, true
			}
		}
	}
	return Record{}, false
}

// well tells whether a warm session's streamer has told this noded that all of it runs.
func (m *Manager) well(r Record) bool {
	k := m.keeperOf(r.ID)
	if k == nil {
		return false
	}
	if r.GPU.ID != "" {
		if s, there := m.sliceOf(r.GPU.ID); !there || s.Unfit != "" {
			return false
		}
	}
	h := k.health.Load()
	return h != nil && warmUp(*h, r.Warmth)
}

// warmUp tells whether all that a warm session should have runs.
func warmUp(h contract.Health, kind Warmth) bool {
	if len(h.Services) == 0 || kind == WarmReady && !h.Ready {
		return false
	}
	for name, s := range h.Services {
		if s.State != contract.Running && (kind == WarmReady || name != gimpService) {
			return false
		}
	}
	return true
}

// gimpService is GIMP's name among the services that easel-init reports.
const gimpService = "gimp"

// ailing says what makes a warm session unfit to be given away; "" when nothing does.
func ailing(h contract.Health) string {
	for name, s := range h.Services {
		if s.Restarts > 0 || s.State == contract.Failed || s.State == contract.Backoff {
			return name + " ended in it"
		}
	}
	return ""
}

// Warm is a session that was started before anybody asked for it.
type Warm struct {
	ID, Image, Class string
	Kind             Warmth
	Digest           string // of its image
	Begun            time.Time
	Up               bool          // it can be claimed
	Took             time.Duration // from its begin until it could be claimed, 0 before
}

// Warm lists the warm sessions that nobody has claimed and that are not on their way out, oldest first.
func (m *Manager) Warm() ([]Warm, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	var warm []Warm
	for _, r := range all {
		if !r.pooled() || r.State.Ended() {
			continue
		}
		w := Warm{ID: r.ID, Image: r.Image, Class: r.Class, Kind: r.Warmth, Digest: r.Digest, Begun: r.Warmed, Up: r.State == Ready && m.well(r)}
		if at := r.at(Ready); !at.IsZero() {
			w.Took = at.Sub(r.Warmed)
		}
		warm = append(warm, w)
	}
	return warm, nil
}

// firstMoments is how long after its reservation a session's user is taken to wait for the first picture.
const firstMoments = 10 * time.Second

// Starting tells whether a session is being started for somebody, or was a moment ago: that goes before any warm one.
func (m *Manager) Starting() (bool, error) {
	all, err := m.store.List()
	if err != nil {
		return false, err
	}
	for _, r := range all {
		if !r.pooled() && !r.State.Ended() && (r.State == Reserved || r.State == Starting || time.Since(r.Created) < firstMoments) {
			return true, nil
		}
	}
	return false, nil
}

// Prepare begins a warm session, which ends at expires when nobody has claimed it. Errors are ErrInvalid, a *Refusal when there is no room
// beside what is there, or the node's own trouble.
func (m *Manager) Prepare(ctx context.Context, image, class string, kind Warmth, expires time.Time) (Warm, error) {
	if kind != WarmDesktop && kind != WarmReady {
		return Warm{}, fmt.Errorf("warm session of kind %q: %w: want ready or desktop", kind, ErrInvalid)
	}
	if err := checkClass(class); err != nil {
		return Warm{}, fmt.Errorf("begin a warm session: %w", err)
	}
	image, digest, err := m.imageFor(ctx, image)
	if err != nil {
		return Warm{}, fmt.Errorf("begin a warm session: %w", err)
	}
	r, _, err := m.admit(ctx, Request{}, Record{Image: image, Class: classOf(class), Digest: digest, Warmth: kind, Expires: expires})
	if err != nil {
		return Warm{}, fmt.Errorf("begin a warm session: %w", err)
	}
	m.log.Info("warm session begun", "session", r.ID, "kind", kind)
	m.take(r.ID)
	return Warm{ID: r.ID, Image: r.Image, Class: r.Class, Kind: kind, Digest: digest, Begun: r.Warmed}, nil
}

// Retire ends a warm session that nobody has claimed; one that has been claimed lives on.
func (m *Manager) Retire(ctx context.Context, id, reason string) error {
	points := pointsOfTransition(string(Stopping))
	if err := m.points.Hit(ctx, points[0]); err != nil {
		return fmt.Errorf("retire warm session %s: %w", id, err)
	}
	_, err := m.store.Update(id, func(r *Record) error { return r.endWarm(reason, time.Now()) })
	if errors.Is(err, errTaken) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("retire warm session %s: %w", id, err)
	}
	m.log.Info("warm session retired", "session", id, "reason", reason)
	if k := m.keeperOf(id); k != nil {
		k.end(errEnding)
	}
	m.bell.ring()
	return m.points.Hit(ctx, points[1])
}

// ImageDigest is what the image that a reference names is now, "" for the node's default; "" when the node has none by that name.
func (m *Manager) ImageDigest(ctx context.Context, ref string) (string, error) {
	if ref == "" {
		ref = m.settings().Image
	}
	digest, _, err := m.lookForImage(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("look for image %s: %w", ref, err)
	}
	return digest, nil
}

// DefaultImage is the reference of the image of sessions that name none.
func (m *Manager) DefaultImage() string { return m.settings().Image }

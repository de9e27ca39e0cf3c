package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"easel/noded/gpu"
)

// Request asks for a session.
type Request struct {
	User, Key, Class, Image string
	Encoder                 string    // EncoderHardware, EncoderAny or ""; it says nothing for class "none"
	Intent                  string    // names this placement; the same one never makes a second session, "" for none
	NotAfter                time.Time // when nobody waits for it any more; zero for never
}

// clockLeeway is how far the clocks of a coordinator and a node may differ before a request in time is taken for a late one.
const clockLeeway = 30 * time.Second

func (q Request) validate() error {
	switch {
	case !userPattern.MatchString(q.User):
		return fmt.Errorf("user %q: %w: want 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or digit", words(q.User, 80), ErrInvalid)
	case q.Key == "" || len(q.Key) > 128 || words(q.Key, 200) != q.Key:
		return fmt.Errorf("key %q: %w: want 1 to 128 printable characters", words(q.Key, 140), ErrInvalid)
	case len(q.Intent) > 128 || words(q.Intent, 200) != q.Intent:
		return fmt.Errorf("intent %q: %w: want at most 128 printable characters", words(q.Intent, 140), ErrInvalid)
	case q.Encoder != "" && q.Encoder != EncoderAny && q.Encoder != EncoderHardware:
		return fmt.Errorf("encoder %q: %w: want %q or %q", words(q.Encoder, 40), ErrInvalid, EncoderHardware, EncoderAny)
	}
	return checkClass(q.Class)
}

// checkClass looks whether any node could have such a class.
func checkClass(class string) error {
	if class != "" && !gpu.ValidClass(class) {
		return fmt.Errorf("class %q: %w: want %s, %s, %s or a MIG profile's name, such as 1g.10gb", words(class, 40), ErrInvalid, gpu.None, gpu.Shared, gpu.Whole)
	}
	return nil
}

// classOf is the class that a request names; who names none wants no card.
func classOf(class string) string {
	if class == "" {
		return gpu.None
	}
	return class
}

// Reserve makes the session of (user, key), claims a warm one for it, or returns the one that lives under that key or was made for that
// intent. Errors are ErrInvalid, a *Refusal, or the node's own trouble.
func (m *Manager) Reserve(ctx context.Context, q Request) (Session, bool, error) {
	type answer struct {
		s       Session
		created bool
		err     error
	}
	answered := make(chan answer, 1)
	go func() { // it ends with what it writes, for which the database's closing waits
		defer close(answered)
		s, created, err := m.reserveAndTake(ctx, q)
		answered <- answer{s, created, err}
	}()
	select {
	case a, ok := <-answered:
		if !ok { // a failpoint has killed it
			return Session{}, false, errors.New("reserve a session: interrupted")
		}
		return a.s, a.created, a.err
	case <-ctx.Done(): // the disk may take its time; what it has written already is kept, and found by who asks again
		return Session{}, false, fmt.Errorf("reserve a session: %w; is the disk slow?", ctx.Err())
	}
}

func (m *Manager) reserveAndTake(ctx context.Context, q Request) (Session, bool, error) {
	r, created, err := m.reserve(ctx, q)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		m.metrics.refused.WithLabelValues(refusal.Reason).Inc()
	}
	if created {
		m.log.Info("session reserved", "session", r.ID, "user", r.User, "warmth", r.Warmth.String())
		m.metrics.starts.WithLabelValues(r.Warmth.String()).Inc()
		m.take(r.ID)
	}
	if err != nil {
		return Session{}, false, fmt.Errorf("reserve a session: %w", err)
	}
	return m.session(r), created, nil
}

// take has the session's keeper look at it: a new one, or a warm one's that watches it.
func (m *Manager) take(id string) {
	m.keepIt(id)
	if k := m.keeperOf(id); k != nil {
		select {
		case k.claimed <- struct{}{}:
		default: // it has been told already
		}
	}
	m.bell.ring()
}

func (m *Manager) reserve(ctx context.Context, q Request) (Record, bool, error) {
	if err := q.validate(); err != nil {
		return Record{}, false, err
	}
	if r, claimed, err := m.claim(ctx, q); err != nil || r.ID != "" {
		return r, claimed, err
	}
	image, _, err := m.imageFor(ctx, q.Image) // before the lock: containerd may take its time
	if err != nil {
		return Record{}, false, err
	}
	return m.admit(ctx, q, Record{User: q.User, Key: q.Key, Intent: q.Intent, Image: image, Class: classOf(q.Class)})
}

// known is the session that the request names: by its intent even when that session has ended meanwhile, by user and key while it lives.
func (q Request) known(all []Record) (Record, bool, error) {
	for _, r := range all {
		if q.Intent == "" || r.Intent != q.Intent {
			continue
		}
		if r.User != q.User || r.Key != q.Key {
			return Record{}, false, fmt.Errorf("intent %q: %w: it was another session's", q.Intent, ErrInvalid)
		}
		return r, true, nil
	}
	for _, r := range all {
		if r.User == q.User && r.Key == q.Key && !r.State.Ended() {
			return r, true, nil
		}
	}
	return Record{}, false, nil
}

// late refuses a request that was delayed so long that nobody waits for its session.
func (q Request) late(now time.Time) *Refusal {
	if q.NotAfter.IsZero() || now.Before(q.NotAfter.Add(clockLeeway)) {
		return nil
	}
	return &Refusal{"late", fmt.Sprintf("the request was good until %s, and it is %s on this node: ask anew, and if that happens again compare the machines' clocks",
		q.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))}
}

// errTaken means that a warm session that was to give way has been claimed in the meantime.
var errTaken = errors.New("the warm session has been claimed")

// admit records a session for which there is room, or for which warm ones give way; one at a time, for what it checks must hold until
// then. A session without a user is the pool's, and nothing gives way to it.
func (m *Manager) admit(ctx context.Context, q Request, blank Record) (Record, bool, error) {
	m.reserving.Lock()
	defer m.reserving.Unlock()
	for attempt := 1; ; attempt++ {
		r, created, err := m.admitOnce(ctx, q, blank)
		if errors.Is(err, errTaken) && attempt <= m.settings().admission.Max {
			continue // with fewer warm ones to give way
		}
		return r, created, err
	}
}

func (m *Manager) admitOnce(ctx context.Context, q Request, blank Record) (Record, bool, error) {
	if err := ctx.Err(); err != nil { // others took long
		return Record{}, false, err
	}
	all, err := m.store.List()
	if err != nil {
		return Record{}, false, err
	}
	if r, ok, err := q.known(all); !blank.pooled() && (ok || err != nil) {
		return r, false, err
	}
	if refusal := q.late(time.Now()); refusal != nil {
		return Record{}, false, refusal
	}
	leaving, refusal := m.makeRoom(holding(all), blank, q.Encoder)
	if refusal != nil {
		return Record{}, false, refusal
	}
	points := pointsOfTransition(string(Reserved))
	if err := m.points.Hit(ctx, points[0]); err != nil {
		return Record{}, false, err
	}
	r, created, err := m.record(ctx, q, blank, leaving)
	if err != nil {
		return Record{}, false, err
	}
	for _, l := range leaving {
		m.log.Info("a warm session gives way", "session", l.ID, "to", r.ID)
		if k := m.keeperOf(l.ID); k != nil {
			k.end(errEnding)
		}
	}
	return r, created, m.points.Hit(ctx, points[1])
}

// record writes the new session, and with it the end of those that give way.
func (m *Manager) record(ctx context.Context, q Request, blank Record, leaving []Record) (r Record, created bool, err error) {
	err = m.store.Change(func(all []Record) ([]Record, error) {
		if err := ctx.Err(); err != nil { // nobody waits for it any more
			return nil, err
		}
		known, ok, err := q.known(all)
		if !blank.pooled() && (ok || err != nil) {
			r, created = known, false
			return nil, err
		}
		var changed []Record
		for _, l := range leaving {
			i := slices.IndexFunc(all, func(r Record) bool { return r.ID == l.ID })
			if i < 0 || !all[i].pooled() {
				return nil, errTaken
			}
			if err := all[i].endWarm("it gave way to a session that somebody asked for", time.Now()); err != nil {
				return nil, err
			}
			changed = append(changed, all[i])
		}
		if r, err = m.allot(all, leaving, blank, q.Encoder); err != nil {
			return nil, err
		}
		created = true
		return append(changed, r), nil
	})
	return r, created && err == nil, err
}

// allot gives a new session its id, uid range and port, and the slice of a card when its class has one; that may be the slice of one that
// gives way.
func (m *Manager) allot(all, leaving []Record, r Record, encoder string) (Record, error) {
	held := holding(all)
	slice, refusal := m.chooseSlice(without(held, leaving), r, encoder)
	if refusal != nil {
		return Record{}, refusal
	}
	uids, ok := m.settings().admission.freeUIDs(held)
	if !ok {
		return Record{}, &Refusal{"full", "this node has no uid range left: end a session, or lower sessions.uid_base"}
	}
	var last uint16
	if len(all) > 0 {
		last = all[len(all)-1].UDPPort
	}
	port, ok := m.freePort(held, last)
	if !ok {
		return Record{}, &Refusal{"ports", fmt.Sprintf("every UDP port from %d to %d of this node is taken: widen media.ports", m.settings().admission.PortFirst, m.settings().admission.PortLast)}
	}
	r.ID, r.GPU, r.Wanted, r.Created = newID(), slice, WantRunning, time.Now()
	r.UIDBase, r.UDPPort, r.Limits = uids, port, m.settings().admission.Limits
	if m.settings().admission.Pin {
		r.Limits.CPUSet = slice.CPUs
	}
	if r.pooled() {
		r.Warmed = r.Created
	}
	return r, r.enter(Reserved, "", r.Created)
}

// without is the records of all but those that leave.
func without(all, leaving []Record) []Record {
	if len(leaving) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(r Record) bool {
		return slices.ContainsFunc(leaving, func(l Record) bool { return l.ID == r.ID })
	})
}

func holding(all []Record) []Record {
	return slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return !r.holds() })
}

package congestion

import "time"

// least is the shortest of times over the last baselineSpan, and up to twice that: what it is when a span ends holds for the next one, or a queue that
// stands just then would count as none. The zero value is ready.
type least struct {
	now, before time.Duration
	since       time.Time
}

// of takes in a time, and gives the least.
func (l *least) of(took time.Duration, now time.Time) time.Duration {
	switch {
	case l.since.IsZero():
		l.now, l.before, l.since = took, took, now
	case now.Sub(l.since) > baselineSpan:
		l.now, l.before, l.since = took, l.now, now
	}
	l.now = min(l.now, took)
	return min(l.now, l.before)
}

package stream

import (
	"log/slog"
	"sync"
	"time"
)

// Bounds of the video's rate, in kilobits a second.
const (
	minKbps   = 1000
	maxKbps   = 20000
	startKbps = 20000
)

// Reactions of the rate to the network.
const (
	queueLimit    = 120 * time.Millisecond // one-way delay above the least seen that counts as a queue
	queueReports  = 4                      // that many reports in a row
	baselineSpan  = 10 * time.Second       // how long the least delay counts
	lossLimit     = 0.10
	holdAfterCut  = 500 * time.Millisecond
	calmAfterCut  = 2 * time.Second
	growthASecond = 1.3
)

// feedback is what one report of the viewer says of the packets it covers.
type feedback struct {
	Delay time.Duration // mean one-way delay, on clocks that need not agree
	Bytes int           // that arrived
	Span  time.Duration // that they took to arrive
}

// outgoing decides how much video may go out, from the queues and losses that a viewer reports. A screen sends little most of the time,
// so what arrived bounds a cut, never the growth. It is safe for several goroutines.
type outgoing struct {
	log *slog.Logger

	mu       sync.Mutex
	kbps     float64
	ceiling  float64
	least    time.Duration
	leastAt  time.Time
	queued   int
	cutAt    time.Time
	raisedAt time.Time
}

func newOutgoing(log *slog.Logger) *outgoing {
	return &outgoing{log: log, kbps: startKbps, ceiling: maxKbps}
}

// Kbps is the rate now.
func (r *outgoing) Kbps() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.kbps)
}

// delay takes in a report on arrival times.
func (r *outgoing) delay(f feedback, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leastAt.IsZero() || f.Delay <= r.least || now.Sub(r.leastAt) > baselineSpan {
		r.least, r.leastAt = f.Delay, now
	}
	if f.Delay-r.least <= queueLimit {
		r.queued = 0
		r.grow(now)
		return
	}
	if r.queued++; r.queued >= queueReports {
		arrived := 0.0
		if f.Span > 0 {
			arrived = float64(f.Bytes) * 8 / 1000 / f.Span.Seconds()
		}
		r.cut(max(r.kbps*0.7, min(arrived*0.85, r.kbps)), "queue", now)
	}
}

// loss takes in a receiver report's fraction lost, from 0 to 1.
func (r *outgoing) loss(fraction float64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fraction > lossLimit {
		r.cut(r.kbps*(1-fraction/2), "loss", now)
	}
}

func (r *outgoing) cut(to float64, why string, now time.Time) {
	if now.Sub(r.cutAt) < holdAfterCut {
		return
	}
	r.log.Debug("rate cut", "from", int(r.kbps), "to", int(to), "why", why)
	r.kbps = max(to, minKbps)
	r.cutAt, r.raisedAt, r.queued = now, now, 0
}

func (r *outgoing) grow(now time.Time) {
	since := min(now.Sub(r.raisedAt), time.Second)
	r.raisedAt = now
	if now.Sub(r.cutAt) < calmAfterCut || since <= 0 {
		return
	}
	r.kbps = min(r.kbps*(1+(growthASecond-1)*since.Seconds()), r.ceiling)
}

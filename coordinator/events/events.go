// Package events is what this coordinator saw happen of late, for the operator's eyes: members that came and went,
// nodes lost and back, refusals, orders given, webhooks sent. It is bounded, and gone with the process: the log and
// the metrics are what lasts.
package events

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Kinds of events.
const (
	Member   = "member"   // of the cluster, of either role
	Node     = "node"     // its room, its duty, its silence
	Session  = "session"  // one that could not be placed
	Operator = "operator" // what somebody ordered
	Webhook  = "webhook"
)

// Event is one thing that happened.
type Event struct {
	Seq     uint64    `json:"seq"` // grows by one with each event of this process
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Bad     bool      `json:"bad"`     // somebody should look
	Subject string    `json:"subject"` // a node, a member, a user or a webhook
	Text    string    `json:"text"`
	Times   int       `json:"times"` // how often it happened in a row
}

// Bounds of what is kept.
const (
	maxText = 500 // bytes
	again   = time.Minute
)

// Log keeps the last events. Its methods are safe for concurrent use.
type Log struct {
	size int
	now  func() time.Time

	mu      sync.Mutex
	seq     uint64
	events  []Event // the newest last
	changed chan struct{}
}

// New returns a log of at most size events.
func New(size int) *Log { return &Log{size: size, now: time.Now, changed: make(chan struct{})} }

// Add notes that something happened. The same thing again within a minute only counts.
func (l *Log) Add(kind, subject, text string, bad bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := Event{At: l.now().UTC(), Kind: kind, Bad: bad, Subject: subject, Text: strings.ToValidUTF8(text[:min(len(text), maxText)], ""), Times: 1}
	for i := len(l.events) - 1; i >= 0 && e.At.Sub(l.events[i].At) < again; i-- {
		if old := l.events[i]; old.Kind == kind && old.Subject == subject {
			if old.Text == e.Text {
				e.Times += old.Times
				l.events = slices.Delete(l.events, i, i+1)
			}
			break
		}
	}
	l.seq++
	e.Seq = l.seq
	if len(l.events) == l.size {
		l.events = slices.Delete(l.events, 0, 1)
	}
	l.events = append(l.events, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Recent returns the last events, at most n, the newest first.
func (l *Log) Recent(n int) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := slices.Clone(l.events[max(0, len(l.events)-n):])
	slices.Reverse(recent)
	return recent
}

// Changed returns a channel that is closed at the next event.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

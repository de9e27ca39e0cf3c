package partition

import (
	"context"
	"sync"
	"time"
)

// Event is one thing that happened while a layout was applied.
type Event struct {
	At    time.Time `json:"at"`
	Card  string    `json:"card,omitempty"`
	Index int       `json:"index"`
	Text  string    `json:"text,omitempty"`
	Plan  *Plan     `json:"plan,omitempty"` // the first event has it
	// Done marks the last event; Error is then why not all was applied.
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

// Job is one application of a file. It keeps what happened for whoever follows it.
type Job struct {
	began time.Time
	clock func() time.Time

	mu     sync.Mutex
	events []Event
	more   chan struct{} // closed at the next event
}

func newJob(clock func() time.Time) *Job {
	return &Job{began: clock(), clock: clock, more: make(chan struct{})}
}

func (j *Job) add(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At = j.clock().UTC()
	j.events = append(j.events, e)
	close(j.more)
	j.more = make(chan struct{})
}

func (j *Job) end(err error) {
	e := Event{Done: true, Text: "done"}
	if err != nil {
		e.Text, e.Error = "", err.Error()
	}
	j.add(e)
}

func (j *Job) ended() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events) > 0 && j.events[len(j.events)-1].Done
}

// Follow tells of every event from the first to the last, until tell fails or ctx ends.
func (j *Job) Follow(ctx context.Context, tell func(Event) error) error {
	for next := 0; ; {
		j.mu.Lock()
		fresh, more := j.events[next:], j.more
		j.mu.Unlock()
		for _, e := range fresh {
			if err := tell(e); err != nil || e.Done {
				return err
			}
		}
		next += len(fresh)
		if len(fresh) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

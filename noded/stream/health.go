package stream

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

// watchTime is how long a watcher waits for a change before it hears that there was none.
const watchTime = 25 * time.Second

// board keeps the session's health and wakes who watches it. It is safe for several goroutines.
type board struct {
	mu      sync.Mutex
	health  contract.Health
	changed chan struct{} // closed at the next change
}

func newBoard() *board {
	return &board{
		changed: make(chan struct{}),
		health:  contract.Health{Seq: 1, GIMP: contract.GIMP{State: contract.Starting}, Services: map[string]contract.Service{}, Degraded: []string{}},
	}
}

// update changes the health; what changes nothing wakes nobody.
func (b *board) update(change func(h *contract.Health)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.copy()
	change(&h)
	slices.Sort(h.Degraded)
	h.Degraded = slices.Compact(h.Degraded)
	if reflect.DeepEqual(h, b.health) {
		return
	}
	h.Seq = b.health.Seq + 1
	b.health = h
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) copy() contract.Health {
	h := b.health
	h.Services = maps.Clone(h.Services)
	h.Degraded = slices.Clone(h.Degraded)
	return h
}

// get returns the health as it is, and a channel that closes when it changes.
func (b *board) get() (contract.Health, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.copy(), b.changed
}

// watch returns the health once its number is past after, or what it is after watchTime.
func (b *board) watch(ctx context.Context, after uint64) contract.Health {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	for {
		h, changed := b.get()
		if h.Seq > after {
			return h
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return h
		}
	}
}

// degrade says, or takes back, that something works less well than it should.
func (b *board) degrade(what string, is bool) {
	b.update(func(h *contract.Health) {
		if is {
			h.Degraded = append(h.Degraded, what)
			return
		}
		h.Degraded = slices.DeleteFunc(h.Degraded, func(s string) bool { return s == what })
	})
}

package placement

import (
	"context"
	"sync"
)

// turns lets one request at a time place the session of one user and key, so that those of one coordinator
// do not compete in the index.
type turns struct {
	mu sync.Mutex
	of map[string]*turn // by user and key
}

type turn struct {
	free    chan struct{}
	waiting int
}

// take waits until nobody else places the session called name. The turn must be given back.
func (t *turns) take(ctx context.Context, name string) (done func(), err error) {
	t.mu.Lock()
	one, ok := t.of[name]
	if !ok {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.of[name] = one
	}
	one.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.waiting--; one.waiting == 0 {
			delete(t.of, name)
		}
	}
	select {
	case <-one.free:
		return func() { one.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

package gpu

import (
	"context"
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// noCard stands for the library itself among calls that are out.
const noCard = -1

// absence is calls to one card that did not come back in time.
type absence struct {
	calls int
	since time.Time
}

// silence is the error of a card that keeps a call.
type silence struct{ since time.Time }

func (s *silence) Error() string {
	return fmt.Sprintf("a call to the driver has not come back since %s", s.since.UTC().Format(time.RFC3339))
}

// Ask runs calls on a card, or on a MIG device of it, by its UUID. When ctx ends before they come back, Ask gives up on them and on
// the card, which is faulty until they do: no further call is begun meanwhile. f may then still be running, so it must not write
// to what its caller reads after an error.
func (h *Host) Ask(ctx context.Context, uuid string, f func(nvml.Device) error) error {
	c, ok := h.cardOf(uuid)
	if !ok {
		return fmt.Errorf("there is no card or MIG device %q", uuid)
	}
	return h.guard(ctx, c.Index, func() error {
		d, ret := h.lib.DeviceGetHandleByUUID(uuid)
		if ret != nvml.SUCCESS {
			return fmt.Errorf("open %s: %w", uuid, ret)
		}
		return f(d)
	})
}

// cardOf is the card that a UUID names, or that the MIG device of this UUID is on.
func (h *Host) cardOf(uuid string) (Card, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.inv.Cards {
		if uuid != "" && c.UUID == uuid {
			return c, true
		}
		for _, i := range c.Instances {
			if i.UUID == uuid {
				return c, true
			}
		}
	}
	return Card{}, false
}

// guard runs calls to a card in a goroutine of their own, which Close waits for, and gives up on them when ctx ends or askPatience has
// passed, whichever bound the caller set.
func (h *Host) guard(ctx context.Context, index int, f func() error) error {
	h.mu.Lock()
	out, patience := h.out[index], h.patience
	h.mu.Unlock()
	if out != nil {
		return &silence{out.since}
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	began := h.now()
	finished, abandoned, result := make(chan struct{}), false, error(nil)
	h.calls.Go(func() {
		err := f()
		h.mu.Lock()
		result = err
		close(finished)
		back := abandoned
		if back {
			h.back(index)
		}
		h.mu.Unlock()
		if back {
			h.lookSoon()
		}
	})
	select {
	case <-finished:
		return result
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-finished: // just now
		return result
	default:
	}
	abandoned = true
	if h.out[index] == nil {
		h.out[index] = &absence{since: began}
	}
	h.out[index].calls++
	return &silence{began}
}

// back takes account of a call that came back after all. The caller holds the mutex.
func (h *Host) back(index int) {
	a := h.out[index]
	if a.calls--; a.calls == 0 {
		delete(h.out, index)
	}
}

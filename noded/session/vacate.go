package session

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"easel/noded/gpu"
)

// Holding is a slice that a session holds.
type Holding struct {
	Slice         gpu.Slice
	Session, User string // no user: a warm session
}

// Holdings is who holds what, sessions that have ended and are not released included.
func (m *Manager) Holdings() ([]Holding, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, fmt.Errorf("list who holds GPU slices: %w", err)
	}
	var held []Holding
	for _, r := range all {
		if r.holds() && r.GPU.ID != "" {
			held = append(held, Holding{Slice: r.GPU, Session: r.ID, User: r.User})
		}
	}
	return held, nil
}

// vacancies are the slices that are to be taken from their sessions: the order that counts for each.
type vacancies struct {
	mu      sync.Mutex
	bySlice map[string]Order
}

// of is the order that counts for a session: the node's, or an earlier one for its slice.
func (v *vacancies) of(r Record, node Order) Order {
	v.mu.Lock()
	defer v.mu.Unlock()
	o, is := v.bySlice[r.GPU.ID]
	if !is || r.GPU.ID == "" || node.Duty == Draining && node.Deadline.Before(o.Deadline) {
		return node
	}
	return o
}

// Vacate takes slices from the sessions that hold them: their artists are told why, and the sessions end at the deadline. It returns when
// none of the slices is held; until then nobody may be given one, which is the caller's care. When ctx ends before, the sessions that are
// left stay, and their artists are told so.
func (m *Manager) Vacate(ctx context.Context, ids []string, deadline time.Time, reason string) error {
	m.vacancies.mu.Lock()
	if m.vacancies.bySlice == nil {
		m.vacancies.bySlice = map[string]Order{}
	}
	for _, id := range ids {
		m.vacancies.bySlice[id] = Order{Duty: Draining, Deadline: deadline, Reason: reason, slice: true}
	}
	m.vacancies.mu.Unlock()
	m.bell.ring()
	defer func() {
		m.vacancies.mu.Lock()
		for _, id := range ids {
			delete(m.vacancies.bySlice, id)
		}
		m.vacancies.mu.Unlock()
		m.bell.ring()
	}()
	for {
		heard := m.bell.heard()
		held, err := m.Holdings()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(held, func(h Holding) bool { return slices.Contains(ids, h.Slice.ID) })
		if i < 0 {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("session %s still holds GPU slice %s: %w", held[i].Session, held[i].Slice.ID, context.Cause(ctx))
		}
	}
}

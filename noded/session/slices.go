package session

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"easel/noded/gpu"
	"easel/noded/gpu/allocate"
)

// GPUs is what sessions need of the host's graphics cards. Who holds which slice is in the sessions' records, and nowhere else.
type GPUs interface {
	// Slices is every slice that the cards are divided into now, those that are not handed out included. It is quick and asks no card: it
	// is called within transactions.
	Slices() []gpu.Slice
	// Inventory is the cards, as they were seen last. It is as quick.
	Inventory() gpu.Inventory
	// Prepare makes what brings a slice into the container of a session, and names its devices there.
	Prepare(ctx context.Context, s gpu.Slice, session string) (devices []string, err error)
	// Free takes away what Prepare made and returns once the session's processes hold nothing of the slice any more. When they do until ctx
	// ends, the error says who holds what.
	Free(ctx context.Context, s gpu.Slice, session string) error
	// Prepared names the sessions for which something of Prepare's is there. Free takes it away, of the zero slice too.
	Prepared() (sessions []string, err error)
	// Used is what the session takes of the slice's device, as it was seen last: bytes of memory, and a part of its time, below 0 where nobody
	// knows. It is quick.
	Used(s gpu.Slice, session string) (memory uint64, busy float64, known bool)
}

// Encoders that a session can ask for, beside "", which is EncoderAny.
const (
	EncoderHardware = "hardware" // a slice whose card encodes the picture, or none
	EncoderAny      = "any"
)

// node is what the cards have for sessions, beside those that hold something.
func (m *Manager) node(held []Record) allocate.Node {
	if m.gpus == nil {
		return allocate.Node{}
	}
	n := allocate.Node{Slices: m.gpus.Slices(), Cards: m.gpus.Inventory().Cards, Held: map[string]bool{}, Encoding: map[string]int{}}
	encoding := map[string]bool{}
	for _, r := range held {
		if r.GPU.ID == "" {
			continue
		}
		n.Held[r.GPU.ID] = true
		if r.GPU.Encoder && !encoding[r.GPU.ID] { // a slice that is being handed over has two holders
			encoding[r.GPU.ID] = true
			n.Encoding[r.GPU.Card]++
		}
	}
	return n
}

// chooseSlice is the slice that a new session gets; the zero one for a class without a card.
func (m *Manager) chooseSlice(held []Record, r Record, encoder string) (gpu.Slice, *Refusal) {
	if r.Class == gpu.None {
		return gpu.Slice{}, nil
	}
	n := m.node(held)
	if r.pooled() {
		if refusal := lastSlice(n, r.Class); refusal != nil {
			return gpu.Slice{}, refusal
		}
	}
	s, err := allocate.Choose(n, allocate.Want{Class: r.Class, Encoder: encoder == EncoderHardware || r.pooled()})
	if err != nil && r.pooled() { // who claims it may do without
		s, err = allocate.Choose(n, allocate.Want{Class: r.Class})
	}
	var lack *allocate.Lack
	if errors.As(err, &lack) {
		return gpu.Slice{}, &Refusal{lack.Reason, lack.Text}
	}
	return s, nil
}

// lastSlice refuses a warm session the last slice of its class that nobody holds: it is for who comes and fits none of the warm ones.
func lastSlice(n allocate.Node, class string) *Refusal {
	for _, room := range n.Rooms() {
		if room.Class == class && room.Total-room.Used == 1 {
			return &Refusal{allocate.LacksSlice, fmt.Sprintf("the last free slice of class %q is left to who asks for a session", class)}
		}
	}
	return nil
}

// sliceOf is a slice as the cards have it now.
func (m *Manager) sliceOf(id string) (gpu.Slice, bool) {
	if m.gpus == nil {
		return gpu.Slice{}, false
	}
	all := m.gpus.Slices()
	i := slices.IndexFunc(all, func(s gpu.Slice) bool { return s.ID == id })
	if i < 0 {
		return gpu.Slice{}, false
	}
	return all[i], true
}

// sliceTroubles says what is wrong with the slice that a session holds, in words.
func (m *Manager) sliceTroubles(r Record) (troubles []string) {
	if r.GPU.ID == "" || !r.holds() {
		return nil
	}
	if m.settings().admission.Pin && r.GPU.CPUs == "" {
		troubles = append(troubles, "it runs on all processors: the driver does not tell which are near its card")
	}
	now, there := m.sliceOf(r.GPU.ID)
	switch {
	case !there:
		troubles = append(troubles, fmt.Sprintf("its GPU slice %s is gone from the node", r.GPU.ID))
	case now.Unfit != "":
		troubles = append(troubles, fmt.Sprintf("its GPU slice %s is not well: %s", r.GPU.ID, now.Unfit))
	case now.Encoder && !r.GPU.Encoder:
		troubles = append(troubles, "the CPU encodes its picture: when it began, every encoder of its card was taken")
	}
	if memory, _, known := m.gpus.Used(r.GPU, r.ID); known && r.GPU.Class == gpu.Shared && memory > r.GPU.Memory {
		troubles = append(troubles, fmt.Sprintf("it takes %d MiB of its card's memory, and its part is %d: those who share the card may run short", memory>>20, r.GPU.Memory>>20))
	}
	return troubles
}

// cardTroubles says what is wrong with the node's cards, in words.
func (m *Manager) cardTroubles() (troubles []string) {
	if m.gpus == nil {
		return nil
	}
	inv := m.gpus.Inventory()
	if inv.Broken {
		troubles = append(troubles, "the cards cannot be used: "+inv.Absent)
	}
	for _, c := range inv.Cards {
		if why, well := c.Well(); !well {
			troubles = append(troubles, fmt.Sprintf("card %d (%s) is faulty, nothing of it is handed out: %s", c.Index, c.Model, why))
		}
	}
	return troubles
}

// measureSlices brings the gauges of slices up to date.
func (m *Manager) measureSlices(held []Record) {
	m.metrics.slices.Reset()
	for _, r := range m.node(held).Rooms() {
		m.metrics.slices.WithLabelValues(r.Class, "total").Set(float64(r.Total))
		m.metrics.slices.WithLabelValues(r.Class, "used").Set(float64(r.Used))
		m.metrics.slices.WithLabelValues(r.Class, "held back").Set(0)
	}
	m.metrics.sliceMemory.Reset()
	m.metrics.sliceBusy.Reset()
	for _, r := range held {
		if r.GPU.ID == "" || m.gpus == nil {
			continue
		}
		if r.lingers() {
			m.metrics.slices.WithLabelValues(r.GPU.Class, "held back").Inc()
		}
		memory, busy, known := m.gpus.Used(r.GPU, r.ID)
		if !known {
			continue
		}
		m.metrics.sliceMemory.WithLabelValues(r.GPU.ID, r.GPU.Class).Set(float64(memory))
		if busy >= 0 {
			m.metrics.sliceBusy.WithLabelValues(r.GPU.ID, r.GPU.Class).Set(busy)
		}
	}
}

// awaitSlice returns once no other session holds the slice: a warm one that gave way for this one may still be ending.
func (k *keeper) awaitSlice(ctx context.Context, r Record) error {
	for {
		heard := k.heard()
		all, err := k.store.List()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(o Record) bool { return o.ID != r.ID && o.holds() && o.GPU.ID == r.GPU.ID })
		if i < 0 {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return fmt.Errorf("slice %s is still held by session %s, which is %s: %w", r.GPU.ID, all[i].ID, all[i].State, context.Cause(ctx))
		}
	}
}

// prepareSlice is the step that makes a slice ready for the container.
func prepareSlice(ctx context.Context, k *keeper, r Record) (func(*Record), error) {
	if k.gpus == nil {
		return nil, errors.New("this noded knows of no GPU")
	}
	if err := k.awaitSlice(ctx, r); err != nil {
		return nil, err
	}
	devices, err := k.gpus.Prepare(ctx, r.GPU, r.ID)
	if err != nil {
		return nil, err
	}
	return func(r *Record) { r.Devices = devices }, nil
}

// freeSlice is its undoing. While the slice's memory is not seen to be free the session keeps it, and nothing else.
func freeSlice(ctx context.Context, k *keeper, r Record) error {
	if k.gpus == nil {
		return nil
	}
	if err := k.gpus.Free(ctx, r.GPU, r.ID); err != nil {
		text := fmt.Sprintf("its GPU slice %s is held back: %v", r.GPU.ID, err)
		if old := k.heldBack.Swap(&text); old == nil || *old != text {
			k.changed()
		}
		return err
	}
	k.heldBack.Store(nil)
	return nil
}

// lingering says of a session that lingers why, for the node's status; "" as long as nothing is known to be wrong.
func (m *Manager) lingering(r Record) string {
	k := m.keeperOf(r.ID)
	if k == nil {
		return ""
	}
	why := k.heldBack.Load()
	if why == nil {
		return ""
	}
	return fmt.Sprintf("session %s has ended, but %s", r.ID, *why)
}

// retireUnfit ends the warm sessions whose slice is not handed out any more: nobody is to begin on a card that is not well.
func (m *Manager) retireUnfit(ctx context.Context) {
	all, err := m.store.List()
	if err != nil {
		return // what is wrong with the store shows elsewhere
	}
	for _, r := range all {
		if !r.pooled() || r.State.Ended() || r.GPU.ID == "" {
			continue
		}
		why := "it is gone from the node"
		if s, there := m.sliceOf(r.GPU.ID); there {
			why = s.Unfit
		}
		if why == "" {
			continue
		}
		if err := m.Retire(ctx, r.ID, "its GPU slice is not well: "+why); err != nil && ctx.Err() == nil {
			m.log.Warn("a warm session on a card that is not well stays for now", "session", r.ID, "error", err)
		}
	}
}

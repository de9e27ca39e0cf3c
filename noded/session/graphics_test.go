package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"easel/noded/gpu"
)

// graphics is the cards of a host in memory: one that two sessions share and that can encode for one of them, one that is whole, and one
// with two MIG devices and no encoder.
type graphics struct {
	slices   []gpu.Slice
	prepared map[string]gpu.Slice // what was made for the container of a session
	faults   []gpu.Fault          // of cardB
	broken   string               // the driver does not work, and why
	busyFor  int                  // how often memory is not seen to be free
	takes    map[string]uint64    // bytes of memory, by session
}

const (
	cardA = "GPU-aaaaaaaa-0000-4000-8000-000000000000"
	cardB = "GPU-bbbbbbbb-0000-4000-8000-000000000000"
)

func newGraphics() graphics {
	return graphics{
		prepared: map[string]gpu.Slice{}, takes: map[string]uint64{},
		slices: []gpu.Slice{
			{ID: cardA + "#0", Class: gpu.Shared, Card: cardA, Memory: 24 << 30, Encoder: true, OpenCL: true},
			{ID: cardA + "#1", Class: gpu.Shared, Card: cardA, Memory: 24 << 30, Encoder: true, OpenCL: true},
			{ID: cardB, Class: gpu.Whole, Card: cardB, Memory: 48 << 30, Encoder: true, OpenCL: true},
			{ID: "MIG-1", Class: "1g.10gb", Card: "GPU-c", Memory: 10 << 30},
			{ID: "MIG-2", Class: "1g.10gb", Card: "GPU-c", Memory: 10 << 30},
		},
	}
}

func (h *host) Slices() []gpu.Slice {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.slices)
}

func (h *host) Inventory() gpu.Inventory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return gpu.Inventory{Absent: h.broken, Broken: h.broken != "", Cards: []gpu.Card{
		{UUID: cardA, Model: "NVIDIA L40S", Engines: gpu.Engines{Encode: []string{"h264"}, Sessions: 1}},
		{UUID: cardB, Model: "NVIDIA L40S", Engines: gpu.Engines{Encode: []string{"h264"}}, Faults: slices.Clone(h.faults)},
		{UUID: "GPU-c", Model: "NVIDIA A100", MIG: gpu.MIG{Capable: true, Enabled: true}, Instances: []gpu.Instance{
			{UUID: "MIG-1", Profile: "1g.10gb", Start: 0, Size: 1}, {UUID: "MIG-2", Profile: "1g.10gb", Start: 1, Size: 1},
		}},
	}}
}

func (h *host) Prepare(_ context.Context, s gpu.Slice, session string) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.doing("gpu"); err != nil {
		return nil, err
	}
	for other, has := range h.prepared {
		if has.ID == s.ID && other != session {
			h.t.Errorf("slice %s was made ready for %s while %s had it", s.ID, session, other)
		}
	}
	h.prepared[session] = s
	return []string{"easel/gpu=" + session}, nil
}

func (h *host) Free(_ context.Context, s gpu.Slice, session string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.boxes[session] != nil {
		h.t.Errorf("slice %s was freed before the container of %s was gone", s.ID, session)
	}
	if h.busyFor > 0 {
		h.busyFor--
		return fmt.Errorf("process 4242 (gimp) holds 300 MiB of it")
	}
	if err := h.failing["free"]; err != nil {
		return err
	}
	delete(h.prepared, session)
	return nil
}

func (h *host) Prepared() ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.prepared)), nil
}

func (h *host) Used(_ gpu.Slice, session string) (memory uint64, busy float64, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	memory, known = h.takes[session]
	return memory, 0.5, known
}

// take has a session's programs take so much of its card's memory.
func (h *host) take(session string, memory uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takes[session] = memory
}

// expectDevices looks whether a container that is made gets what its session holds.
func (h *host) expectDevices(c Container) {
	s, ready := h.prepared[c.ID]
	switch {
	case ready && (len(c.Devices) != 1 || c.OpenCL != s.OpenCL):
		h.t.Errorf("container of %s: devices %v, OpenCL %v; want those of %s", c.ID, c.Devices, c.OpenCL, s.ID)
	case !ready && len(c.Devices) > 0:
		h.t.Errorf("container of %s: devices %v, and none were made", c.ID, c.Devices)
	}
}

// spoil makes a slice unfit, or fit again.
func (h *host) spoil(id, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.slices {
		if h.slices[i].ID == id {
			h.slices[i].Unfit = why
		}
	}
}

// refuseToFree has the memory of slices not come free, or come free again.
func (h *host) refuseToFree(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if delete(h.failing, "free"); is {
		h.failing["free"] = errors.New("process 4242 (gimp) holds 300 MiB of it")
	}
}

// inUse names the slices that are made ready for containers.
func (h *host) inUse() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for s := range maps.Values(h.prepared) {
		ids = append(ids, s.ID)
	}
	return slices.Sorted(slices.Values(ids))
}

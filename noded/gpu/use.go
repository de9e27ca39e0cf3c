package gpu

import (
	"context"
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Use is a process that uses a card or a MIG device.
type Use struct {
	PID    int    `json:"pid"`
	Name   string `json:"name"`
	Memory uint64 `json:"memory"` // bytes; 0 when the driver does not say
}

// Memory is that of a card or a MIG device, in bytes. What the driver keeps for itself is not in Used.
type Memory struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
}

// Load is how much a card does.
type Load struct {
	GPU         int    `json:"gpu"`         // per cent of the time; -1 when the driver does not say, as of a card in MIG mode
	Encoder     int    `json:"encoder"`     // per cent; -1 when the driver does not say
	Sessions    int    `json:"sessions"`    // streams that NVENC encodes; -1 when the driver does not say
	Memory      Memory `json:"memory"`      // of the card
	Temperature int    `json:"temperature"` // °C; -1 when the card does not say
}

// Uses lists the processes on a card or a MIG device, by its UUID.
func (h *Host) Uses(ctx context.Context, uuid string) ([]Use, error) {
	found := make(chan []Use, 1)
	err := h.Ask(ctx, uuid, func(d nvml.Device) error {
		uses, err := uses(d)
		found <- uses
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask who uses %s: %w", uuid, err)
	}
	return <-found, nil
}

// MemoryOf is how much of a card's or a MIG device's memory is taken, by its UUID.
func (h *Host) MemoryOf(ctx context.Context, uuid string) (Memory, error) {
	found := make(chan Memory, 1)
	err := h.Ask(ctx, uuid, func(d nvml.Device) error {
		m, err := memoryOf(h.lib, d)
		found <- m
		return err
	})
	if err != nil {
		return Memory{}, fmt.Errorf("ask for the memory of %s: %w", uuid, err)
	}
	return <-found, nil
}

// Loads is what the cards did when they were last looked at, by UUID.
func (h *Host) Loads() map[string]Load {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]Load{}
	for uuid, l := range h.loads {
		all[uuid] = l
	}
	return all
}

func uses(d nvml.Device) ([]Use, error) {
	var all []Use
	at := map[uint32]int{}
	for _, list := range []func() ([]nvml.ProcessInfo, nvml.Return){d.GetComputeRunningProcesses, d.GetGraphicsRunningProcesses} {
		processes, ret := list()
		if ret == nvml.ERROR_NOT_SUPPORTED {
			continue
		}
		if ret != nvml.SUCCESS {
			return nil, fmt.Errorf("list processes: %w", ret)
		}
		for _, p := range processes {
			memory := p.UsedGpuMemory
			if memory == ^uint64(0) { // NVML_VALUE_NOT_AVAILABLE
				memory = 0
			}
			if i, ok := at[p.Pid]; ok { // one that computes and draws is in both lists, with the same memory
				all[i].Memory = max(all[i].Memory, memory)
				continue
			}
			at[p.Pid] = len(all)
			all = append(all, Use{PID: int(p.Pid), Name: processName(int(p.Pid)), Memory: memory})
		}
	}
	return all, nil
}

func processName(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "" // it has ended, or is the kernel
	}
	return printable(strings.TrimSpace(string(name)))
}

// printable is a process's name made fit for logs, terminals and messages: a container's program names itself as it likes.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
}

// memoryOf prefers the newer call, which counts the driver's own part apart.
func memoryOf(lib nvml.Interface, d nvml.Device) (Memory, error) {
	if has(lib, "nvmlDeviceGetMemoryInfo_v2") {
		m, ret := d.GetMemoryInfo_v2()
		if ret == nvml.SUCCESS {
			return Memory{Total: m.Total, Used: m.Used}, nil
		}
		if ret != nvml.ERROR_NOT_SUPPORTED {
			return Memory{}, fmt.Errorf("ask for the memory: %w", ret)
		}
	}
	m, ret := d.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return Memory{}, fmt.Errorf("ask for the memory: %w", ret)
	}
	return Memory{Total: m.Total, Used: m.Used}, nil
}

func readLoad(lib nvml.Interface, d nvml.Device) Load {
	l := Load{GPU: -1, Encoder: -1, Sessions: -1, Temperature: -1}
	if u, ret := d.GetUtilizationRates(); ret == nvml.SUCCESS {
		l.GPU = int(u.Gpu)
	}
	if n, _, ret := d.GetEncoderUtilization(); ret == nvml.SUCCESS {
		l.Encoder = int(n)
	}
	if n, _, _, ret := d.GetEncoderStats(); ret == nvml.SUCCESS {
		l.Sessions = n
	}
	if m, err := memoryOf(lib, d); err == nil {
		l.Memory = m
	}
	if has(lib, "nvmlDeviceGetTemperature") { // newer headers call it deprecated
		if t, ret := d.GetTemperature(nvml.TEMPERATURE_GPU); ret == nvml.SUCCESS {
			l.Temperature = int(t)
		}
	}
	return l
}

package gpu

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Codes of faults.
const (
	faultLost    = "lost"
	faultXID     = "xid"
	faultECC     = "ecc"
	faultThermal = "thermal"
	faultAsking  = "asking"
)

// readHealth is what a card says of itself; what it does not count is no fault.
func readHealth(lib nvml.Interface, d nvml.Device) (faults []Fault, err error) {
	bad := func(code, text string) { faults = append(faults, Fault{Code: code, Text: text}) }
	n, ret := d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	switch {
	case lost(ret):
		return nil, fmt.Errorf("ask for memory errors: %w", ret)
	case ret == nvml.SUCCESS && n > 0:
		bad(faultECC, fmt.Sprintf("%d memory errors that could not be corrected since it was reset; reset it when no session uses it (nvidia-smi --gpu-reset)", n))
	}
	if has(lib, "nvmlDeviceGetRemappedRows") {
		_, _, pending, failed, ret := d.GetRemappedRows()
		switch {
		case ret != nvml.SUCCESS:
		case failed:
			bad(faultECC, "bad rows of its memory could not be replaced by spare ones; replace the card")
		case pending:
			bad(faultECC, "bad rows of its memory are replaced by spare ones at the next reset; reset it when no session uses it (nvidia-smi --gpu-reset)")
		}
	}
	if slowedByHeat(lib, d) {
		bad(faultThermal, "it is too hot and has slowed itself down; look at its cooling")
	}
	return faults, nil
}

// slowedByHeat asks by the call's newer name, or by the one that it had before driver 535.
func slowedByHeat(lib nvml.Interface, d nvml.Device) bool {
	ask := d.GetCurrentClocksThrottleReasons
	if has(lib, "nvmlDeviceGetCurrentClocksEventReasons") {
		ask = d.GetCurrentClocksEventReasons
	}
	reasons, ret := ask()
	return ret == nvml.SUCCESS && reasons&nvml.ClocksThrottleReasonHwThermalSlowdown != 0
}

// harmless are XID errors that are a program's and not the card's, or that only tell something, by NVIDIA's XID catalogue: a session is
// hostile, and must not be able to take a card out of use by what it computes.
var harmless = []uint64{
	13, 31, 32, 43, 45, 68, 69, 109, // a program's faults and its end
	63, 92, 94, // rows to be replaced (which readHealth sees), many corrected errors, an error contained to its program
}

// advice for the best-known errors of a card.
var advice = map[uint64]string{
	48: "a memory error that could not be corrected", 62: "its own controller halted", 64: "bad rows of its memory could not be recorded",
	74: "an error of NVLink", 79: "it has fallen off the bus", 95: "a memory error that spread beyond one program", 119: "its system processor does not answer", 120: "an error of its system processor",
}

func xidFault(code uint64, at time.Time) Fault {
	text := fmt.Sprintf("XID %d", code)
	if a := advice[code]; a != "" {
		text += ": " + a
	}
	return Fault{Code: faultXID, Text: text + "; see the kernel's log, and reset the card (nvidia-smi --gpu-reset), then restart noded, or reboot", At: at.UTC()}
}

const (
	eventWait  = 500 // ms; how soon listen sees that it should end
	eventPause = 2 * time.Second
	wanted     = nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError
)

// listen waits for events of all cards, anew whenever others answer than before.
func (h *Host) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if changed := h.Changed(); !h.follow(ctx) {
			select {
			case <-changed:
			case <-time.After(eventPause):
			case <-ctx.Done():
			}
		}
	}
}

// follow waits for events as long as the same cards answer. It is false when none can be waited for.
func (h *Host) follow(ctx context.Context) bool {
	cards, speaks := h.answering()
	if len(cards) == 0 {
		return false
	}
	set, devices := h.subscribe(ctx, cards)
	if set == nil {
		return false
	}
	defer set.Free()
	for ctx.Err() == nil {
		if _, now := h.answering(); now != speaks {
			return true
		}
		e, ret := set.Wait(eventWait)
		switch ret {
		case nvml.SUCCESS:
			h.event(devices[e.Device], e)
		case nvml.ERROR_TIMEOUT:
		default: // the card is lost, for instance
			h.log.Warn("a wait for events of the cards failed", "error", ret)
			h.lookSoon()
			return false
		}
	}
	return true
}

// answering are the indices of the cards that can be asked, and a number that changes with them.
func (h *Host) answering() (all []int, speaks int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.inv.Cards {
		if c.answers() {
			all = append(all, c.Index)
		}
	}
	return all, h.speaks
}

// subscribe makes an event set for these cards. A card that has no events is not in it.
func (h *Host) subscribe(ctx context.Context, cards []int) (nvml.EventSet, map[nvml.Device]string) {
	var set nvml.EventSet
	err := h.guard(ctx, noCard, func() error {
		s, ret := h.lib.EventSetCreate()
		if ret != nvml.SUCCESS {
			return fmt.Errorf("make an event set: %w", ret)
		}
		set = s
		return nil
	})
	if err != nil {
		h.log.Warn("events of the cards cannot be followed; they are looked at now and then", "error", err)
		return nil, nil
	}
	devices := map[nvml.Device]string{}
	for _, index := range cards {
		type known struct {
			device nvml.Device
			uuid   string
		}
		found := make(chan known, 1)
		err := h.guard(ctx, index, func() error {
			d, uuid, err := register(h.lib, set, index)
			if err == nil {
				found <- known{d, uuid}
			}
			return err
		})
		if err != nil {
			h.log.Warn("events of a card cannot be followed; it is looked at now and then", "index", index, "error", err)
			continue
		}
		k := <-found
		devices[k.device] = k.uuid
	}
	if len(devices) == 0 {
		set.Free()
		return nil, nil
	}
	return set, devices
}

func register(lib nvml.Interface, set nvml.EventSet, index int) (nvml.Device, string, error) {
	d, ret := lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		return nil, "", fmt.Errorf("open card %d: %w", index, ret)
	}
	uuid, ret := d.GetUUID()
	if ret != nvml.SUCCESS {
		return nil, "", fmt.Errorf("ask for the UUID: %w", ret)
	}
	supported, ret := d.GetSupportedEventTypes()
	if ret != nvml.SUCCESS {
		return nil, "", fmt.Errorf("ask for the events that it has: %w", ret)
	}
	if ret := d.RegisterEvents(supported&wanted, set); ret != nvml.SUCCESS {
		return nil, "", fmt.Errorf("register for events: %w", ret)
	}
	return d, uuid, nil
}

// event takes account of one event.
func (h *Host) event(uuid string, e nvml.EventData) {
	if e.EventType == nvml.EventTypeXidCriticalError {
		first := h.countXID(uuid, e.EventData)
		if slices.Contains(harmless, e.EventData) {
			if first { // a session can make as many as it likes
				h.log.Warn("a program on a card failed; easel_gpu_xid_total counts the next ones", "card", uuid, "xid", e.EventData)
			}
			return
		}
		f := xidFault(e.EventData, h.now())
		h.mu.Lock()
		if !slices.ContainsFunc(h.xids[uuid], func(old Fault) bool { return old.Text == f.Text }) {
			h.xids[uuid] = append(h.xids[uuid], f)
		}
		h.mu.Unlock()
	}
	h.lookSoon()
}

// xidOf is one kind of error of one card.
type xidOf struct {
	card string
	code uint64
}

// countXID counts an error, and tells whether it is the first of its kind.
func (h *Host) countXID(card string, code uint64) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := xidOf{card, min(code, 999)} // 999 is NVML's word for one that it does not know
	h.xidCount[key]++
	return h.xidCount[key] == 1
}

func (c Card) has(code string) bool {
	return slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Code == code })
}

func (c Card) answers() bool { return !c.has(faultLost) && !c.has(faultAsking) }

// Well tells whether a card can be used, and if not, why.
func (c Card) Well() (why string, ok bool) {
	var all []string
	for _, f := range c.Faults {
		all = append(all, f.Text)
	}
	return strings.Join(all, "; "), len(all) == 0
}

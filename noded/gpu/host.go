package gpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Bounds of asking cards.
const (
	openPatience = 20 * time.Second // the library wakes sleeping cards one by one
	askPatience  = 10 * time.Second // for all that is asked of a card at once
	tick         = 15 * time.Second // between two looks at all cards, when no event says otherwise
	endPatience  = 3 * time.Second  // for calls that are out when the daemon ends
)

// Library is NVIDIA's at a path, or with "" where the loader finds it.
func Library(path string) nvml.Interface {
	if path == "" {
		return nvml.New()
	}
	return nvml.New(nvml.WithLibraryPath(path))
}

// Host is the cards of this machine: it owns the library, and asks it with deadlines, because a card that fell off the bus can
// keep a call for ever.
type Host struct {
	lib nvml.Interface
	log *slog.Logger
	now func() time.Time

	reading sync.Mutex    // one look at all cards at a time
	wake    chan struct{} // something happened: look now
	calls   sync.WaitGroup

	patience time.Duration // askPatience

	mu      sync.Mutex
	opened  bool
	speaks  int // changes when other cards answer than before
	inv     Inventory
	changed chan struct{}
	out     map[int]*absence   // calls that did not come back, by card index
	xids    map[string][]Fault // what events said of a card, until it was reset
	loads   map[string]Load

	xidCount map[xidOf]float64
}

// Open begins to use the library and takes the first look. It does not fail: a library that is absent or silent is in the
// inventory, and Run tries again.
func Open(lib nvml.Interface, log *slog.Logger, now func() time.Time) *Host {
	h := &Host{
		lib: lib, log: log, now: now, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		patience: askPatience, out: map[int]*absence{}, xids: map[string][]Fault{}, loads: map[string]Load{}, xidCount: map[xidOf]float64{},
	}
	h.Refresh(context.Background())
	if inv := h.Inventory(); inv.Absent != "" {
		log.Info("this is a CPU node", "why", inv.Absent)
	} else {
		log.Info("cards found", "cards", len(inv.Cards), "driver", inv.Driver)
	}
	return h
}

// Inventory is what the last look found. The caller may change it.
func (h *Host) Inventory() Inventory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inv.clone()
}

// Changed is closed at the next change of the inventory.
func (h *Host) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// NVML is the library, for calls of one's own: make them in Ask.
func (h *Host) NVML() nvml.Interface { return h.lib }

// Run keeps the inventory true until ctx ends: by events, and by a look now and then.
func (h *Host) Run(ctx context.Context) error {
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		h.listen(ctx)
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-h.wake:
		case <-ctx.Done():
			continue
		}
		h.Refresh(ctx)
	}
	select {
	case <-listening:
	case <-time.After(endPatience):
		h.log.Warn("a wait for events of the cards does not end; it ends with the process")
	}
	return nil
}

// Close ends the use of the library. While a call is out it is left as it is: it ends with the process.
func (h *Host) Close() {
	done := make(chan struct{})
	go func() {
		h.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(endPatience):
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.opened {
		h.opened = false
		if ret := h.lib.Shutdown(); ret != nvml.SUCCESS {
			h.log.Warn("NVIDIA's library does not close", "error", ret)
		}
	}
}

// Refresh looks at all cards now: after a change of one's own, for instance.
func (h *Host) Refresh(ctx context.Context) {
	h.reading.Lock()
	defer h.reading.Unlock()
	absent, broken := h.open(ctx)
	inv, loads := Inventory{Absent: absent, Broken: broken}, map[string]Load{}
	if absent == "" {
		inv, loads = h.look(ctx)
	}
	if ctx.Err() == nil { // what was cut short says nothing of the cards
		h.keep(inv, loads)
	}
}

// open begins to use the library, or says why that cannot be.
func (h *Host) open(ctx context.Context) (absent string, broken bool) {
	h.mu.Lock()
	opened := h.opened
	h.mu.Unlock()
	if opened {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	err := h.guard(ctx, noCard, func() error {
		ret := h.lib.Init()
		if ret != nvml.SUCCESS {
			return ret
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.opened = true
		return nil
	})
	return whyAbsent(err), err != nil && !errors.Is(err, nvml.ERROR_LIBRARY_NOT_FOUND)
}

// lookSoon has Run look at the cards soon.
func (h *Host) lookSoon() {
	select {
	case h.wake <- struct{}{}:
	default: // it will
	}
}

func whyAbsent(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, nvml.ERROR_LIBRARY_NOT_FOUND):
		return "NVIDIA's library (libnvidia-ml.so.1) is not on this host, or cannot be loaded"
	case errors.Is(err, nvml.ERROR_DRIVER_NOT_LOADED):
		return "NVIDIA's driver is not loaded; modprobe nvidia, and see the kernel's log"
	case errors.Is(err, nvml.ERROR_LIB_RM_VERSION_MISMATCH):
		return "NVIDIA's library and the driver that is loaded are of different versions; reboot after an upgrade"
	}
	return fmt.Sprintf("NVIDIA's library does not start: %v; see what nvidia-smi and the kernel's log say", err)
}

// look asks all cards, each on its own: one that is silent holds up none of the others for longer than its deadline.
func (h *Host) look(ctx context.Context) (Inventory, map[string]Load) {
	inv, count, err := h.lookAtDriver(ctx)
	if err != nil {
		text := fmt.Sprintf("NVIDIA's library cannot be asked: %v; see what nvidia-smi says", err)
		return Inventory{Absent: text, Broken: true, Cards: h.withLost(nil)}, nil
	}
	cards, loads := make([]Card, count), make([]Load, count)
	var wait sync.WaitGroup
	for i := range count {
		wait.Go(func() { cards[i], loads[i] = h.readCard(ctx, i) })
	}
	wait.Wait()
	inv.Cards = h.withLost(cards)
	known := map[string]Load{}
	for i, c := range cards {
		if c.UUID != "" {
			known[c.UUID] = loads[i]
		}
	}
	if len(inv.Cards) == 0 {
		inv.Absent = "NVIDIA's driver knows no card"
	}
	return inv, known
}

// lookAtDriver asks for the versions, and for the number of cards that are listed.
func (h *Host) lookAtDriver(ctx context.Context) (Inventory, int, error) {
	type answer struct {
		inv   Inventory
		count int
	}
	found := make(chan answer, 1)
	err := h.guard(ctx, noCard, func() error {
		var a answer
		a.inv.Driver, _ = h.lib.SystemGetDriverVersion() // for people only, as the next two
		a.inv.NVML, _ = h.lib.SystemGetNVMLVersion()
		if v, ret := h.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
			a.inv.CUDA = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
		}
		var ret nvml.Return
		if a.count, ret = h.lib.DeviceGetCount(); ret != nvml.SUCCESS {
			return fmt.Errorf("count the cards: %w", ret)
		}
		found <- a
		return nil
	})
	if err != nil {
		return Inventory{}, 0, err
	}
	a := <-found
	return a.inv, a.count, nil
}

// readCard asks one card. What cannot be learned now is as it was, and the card has a fault.
func (h *Host) readCard(ctx context.Context, index int) (Card, Load) {
	type answer struct {
		card Card
		load Load
	}
	found := make(chan answer, 1)
	err := h.guard(ctx, index, func() error {
		c, l, err := readCard(h.lib, index)
		found <- answer{c, l}
		return err
	})
	if err == nil {
		a := <-found
		return a.card, a.load
	}
	var silent *silence
	c := Card{Index: index}
	h.mu.Lock()
	if i := slices.IndexFunc(h.inv.Cards, func(k Card) bool { return k.Index == index }); i >= 0 {
		c = h.inv.Cards[i].clone()
	}
	h.mu.Unlock()
	code, text := faultAsking, fmt.Sprintf("it cannot be asked: %v; see what nvidia-smi says", err)
	switch {
	case errors.As(err, &silent):
		text = "it does not answer: a call to the driver does not come back; see the kernel's log, and reset the card or reboot"
	case lost(err):
		code, text = faultLost, "it has fallen off the bus or must be reset; see the kernel's log for XID errors, and reboot the host"
	}
	c.Faults = []Fault{{Code: code, Text: text}}
	return c, Load{}
}

// withLost adds the cards that were there once and that the driver no longer lists.
func (h *Host) withLost(cards []Card) []Card {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, old := range h.inv.Cards {
		if old.UUID == "" || slices.ContainsFunc(cards, func(c Card) bool { return c.UUID == old.UUID }) {
			continue
		}
		gone := old.clone()
		gone.Faults = []Fault{{Code: faultLost, Text: "the driver does not list it any more; if it was taken out on purpose, restart noded"}}
		cards = append(cards, gone)
	}
	return cards
}

// keep takes over what a look found, and tells who follows when it differs.
func (h *Host) keep(inv Inventory, loads map[string]Load) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if inv.Cards == nil {
		inv.Cards = []Card{}
	}
	for i := range inv.Cards {
		c := &inv.Cards[i]
		var old Card
		if k := slices.IndexFunc(h.inv.Cards, func(k Card) bool { return k.UUID == c.UUID && k.Index == c.Index }); k >= 0 {
			old = h.inv.Cards[k]
		}
		if old.has(faultLost) && !c.has(faultLost) && !c.has(faultAsking) {
			delete(h.xids, c.UUID) // it is back, so it was reset
		}
		c.Faults = append(c.Faults, h.xids[c.UUID]...)
		for k := range c.Faults {
			c.Faults[k].At = h.since(old.Faults, c.Faults[k])
		}
		h.tell(old, *c)
	}
	h.loads = loads
	if !slices.EqualFunc(inv.Cards, h.inv.Cards, func(a, b Card) bool { return a.UUID == b.UUID && a.answers() == b.answers() }) {
		h.speaks++
	}
	if reflect.DeepEqual(inv, h.inv) {
		return
	}
	h.inv = inv
	close(h.changed)
	h.changed = make(chan struct{})
}

// since is when a fault began.
func (h *Host) since(before []Fault, f Fault) time.Time {
	for _, old := range before {
		if old.Code == f.Code && old.Text == f.Text {
			return old.At
		}
	}
	if !f.At.IsZero() {
		return f.At
	}
	return h.now().UTC()
}

// tell logs what is new of a card's health.
func (h *Host) tell(old, c Card) {
	for _, f := range c.Faults {
		if !slices.Contains(old.Faults, f) {
			h.log.Error("a card is faulty", "card", c.UUID, "index", c.Index, "pci", c.PCI, "fault", f.Code, "text", f.Text)
		}
	}
	if len(old.Faults) > 0 && len(c.Faults) == 0 {
		h.log.Info("a card is well again", "card", c.UUID, "index", c.Index, "pci", c.PCI)
	}
}

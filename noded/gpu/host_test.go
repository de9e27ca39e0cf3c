package gpu_test

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// patience is for what comes at once on a machine that is not busy.
const patience = 60 * time.Second

// onDouble opens the real cgo path on a machine of the C double.
func onDouble(t *testing.T, models ...nvmltest.Model) (*gpu.Host, *nvmltest.Machine) {
	t.Helper()
	machine := nvmltest.NewMachine(t, models...)
	t.Setenv(machine.Variable())
	host := gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), slog.New(slog.DiscardHandler), time.Now)
	t.Cleanup(host.Close)
	return host, machine
}

// running has the host's Run going until the test ends.
func running(t *testing.T, host *gpu.Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// until waits for an inventory that is as wanted.
func until(t *testing.T, host *gpu.Host, what string, ok func(gpu.Inventory) bool) gpu.Inventory {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := host.Changed()
		inv := host.Inventory()
		if ok(inv) {
			return inv
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: not within %s; the inventory is %+v", what, patience, inv)
		}
	}
}

func faulty(card int, code string) func(gpu.Inventory) bool {
	return func(inv gpu.Inventory) bool {
		return slices.ContainsFunc(inv.Cards[card].Faults, func(f gpu.Fault) bool { return f.Code == code })
	}
}

func TestInventory(t *testing.T) {
	models := []nvmltest.Model{nvmltest.A100(), nvmltest.H100(), nvmltest.H200(), nvmltest.B200(), nvmltest.L40S(), nvmltest.RTXPro6000()}
	host, machine := onDouble(t, models...)
	machine.Card(1).Place(1, "2-5,70,72-73")
	host.Refresh(t.Context())
	inv := host.Inventory()
	if inv.Absent != "" || inv.Driver != nvmltest.Driver || inv.CUDA != "12.8" || len(inv.Cards) != len(models) {
		t.Fatalf("inventory: %+v", inv)
	}
	for i, c := range inv.Cards {
		m := models[i]
		if c.Model != m.Name || c.Memory != m.MemoryMB<<20 || c.UUID != machine.Card(i).UUID() || c.Index != i || c.Minor != i {
			t.Errorf("card %d: %+v", i, c)
		}
		if c.MIG.Capable != (m.Slices > 0) || c.MIG.Enabled {
			t.Errorf("MIG of %s: %+v", c.Model, c.MIG)
		}
		if !slices.Equal(c.Engines.Encode, append([]string{}, m.Encode...)) {
			t.Errorf("%s encodes %q, want %q", c.Model, c.Engines.Encode, m.Encode)
		}
		if why, ok := c.Well(); !ok {
			t.Errorf("%s is faulty: %s", c.Model, why)
		}
	}
	if c := inv.Cards[1]; c.PCI != "00000000:11:00.0" || c.NUMA != 1 || c.CPUs != "2-5,70,72-73" {
		t.Errorf("place of card 1: %s, node %d, CPUs %s", c.PCI, c.NUMA, c.CPUs)
	}
	if d := inv.Cards[0].Engines.Decode; !slices.Equal(d, []string{"h264", "hevc"}) {
		t.Errorf("an A100 decodes %q", d)
	}
	if d := inv.Cards[4].Engines.Decode; !slices.Equal(d, []string{"h264", "hevc", "av1"}) {
		t.Errorf("an L40S decodes %q", d)
	}
	inv.Cards[0].Engines.Decode[0] = "spoilt"
	if host.Inventory().Cards[0].Engines.Decode[0] != "h264" {
		t.Error("an inventory that was given out is the host's own")
	}
}

// What the driver says of an encoder does not make one on a card that has none.
func TestNoEncoderIsPromisedWhereNoneIs(t *testing.T) {
	host, machine := onDouble(t, nvmltest.H100(), nvmltest.L40S())
	machine.Card(0).Set("encode", "h264 hevc")
	machine.Card(1).Set("encode", "") // one that is broken, or switched off
	host.Refresh(t.Context())
	for _, c := range host.Inventory().Cards {
		if len(c.Engines.Encode) != 0 {
			t.Errorf("%s encodes %q", c.Model, c.Engines.Encode)
		}
	}
}

func TestInventoryShowsInstances(t *testing.T) {
	host, machine := onDouble(t, nvmltest.A100())
	running(t, host)
	lib := host.NVML()
	err := host.Ask(t.Context(), machine.Card(0).UUID(), func(d nvml.Device) error {
		if _, ret := d.SetMigMode(nvml.DEVICE_MIG_ENABLE); ret != nvml.SUCCESS {
			return ret
		}
		for _, want := range []struct{ profile, compute int }{{nvml.GPU_INSTANCE_PROFILE_3_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE}, {nvml.GPU_INSTANCE_PROFILE_1_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE}} {
			p, ret := d.GetGpuInstanceProfileInfo(want.profile)
			if ret != nvml.SUCCESS {
				return ret
			}
			gi, ret := d.CreateGpuInstance(&p)
			if ret != nvml.SUCCESS {
				return ret
			}
			q, ret := gi.GetComputeInstanceProfileInfo(want.compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
			if ret != nvml.SUCCESS {
				return ret
			}
			if _, ret := gi.CreateComputeInstance(&q); ret != nvml.SUCCESS {
				return ret
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	host.Refresh(t.Context())
	c := host.Inventory().Cards[0]
	if !c.MIG.Enabled || len(c.Instances) != 2 {
		t.Fatalf("card: %+v", c)
	}
	three, one := c.Instances[0], c.Instances[1]
	if three.Profile != "3g.20gb" || three.Start != 0 || three.Size != 4 || one.Profile != "1g.5gb" || one.Start != 4 || one.Size != 1 {
		t.Errorf("instances: %+v", c.Instances)
	}
	if !strings.HasPrefix(one.UUID, "MIG-") || one.Memory == 0 || one.Encoders != 0 {
		t.Errorf("instance: %+v", one)
	}
	machine.Card(0).Processes(nvmltest.Process{PID: os.Getpid(), Memory: 1 << 30, GI: one.GI, CI: one.CI})
	uses, err := host.Uses(t.Context(), one.UUID)
	if err != nil || len(uses) != 1 || uses[0].PID != os.Getpid() || uses[0].Memory != 1<<30 || uses[0].Name == "" {
		t.Errorf("uses of the instance: %+v, %v", uses, err)
	}
	if m, err := host.MemoryOf(t.Context(), one.UUID); err != nil || m.Used != 1<<30 {
		t.Errorf("memory of the instance: %+v, %v", m, err)
	}
	if uses, err := host.Uses(t.Context(), three.UUID); err != nil || len(uses) != 0 {
		t.Errorf("uses of the other: %+v, %v", uses, err)
	}
	if _, err := host.Uses(t.Context(), "MIG-gone"); err == nil {
		t.Error("a device that is not there has uses")
	}
	if lib != host.NVML() {
		t.Error("the library changes")
	}
}

func TestFaultsComeAndGo(t *testing.T) {
	host, machine := onDouble(t, nvmltest.A100(), nvmltest.L40S())
	running(t, host)
	card := machine.Card(0)

	machine.AwaitCalls("RegisterEvents 1", 1) // the last of them
	card.XID(31)                              // a program's own
	machine.Card(1).XID(79)
	inv := until(t, host, "an XID error", faulty(1, "xid"))
	if len(inv.Cards[0].Faults) != 0 {
		t.Errorf("a program's error is the card's: %+v", inv.Cards[0].Faults)
	}
	if f := inv.Cards[1].Faults[0]; !strings.Contains(f.Text, "XID 79") || time.Since(f.At) > time.Hour {
		t.Errorf("fault: %+v", f)
	}

	card.Set("ecc-uncorrected", 2)
	card.Event(nvml.EventTypeDoubleBitEccError, 0)
	until(t, host, "a memory error", faulty(0, "ecc"))
	card.Set("ecc-uncorrected", 0)
	card.Set("clock-reasons", nvml.ClocksThrottleReasonHwThermalSlowdown)
	host.Refresh(t.Context())
	if c := host.Inventory().Cards[0]; !faulty(0, "thermal")(host.Inventory()) || faulty(0, "ecc")(host.Inventory()) {
		t.Errorf("faults of a hot card: %+v", c.Faults)
	}
	card.Set("clock-reasons", 0)
	card.Set("rows-pending", 1)
	host.Refresh(t.Context())
	if !faulty(0, "ecc")(host.Inventory()) {
		t.Error("rows that wait for a reset are no fault")
	}
	card.Set("rows-pending", 0)

	card.Lose()
	host.Refresh(t.Context())
	lost := host.Inventory().Cards[0]
	if !faulty(0, "lost")(host.Inventory()) || lost.UUID != card.UUID() || lost.Model != nvmltest.A100().Name {
		t.Errorf("a lost card: %+v", lost)
	}
	if _, err := host.Uses(t.Context(), card.UUID()); err == nil {
		t.Error("a lost card says who uses it")
	}
	machine.Card(1).Lose()
	host.Refresh(t.Context())
	card.Return()
	machine.Card(1).Return()
	host.Refresh(t.Context())
	for _, c := range host.Inventory().Cards {
		if why, ok := c.Well(); !ok {
			t.Errorf("%s, back from a reset: %s", c.Model, why)
		}
	}
	machine.AwaitCalls("RegisterEvents 1", 2)
	machine.Card(1).XID(48) // events are followed again
	until(t, host, "an XID error after the reset", faulty(1, "xid"))
}

// A call that the driver keeps makes its card faulty, and nothing else waits for it.
func TestSilentCard(t *testing.T) {
	host, machine := onDouble(t, nvmltest.A100(), nvmltest.L40S())
	t.Cleanup(machine.Card(0).Return) // or the call is out when the library closes
	running(t, host)
	host.SetPatience(2 * time.Second)
	machine.Card(0).Hang("*")
	host.Refresh(t.Context())
	inv := host.Inventory()
	if !faulty(0, "asking")(inv) || inv.Cards[0].UUID != machine.Card(0).UUID() {
		t.Errorf("the card that is silent: %+v", inv.Cards[0])
	}
	if err := host.Ask(t.Context(), machine.Card(0).UUID(), func(nvml.Device) error { t.Error("a further call is made"); return nil }); err == nil {
		t.Error("a silent card was asked")
	}
	host.SetPatience(patience)
	if err := host.Ask(t.Context(), machine.Card(1).UUID(), func(d nvml.Device) error {
		if _, ret := d.GetName(); ret != nvml.SUCCESS {
			return ret
		}
		return nil
	}); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	machine.Card(0).Return()
	until(t, host, "the card speaks again", func(inv gpu.Inventory) bool { _, ok := inv.Cards[0].Well(); return ok })
}

func TestCPUNode(t *testing.T) {
	host := gpu.Open(gpu.Library("/nonexistent/libnvidia-ml.so.1"), slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	inv := host.Inventory()
	if inv.Absent == "" || inv.Broken || inv.Cards == nil || len(inv.Cards) != 0 {
		t.Errorf("without the library: %+v", inv)
	}
	if _, err := host.Uses(t.Context(), "GPU-none"); err == nil {
		t.Error("a card that is not there has uses")
	}
}

// The driver may be loaded after noded started.
func TestDriverComesLater(t *testing.T) {
	machine := nvmltest.NewMachine(t, nvmltest.L40S())
	machine.NoDriver(true)
	t.Setenv(machine.Variable())
	host := gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	if inv := host.Inventory(); !inv.Broken || !strings.Contains(inv.Absent, "not loaded") {
		t.Fatalf("without the driver: %+v", inv)
	}
	machine.NoDriver(false)
	host.Refresh(t.Context())
	if inv := host.Inventory(); inv.Absent != "" || len(inv.Cards) != 1 {
		t.Errorf("with it: %+v", inv)
	}
}

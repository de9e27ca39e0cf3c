package gpu_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// cards are the models that go-nvml has mocks of.
func cards() []nvmltest.Model {
	return []nvmltest.Model{nvmltest.A100(), nvmltest.H100(), nvmltest.H200(), nvmltest.B200()}
}

func onMock(models ...nvmltest.Model) (*gpu.Host, *nvmltest.Mock) {
	mock := nvmltest.NewMock(models...)
	return gpu.Open(mock, slog.New(slog.DiscardHandler), time.Now), mock
}

// Every profile of every card is named as NVIDIA names it, and is in the inventory as it was made.
func TestProfilesOfMockCards(t *testing.T) {
	for _, model := range append(cards(), nvmltest.RTXPro6000()) {
		names := map[string]int{}
		for constant, info := range model.MIGProfiles.GpuInstanceProfiles {
			name, err := gpu.ProfileName(constant, info, model.MemoryMB<<20)
			if err != nil || !gpu.ValidClass(name) {
				t.Errorf("%s: profile %d is %q, %v", model.Name, constant, name, err)
				continue
			}
			if other, twice := names[name]; twice {
				t.Errorf("%s: profiles %d and %d are both %q", model.Name, constant, other, name)
			}
			names[name] = constant
			t.Run(model.Name+" "+name, func(t *testing.T) {
				host, mock := onMock(model)
				defer host.Close()
				d := mock.Cards[0]
				d.SetMigMode(nvml.DEVICE_MIG_ENABLE)
				gi, ret := d.CreateGpuInstance(&info)
				must(t, "make the GPU instance", ret)
				compute, ok := gpu.ComputeProfile(info.SliceCount)
				if !ok {
					t.Fatalf("no compute instance of %d slices", info.SliceCount)
				}
				q, ret := gi.GetComputeInstanceProfileInfo(compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
				must(t, "ask for the compute profile", ret)
				_, ret = gi.CreateComputeInstance(&q)
				must(t, "make the compute instance", ret)
				host.Refresh(t.Context())
				c := host.Inventory().Cards[0]
				place := model.MIGProfiles.GpuInstancePlacements[constant][0]
				if len(c.Instances) != 1 || c.Instances[0].Profile != name || c.Instances[0].Size != int(place.Size) || c.Instances[0].Memory != info.MemorySizeMB<<20 {
					t.Errorf("instances: %+v, want %s of %d memory slices", c.Instances, name, place.Size)
				}
			})
		}
	}
}

func must(t *testing.T, what string, ret nvml.Return) {
	t.Helper()
	if ret != nvml.SUCCESS {
		t.Fatalf("%s: %v", what, ret)
	}
}

// Events are seen at once, what has none within a tick, and a call that is kept for ever costs its own card alone.
func TestWatchOfMockCards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, mock := onMock(cards()...)
		defer host.Close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- host.Run(ctx) }()
		defer func() { cancel(); <-done }()
		faults := func(card int) string {
			var codes []string
			for _, f := range host.Inventory().Cards[card].Faults {
				codes = append(codes, f.Code)
			}
			return strings.Join(codes, " ")
		}
		for _, step := range []struct {
			what string
			do   func()
			wait time.Duration
			want [4]string
		}{
			{"nothing", func() {}, time.Second, [4]string{}},
			{"an XID error of the card", func() { mock.Cards[1].Event(nvml.EventTypeXidCriticalError, 119) }, time.Second, [4]string{1: "xid"}},
			{"a program's XID error", func() { mock.Cards[2].Event(nvml.EventTypeXidCriticalError, 13) }, time.Second, [4]string{1: "xid"}},
			{"a card that is hot", func() { mock.Cards[3].Hot(true) }, 16 * time.Second, [4]string{1: "xid", 3: "thermal"}},
			{"memory errors", func() { mock.Cards[0].ECC(1); mock.Cards[0].Event(nvml.EventTypeDoubleBitEccError, 0) }, time.Second, [4]string{0: "ecc", 1: "xid", 3: "thermal"}},
			{"better", func() { mock.Cards[0].ECC(0); mock.Cards[3].Hot(false) }, 16 * time.Second, [4]string{1: "xid"}},
			{"a lost card", func() { mock.Cards[1].Lose() }, 16 * time.Second, [4]string{1: "lost xid"}},
			{"it is back", func() { mock.Cards[1].Return() }, 16 * time.Second, [4]string{}},
			{"its events are followed again", func() { mock.Cards[1].Event(nvml.EventTypeXidCriticalError, 48) }, time.Second, [4]string{1: "xid"}},
			{"a card that keeps calls", func() { mock.Cards[2].Hang() }, 26 * time.Second, [4]string{1: "xid", 2: "asking"}},
			{"the others are looked at meanwhile", func() { mock.Cards[0].Hot(true) }, 16 * time.Second, [4]string{0: "thermal", 1: "xid", 2: "asking"}},
			{"the calls come back", func() { mock.Cards[2].Return(); mock.Cards[0].Hot(false) }, time.Second, [4]string{1: "xid"}},
			{"a call that fails", func() { mock.Cards[0].Fail("GetName", nvml.ERROR_UNKNOWN) }, 16 * time.Second, [4]string{0: "asking", 1: "xid"}},
		} {
			step.do()
			time.Sleep(step.wait) // of the bubble
			synctest.Wait()
			for i, want := range step.want {
				if got := faults(i); got != want {
					t.Errorf("%s: card %d has faults %q, want %q", step.what, i, got, want)
				}
			}
		}
	})
}

// A driver of some years ago lacks functions, and one that is called all the same ends the process: the mock panics then.
func TestOldDriver(t *testing.T) {
	mock := nvmltest.NewMock(nvmltest.L40S())
	mock.LookupSymbolFunc = func(string) error { return errors.New("undefined symbol") }
	c := mock.Cards[0]
	c.GetMigModeFunc, c.GetMemoryAffinityFunc, c.GetArchitectureFunc, c.GetRemappedRowsFunc = nil, nil, nil, nil
	c.GetMemoryInfo_v2Func, c.GetCurrentClocksEventReasonsFunc, c.GetTemperatureFunc = nil, nil, nil
	c.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksThrottleReasonHwThermalSlowdown, nvml.SUCCESS
	}
	host := gpu.Open(mock, slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	card := host.Inventory().Cards[0]
	if card.NUMA != -1 || card.MIG.Capable || len(card.Engines.Encode) != 3 || len(card.Faults) != 1 || card.Faults[0].Code != "thermal" {
		t.Errorf("a card of an old driver: %+v", card)
	}
	if m, err := host.MemoryOf(t.Context(), card.UUID); err != nil || m.Total == 0 {
		t.Errorf("its memory: %+v, %v", m, err)
	}
}

// A card falls off the bus while it is used, and its fault keeps the time at which it began.
func TestFaultKeepsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, mock := onMock(nvmltest.H200())
		defer host.Close()
		mock.Cards[0].Lose()
		host.Refresh(t.Context())
		first := host.Inventory().Cards[0].Faults
		changed := host.Changed()
		time.Sleep(time.Hour)
		host.Refresh(t.Context())
		again := host.Inventory().Cards[0].Faults
		if len(first) != 1 || len(again) != 1 || first[0] != again[0] {
			t.Errorf("faults: %+v, later %+v", first, again)
		}
		select {
		case <-changed:
			t.Error("followers were told of a change where none was")
		default:
		}
	})
}

package nvmltest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
)

// Mock is go-nvml's server of mock cards, with what that lacks. It needs no C and no real time, so it works in testing/synctest.
type Mock struct {
	*server.Server
	Cards []*MockCard
}

// MockCard is a card of a Mock. Its methods break it and mend it.
type MockCard struct {
	*server.Device
	model Model
	place string

	mu        sync.Mutex
	lost      bool
	hang      chan struct{} // closed when it speaks again; nil when it does
	fails     map[string]nvml.Return
	processes []Process
	ecc       uint64
	hot       bool
	sets      []*mockEvents
	listened  chan struct{} // closed at the first of them
	devices   map[[2]int]*mock.Device
}

// mockEvents is an event set.
type mockEvents struct {
	mock.EventSet
	pending chan nvml.EventData
}

// NewMock makes a server with these cards.
func NewMock(models ...Model) *Mock {
	configs := make([]gpus.Config, len(models))
	for i, m := range models {
		configs[i] = m.Config
	}
	m := &Mock{Server: server.NewServerWithGPUs(Driver, "12."+Driver, 12080, configs...)}
	for i, model := range models {
		d := m.Devices[i].(*server.Device)
		c := &MockCard{Device: d, model: model, place: fmt.Sprintf("%08X:%02X:00.0", 0, 0x10+i), fails: map[string]nvml.Return{}, devices: map[[2]int]*mock.Device{}, listened: make(chan struct{})}
		c.complete()
		c.completeMIG()
		breakable(&d.Device, c.enter)
		m.Cards = append(m.Cards, c)
	}
	m.DeviceGetHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i < 0 || i >= len(m.Cards) {
			return nil, nvml.ERROR_INVALID_ARGUMENT
		}
		return m.Devices[i], m.Cards[i].enter("DeviceGetHandleByIndex")
	}
	m.DeviceGetHandleByUUIDFunc = m.byUUID
	m.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return newMockEvents(), nvml.SUCCESS }
	return m
}

func (m *Mock) byUUID(uuid string) (nvml.Device, nvml.Return) {
	for i, c := range m.Cards {
		if c.UUID == uuid {
			return m.Devices[i], c.enter("DeviceGetHandleByUUID")
		}
		for _, d := range c.migDevices() {
			if u, _ := d.GetUUID(); u == uuid {
				return d, c.enter("DeviceGetHandleByUUID")
			}
		}
	}
	return nil, nvml.ERROR_NOT_FOUND
}

// Lose lets the card fall off the bus, Hang lets it keep every call; Return ends both.
func (c *MockCard) Lose() { c.set(func() { c.lost = true }) }

// Hang lets the card keep every call until Return.
func (c *MockCard) Hang() { c.set(func() { c.hang = make(chan struct{}) }) }

// Return ends Lose and Hang.
func (c *MockCard) Return() {
	c.set(func() {
		c.lost = false
		if c.hang != nil {
			close(c.hang)
			c.hang = nil
		}
	})
}

// Fail makes a method fail, such as "GetName"; nvml.SUCCESS takes it back.
func (c *MockCard) Fail(method string, ret nvml.Return) { c.set(func() { c.fails[method] = ret }) }

// Processes says who uses the card.
func (c *MockCard) Processes(all ...Process) { c.set(func() { c.processes = all }) }

// ECC is the number of memory errors that were not corrected; Hot whether it has slowed itself down.
func (c *MockCard) ECC(errors uint64) { c.set(func() { c.ecc = errors }) }

// Hot tells whether the card has slowed itself down.
func (c *MockCard) Hot(is bool) { c.set(func() { c.hot = is }) }

// Event tells whoever registered for events.
func (c *MockCard) Event(kind, data int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sets {
		s.pending <- nvml.EventData{Device: c.Device, EventType: uint64(kind), EventData: uint64(data)}
	}
}

// AwaitListener waits until somebody has registered for the card's events.
func (c *MockCard) AwaitListener() { <-c.listened }

func (c *MockCard) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// enter begins a call: it waits where the card hangs, and fails where it is lost or told to.
func (c *MockCard) enter(method string) nvml.Return {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	if hang != nil {
		<-hang
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost {
		return nvml.ERROR_GPU_IS_LOST
	}
	return c.fails[method]
}

// breakable lets each method of a mock device begin with enter.
func breakable(d *mock.Device, enter func(method string) nvml.Return) {
	v := reflect.ValueOf(d).Elem()
	for i := range v.NumField() {
		name, isMethod := strings.CutSuffix(v.Type().Field(i).Name, "Func")
		field := v.Field(i)
		if !isMethod || field.IsNil() {
			continue
		}
		inner := reflect.ValueOf(field.Interface())
		field.Set(reflect.MakeFunc(field.Type(), func(args []reflect.Value) []reflect.Value {
			ret := enter(name)
			if ret == nvml.SUCCESS {
				return inner.Call(args)
			}
			out := make([]reflect.Value, field.Type().NumOut())
			for k := range out {
				out[k] = reflect.Zero(field.Type().Out(k))
			}
			out[len(out)-1] = reflect.ValueOf(ret) // all end with it
			return out
		}))
	}
}

func newMockEvents() *mockEvents {
	s := &mockEvents{pending: make(chan nvml.EventData, 64)}
	s.FreeFunc = func() nvml.Return { return nvml.SUCCESS }
	s.WaitFunc = func(ms uint32) (nvml.EventData, nvml.Return) {
		select {
		case e := <-s.pending:
			return e, nvml.SUCCESS
		case <-time.After(time.Duration(ms) * time.Millisecond):
			return nvml.EventData{}, nvml.ERROR_TIMEOUT
		}
	}
	return s
}

// complete adds what go-nvml's mock cards do not answer, and would panic at.
func (c *MockCard) complete() {
	c.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) {
		p := nvml.PciInfo{PciDeviceId: c.Config.PciDeviceId}
		for i, b := range []byte(c.place) {
			p.BusId[i] = int8(b)
		}
		return p, nvml.SUCCESS
	}
	c.GetMemoryAffinityFunc = func(int, nvml.AffinityScope) ([]uint, nvml.Return) { return []uint{1}, nvml.SUCCESS }
	c.GetCpuAffinityFunc = func(int) ([]uint, nvml.Return) { return []uint{3}, nvml.SUCCESS }
	c.GetEncoderCapacityFunc = func(kind nvml.EncoderType) (int, nvml.Return) {
		if slices.Contains(c.model.Encode, []string{"h264", "hevc", "av1"}[kind]) {
			return 100, nvml.SUCCESS
		}
		return 0, nvml.ERROR_NOT_SUPPORTED
	}
	c.GetDecoderUtilizationFunc = func() (uint32, uint32, nvml.Return) { return 0, 0, nvml.SUCCESS }
	c.GetEncoderUtilizationFunc = func() (uint32, uint32, nvml.Return) { return 0, 0, nvml.SUCCESS }
	c.GetEncoderStatsFunc = func() (int, uint32, uint32, nvml.Return) { return 0, 0, 0, nvml.SUCCESS }
	c.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.SUCCESS }
	c.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 40, nvml.SUCCESS }
	c.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 0, false, false, nvml.SUCCESS }
	c.GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (n uint64, ret nvml.Return) {
		c.set(func() { n = c.ecc })
		return n, nvml.SUCCESS
	}
	c.GetCurrentClocksEventReasonsFunc = func() (n uint64, ret nvml.Return) {
		c.set(func() {
			if c.hot {
				n = nvml.ClocksThrottleReasonHwThermalSlowdown
			}
		})
		return n, nvml.SUCCESS
	}
	c.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) {
		return nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError, nvml.SUCCESS
	}
	c.RegisterEventsFunc = func(_ uint64, set nvml.EventSet) nvml.Return {
		c.set(func() {
			if len(c.sets) == 0 {
				close(c.listened)
			}
			c.sets = append(c.sets, set.(*mockEvents))
		})
		return nvml.SUCCESS
	}
	c.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return false, nvml.SUCCESS }
	c.use(&c.Device.Device, -1, -1, c.MemoryInfo.Total)
}

// use answers who uses a card, or an instance of it.
func (c *MockCard) use(d *mock.Device, gi, ci int, total uint64) {
	on := func(graphics bool) (all []nvml.ProcessInfo, ret nvml.Return) {
		c.set(func() {
			for _, p := range c.processes {
				if p.Graphics == graphics && (gi < 0 || p.GI == gi && p.CI == ci) {
					all = append(all, nvml.ProcessInfo{Pid: uint32(p.PID), UsedGpuMemory: p.Memory, GpuInstanceId: uint32(p.GI), ComputeInstanceId: uint32(p.CI)})
				}
			}
		})
		return all, nvml.SUCCESS
	}
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return on(false) }
	d.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return on(true) }
	used := func() (n uint64) {
		for _, graphics := range []bool{false, true} {
			all, _ := on(graphics)
			for _, p := range all {
				n += p.UsedGpuMemory
			}
		}
		return n
	}
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
		n := used()
		return nvml.Memory{Total: total, Used: n, Free: total - n}, nvml.SUCCESS
	}
	d.GetMemoryInfo_v2Func = func() (nvml.Memory_v2, nvml.Return) {
		n := used()
		return nvml.Memory_v2{Total: total, Used: n, Free: total - n}, nvml.SUCCESS
	}
}

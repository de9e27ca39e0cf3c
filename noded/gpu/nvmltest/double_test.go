package nvmltest_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu/nvmltest"
)

// open gives go-nvml on the double with a machine of these cards.
func open(t *testing.T, models ...nvmltest.Model) (nvml.Interface, *nvmltest.Machine) {
	t.Helper()
	machine := nvmltest.NewMachine(t, models...)
	t.Setenv(machine.Variable())
	lib := nvml.New(nvml.WithLibraryPath(nvmltest.BuildDouble(t)))
	must(t, "init", lib.Init())
	t.Cleanup(func() { must(t, "shutdown", lib.Shutdown()) })
	return lib, machine
}

func must(t *testing.T, what string, ret nvml.Return) {
	t.Helper()
	want(t, what, ret, nvml.SUCCESS)
}

func want(t *testing.T, what string, ret, wanted nvml.Return) {
	t.Helper()
	if ret != wanted {
		t.Fatalf("%s: %v, want %v", what, ret, wanted)
	}
}

func card(t *testing.T, lib nvml.Interface, i int) nvml.Device {
	t.Helper()
	d, ret := lib.DeviceGetHandleByIndex(i)
	must(t, "open the card", ret)
	return d
}

// profile is what a card says of a GPU instance profile.
func profile(t *testing.T, d nvml.Device, constant int) nvml.GpuInstanceProfileInfo {
	t.Helper()
	p, ret := d.GetGpuInstanceProfileInfo(constant)
	must(t, "ask for the profile", ret)
	return p
}

// divide makes a GPU instance and the compute instance that fills it.
func divide(t *testing.T, d nvml.Device, constant, compute int, start, size uint32) nvml.GpuInstance {
	t.Helper()
	p := profile(t, d, constant)
	gi, ret := d.CreateGpuInstanceWithPlacement(&p, &nvml.GpuInstancePlacement{Start: start, Size: size})
	must(t, "make the GPU instance", ret)
	q, ret := gi.GetComputeInstanceProfileInfo(compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
	must(t, "ask for the compute profile", ret)
	_, ret = gi.CreateComputeInstance(&q)
	must(t, "make the compute instance", ret)
	return gi
}

func enable(t *testing.T, d nvml.Device) {
	t.Helper()
	status, ret := d.SetMigMode(nvml.DEVICE_MIG_ENABLE)
	must(t, "set the mode", ret)
	must(t, "activate the mode", status)
}

func TestDoubleDescribesItsCards(t *testing.T) {
	models := []nvmltest.Model{nvmltest.A100(), nvmltest.H100(), nvmltest.H200(), nvmltest.B200(), nvmltest.L40S(), nvmltest.RTXPro6000()}
	lib, machine := open(t, models...)
	if n, ret := lib.DeviceGetCount(); ret != nvml.SUCCESS || n != len(models) {
		t.Fatalf("count: %d, %v", n, ret)
	}
	if v, ret := lib.SystemGetDriverVersion(); ret != nvml.SUCCESS || v != nvmltest.Driver {
		t.Errorf("driver: %q, %v", v, ret)
	}
	machine.Card(1).Place(1, "0-3,66")
	for i, m := range models {
		d := card(t, lib, i)
		if name, ret := d.GetName(); ret != nvml.SUCCESS || name != m.Name {
			t.Errorf("name of card %d: %q, %v", i, name, ret)
		}
		if memory, ret := d.GetMemoryInfo(); ret != nvml.SUCCESS || memory.Total != m.MemoryMB<<20 {
			t.Errorf("memory of card %d: %+v, %v", i, memory, ret)
		}
		again, ret := lib.DeviceGetHandleByUUID(machine.Card(i).UUID())
		must(t, "open by UUID", ret)
		if n, ret := again.GetIndex(); ret != nvml.SUCCESS || n != i {
			t.Errorf("index of card %d: %d, %v", i, n, ret)
		}
		_, ret = d.GetEncoderCapacity(nvml.ENCODER_QUERY_H264)
		if (ret == nvml.SUCCESS) != slices.Contains(m.Encode, "h264") {
			t.Errorf("encoder of %s: %v", m.Name, ret)
		}
		if _, _, ret := d.GetMigMode(); (ret == nvml.SUCCESS) != (m.Slices > 0) {
			t.Errorf("MIG of %s: %v", m.Name, ret)
		}
	}
	if cpus, ret := card(t, lib, 1).GetCpuAffinity(128); ret != nvml.SUCCESS || len(cpus) < 2 || cpus[0] != 0xf || cpus[1] != 4 {
		t.Errorf("CPUs: %x, %v", cpus, ret)
	}
}

func TestDoubleMakesInstances(t *testing.T) {
	lib, machine := open(t, nvmltest.A100())
	d := card(t, lib, 0)
	p := profile(t, d, nvml.GPU_INSTANCE_PROFILE_3_SLICE)
	if p.Id != 9 {
		t.Errorf("the profile's ID is %d: a card's own numbers are not NVML's constants", p.Id)
	}
	_, ret := d.CreateGpuInstance(&p)
	want(t, "an instance without the mode", ret, nvml.ERROR_NOT_SUPPORTED)
	enable(t, d)
	gi := divide(t, d, nvml.GPU_INSTANCE_PROFILE_3_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE, 4, 4)
	if n, ret := d.GetGpuInstanceRemainingCapacity(&p); ret != nvml.SUCCESS || n != 1 {
		t.Errorf("room for another: %d, %v", n, ret)
	}
	_, ret = d.CreateGpuInstanceWithPlacement(&p, &nvml.GpuInstancePlacement{Start: 4, Size: 4})
	want(t, "an instance where one is", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
	_, ret = d.CreateGpuInstanceWithPlacement(&p, &nvml.GpuInstancePlacement{Start: 2, Size: 4})
	want(t, "an instance where none can be", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)
	divide(t, d, nvml.GPU_INSTANCE_PROFILE_4_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 0, 4)
	one := profile(t, d, nvml.GPU_INSTANCE_PROFILE_1_SLICE)
	_, ret = d.CreateGpuInstance(&one)
	want(t, "an instance on a full card", ret, nvml.ERROR_INSUFFICIENT_RESOURCES)

	dev := device.New(lib)
	devices, err := dev.GetMigDevices()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range devices {
		p, err := m.GetProfile()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, p.String())
	}
	if !slices.Equal(names, []string{"4g.20gb", "3g.20gb"}) {
		t.Errorf("devices: %q", names)
	}
	uuid, ret := devices[1].GetUUID()
	must(t, "name the device", ret)

	want(t, "destroy what has a compute instance", gi.Destroy(), nvml.ERROR_IN_USE)
	ci, ret := gi.GetComputeInstanceById(0)
	must(t, "find the compute instance", ret)
	machine.Card(0).Processes(nvmltest.Process{PID: os.Getpid(), Memory: 1 << 30, GI: 2, CI: 0})
	want(t, "destroy what is used", ci.Destroy(), nvml.ERROR_IN_USE)
	if m, ret := devices[1].GetMemoryInfo(); ret != nvml.SUCCESS || m.Used != 1<<30 || m.Total == 0 {
		t.Errorf("memory of the device: %+v, %v", m, ret)
	}
	machine.Card(0).Processes()
	must(t, "destroy the compute instance", ci.Destroy())
	must(t, "destroy the GPU instance", gi.Destroy())
	_, ret = lib.DeviceGetHandleByUUID(uuid)
	want(t, "open what is gone", ret, nvml.ERROR_NOT_FOUND)
	calls := []string{
		"SetMigMode 0 1", "CreateGpuInstance 0 2 4 4", "CreateComputeInstance 0 2 2 0 3", "CreateGpuInstance 0 3 0 4",
		"CreateComputeInstance 0 1 3 0 4", "ComputeInstanceDestroy 0 2 0", "GpuInstanceDestroy 0 2",
	}
	if got := machine.Calls(); !slices.Equal(got, calls) {
		t.Errorf("calls:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(calls, "\n"))
	}
}

// What one process makes, another finds, as a noded does that was killed and started again.
func TestDoubleOutlivesItsProcess(t *testing.T) {
	if os.Getenv("EASEL_NVML_CHILD") != "" {
		lib := nvml.New(nvml.WithLibraryPath(os.Getenv("EASEL_NVML_CHILD")))
		must(t, "init", lib.Init())
		d := card(t, lib, 0)
		enable(t, d)
		divide(t, d, nvml.GPU_INSTANCE_PROFILE_2_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 2, 2)
		os.Exit(0) // without a shutdown
	}
	lib, machine := open(t, nvmltest.H100())
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDoubleOutlivesItsProcess$")
	cmd.Env = append(os.Environ(), machine.Env(), "EASEL_NVML_CHILD="+nvmltest.BuildDouble(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m, ret := card(t, lib, 0).GetMigDeviceHandleByIndex(0)
	must(t, "open the device", ret)
	if a, ret := m.GetAttributes(); ret != nvml.SUCCESS || a.GpuInstanceSliceCount != 2 {
		t.Errorf("attributes: %+v, %v", a, ret)
	}
}

func TestDoubleBreaks(t *testing.T) {
	lib, machine := open(t, nvmltest.A100(), nvmltest.H100())
	d, other, c := card(t, lib, 0), card(t, lib, 1), machine.Card(0)

	c.Lose()
	_, ret := d.GetTemperature(nvml.TEMPERATURE_GPU)
	want(t, "ask a lost card", ret, nvml.ERROR_GPU_IS_LOST)
	_, ret = lib.DeviceGetHandleByIndex(0)
	want(t, "open a lost card", ret, nvml.ERROR_GPU_IS_LOST)
	_, ret = other.GetTemperature(nvml.TEMPERATURE_GPU)
	must(t, "ask its neighbour", ret)
	c.Return()

	c.Hang("*")
	answer := make(chan nvml.Return, 1)
	go func() {
		_, ret := d.GetName()
		answer <- ret
	}()
	select {
	case <-answer:
		t.Fatal("a card that hangs answered")
	case <-time.After(50 * time.Millisecond): // it cannot be waited for
	}
	c.Return()
	select {
	case ret := <-answer:
		must(t, "ask what came back", ret)
	case <-time.After(30 * time.Second):
		t.Fatal("the card never came back")
	}

	c.Fail("nvmlDeviceGetName", nvml.ERROR_UNKNOWN)
	_, ret = d.GetName()
	want(t, "a call that was told to fail", ret, nvml.ERROR_UNKNOWN)
	c.Fail("nvmlDeviceGetName", nvml.SUCCESS)
	_, ret = d.GetName()
	must(t, "the same afterwards", ret)

	c.Processes(nvmltest.Process{PID: os.Getpid(), Memory: 3 << 30, GI: -1, CI: -1})
	status, ret := d.SetMigMode(nvml.DEVICE_MIG_ENABLE)
	must(t, "set the mode", ret)
	want(t, "enable MIG on a card in use", status, nvml.ERROR_IN_USE)
	if current, pending, ret := d.GetMigMode(); ret != nvml.SUCCESS || current != 0 || pending != 1 {
		t.Errorf("mode: %d, pending %d, %v", current, pending, ret)
	}
	users, ret := d.GetComputeRunningProcesses()
	must(t, "ask who uses it", ret)
	if len(users) != 1 || int(users[0].Pid) != os.Getpid() || users[0].UsedGpuMemory != 3<<30 {
		t.Errorf("users: %+v", users)
	}
}

func TestDoubleTellsOfEvents(t *testing.T) {
	lib, machine := open(t, nvmltest.A100(), nvmltest.H100())
	machine.Card(1).XID(13) // before anybody listens
	set, ret := lib.EventSetCreate()
	must(t, "make an event set", ret)
	defer set.Free()
	must(t, "register", card(t, lib, 1).RegisterEvents(nvml.EventTypeXidCriticalError|nvml.EventTypeDoubleBitEccError, set))
	_, ret = set.Wait(1)
	want(t, "wait for nothing", ret, nvml.ERROR_TIMEOUT)
	machine.Card(0).XID(48)
	machine.Card(1).XID(79)
	e, ret := set.Wait(30000)
	must(t, "wait", ret)
	if uuid, _ := e.Device.GetUUID(); e.EventType != nvml.EventTypeXidCriticalError || e.EventData != 79 || uuid != machine.Card(1).UUID() {
		t.Errorf("event %+v of %s", e, uuid)
	}
	_, ret = set.Wait(1)
	want(t, "wait for another", ret, nvml.ERROR_TIMEOUT)
}

package cdi

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"golang.org/x/sys/unix"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// maker gives one on the double, with a driver's tree.
func maker(t *testing.T, models ...nvmltest.Model) (*Maker, *nvmltest.Machine, nvml.Interface) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes device nodes: run it as root (sudo make test)")
	}
	machine := nvmltest.NewMachine(t, models...)
	t.Setenv(machine.Variable())
	log := slog.New(slog.DiscardHandler)
	cards := gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), log, time.Now)
	t.Cleanup(cards.Close)
	m, err := New(filepath.Join(t.TempDir(), "cdi"), machine.DriverRoot(), cards, log)
	if err != nil {
		t.Fatal(err)
	}
	return m, machine, cards.NVML()
}

const session = "saaaaaaaaaaaaaaaa"

// made is the specification of the test's session.
func made(t *testing.T, m *Maker) specs.Spec {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Dir(), session+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func nodesOf(e specs.ContainerEdits) (nodes []string) {
	for _, d := range e.DeviceNodes {
		nodes = append(nodes, strings.TrimPrefix(d.Path, "/dev/"))
	}
	return slices.Sorted(slices.Values(nodes))
}

func TestSpecificationOfAShare(t *testing.T) {
	m, machine, _ := maker(t, nvmltest.L40S(), nvmltest.L40S())
	library := filepath.Join(machine.DriverRoot(), "usr/lib/x86_64-linux-gnu/libcuda.so."+nvmltest.Driver)
	build := exec.Command("cc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", library, "-x", "c", "-")
	build.Stdin = strings.NewReader("int cuInit(unsigned f) { return (int)f; }\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	devices, err := m.Make(t.Context(), session, gpu.Slice{ID: machine.Card(1).UUID() + "#3", Card: machine.Card(1).UUID()})
	if err != nil || !slices.Equal(devices, []string{"easel.local/gpu=" + session}) {
		t.Fatalf("%v, %v", devices, err)
	}
	spec := made(t, m)
	edits := spec.Devices[0].ContainerEdits
	if got, want := nodesOf(edits), []string{"nvidia-uvm", "nvidia-uvm-tools", "nvidia1", "nvidiactl"}; !slices.Equal(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
	if len(edits.Hooks)+len(spec.ContainerEdits.Hooks) > 0 || len(edits.Env) > 0 {
		t.Errorf("hooks %v, environment %v", edits.Hooks, edits.Env)
	}
	places := map[string]string{}
	for _, f := range edits.Mounts {
		places[f.ContainerPath] = f.HostPath
		if !slices.Contains(f.Options, "ro") || !slices.Contains(f.Options, "nosuid") || !slices.Contains(f.Options, "nodev") {
			t.Errorf("%s is mounted %v", f.ContainerPath, f.Options)
		}
	}
	for _, name := range []string{"libcuda.so.1", "libcuda.so." + nvmltest.Driver} {
		if places["/usr/lib/x86_64-linux-gnu/"+name] != library {
			t.Errorf("%s is not in the container: %v", name, places)
		}
	}
	if err := os.WriteFile(filepath.Join(m.Dir(), "sbbbbbbbbbbbbbbbb.new"), nil, 0o600); err != nil { // a noded was killed
		t.Fatal(err)
	}
	if made, err := m.Made(); err != nil || !slices.Equal(made, []string{session, "sbbbbbbbbbbbbbbbb"}) {
		t.Errorf("specifications of %v, %v", made, err)
	}
	for _, id := range []string{session, "sbbbbbbbbbbbbbbbb"} {
		if err := m.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Remove(session); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if left, _ := os.ReadDir(m.Dir()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSpecificationOfAMIGDevice runs where /proc/driver is the double's: NVIDIA's library reads there which node stands for which instance.
func TestSpecificationOfAMIGDevice(t *testing.T) {
	m, machine, lib := maker(t, nvmltest.A100())
	card, ret := lib.DeviceGetHandleByIndex(0)
	if ret != nvml.SUCCESS {
		t.Fatal(ret)
	}
	if ret, _ := card.SetMigMode(nvml.DEVICE_MIG_ENABLE); ret != nvml.SUCCESS {
		t.Fatal(ret)
	}
	uuid, access := instance(t, card)
	minors, err := os.ReadFile(filepath.Join(machine.DriverRoot(), "proc/driver/nvidia-caps/mig-minors"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"}
	for line := range strings.Lines(string(minors)) {
		if capability, minor, _ := strings.Cut(strings.TrimSpace(line), " "); slices.Contains(access, capability) {
			want = append(want, "nvidia-caps/nvidia-cap"+minor)
		}
	}
	slices.Sort(want)
	hidden := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its mount namespace
		hidden <- func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount(machine.DriverRoot()+"/proc/driver", "/proc/driver", "", unix.MS_BIND, ""); err != nil {
				return err
			}
			found, err := m.find(uuid)
			if err != nil {
				return err
			}
			edits, err := m.pick(found)
			if got := nodesOf(edits); len(want) != 6 || !slices.Equal(got, want) {
				t.Errorf("nodes %v, want %v", got, want)
			}
			return err
		}()
	}()
	if err := <-hidden; err != nil {
		t.Fatal(err)
	}
}

// instance makes a MIG device of the smallest profile, and names the capabilities that open it.
func instance(t *testing.T, card nvml.Device) (uuid string, access []string) {
	t.Helper()
	must := func(ret nvml.Return) {
		t.Helper()
		if ret != nvml.SUCCESS {
			t.Fatal(ret)
		}
	}
	profile, ret := card.GetGpuInstanceProfileInfo(nvml.GPU_INSTANCE_PROFILE_1_SLICE)
	must(ret)
	gi, ret := card.CreateGpuInstance(&profile)
	must(ret)
	compute, ret := gi.GetComputeInstanceProfileInfo(nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
	must(ret)
	_, ret = gi.CreateComputeInstance(&compute)
	must(ret)
	device, ret := card.GetMigDeviceHandleByIndex(0)
	must(ret)
	uuid, ret = device.GetUUID()
	must(ret)
	g, ret := device.GetGpuInstanceId()
	must(ret)
	c, ret := device.GetComputeInstanceId()
	must(ret)
	return uuid, []string{fmt.Sprintf("gpu0/gi%d/access", g), fmt.Sprintf("gpu0/gi%d/ci%d/access", g, c)}
}

func TestWhatCannotBeUsedIsRefused(t *testing.T) {
	m, machine, _ := maker(t, nvmltest.L40S())
	slice := gpu.Slice{ID: machine.Card(0).UUID(), Card: machine.Card(0).UUID()}
	expect := func(says string) {
		t.Helper()
		if _, err := m.Make(t.Context(), session, slice); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one that says %q", err, says)
		}
		if left, _ := os.ReadDir(m.Dir()); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	node := filepath.Join(machine.DriverRoot(), "dev/nvidia0")
	if err := os.Chmod(node, 0o660); err != nil {
		t.Fatal(err)
	}
	expect("NVreg_DeviceFileMode=0666")
	if err := os.Remove(node); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(node, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	expect("no device node")
	machine.Card(0).Lose()
	expect("GPU is lost")
	machine.Card(0).Return()
	slice.ID = "GPU-00000000-0000-0000-0000-000000000000"
	expect("ask for the devices")
}

// TestDriverThatHangsKeepsNobody: who asks is told after its patience, and can ask again once the driver has come back.
func TestDriverThatHangsKeepsNobody(t *testing.T) {
	m, machine, _ := maker(t, nvmltest.L40S())
	slice := gpu.Slice{ID: machine.Card(0).UUID(), Card: machine.Card(0).UUID()}
	machine.Card(0).Hang("*")
	m.patience = 50 * time.Millisecond
	for range 2 {
		_, err := m.Make(t.Context(), session, slice)
		if err == nil || !strings.Contains(err.Error(), "has not come back") {
			t.Errorf("error %v, want one that says that the driver does not answer", err)
		}
	}
	machine.Card(0).Return()
	m.patience = patience
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := m.Make(t.Context(), session, slice)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after it came back: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // the call that hung notices by itself
	}
}

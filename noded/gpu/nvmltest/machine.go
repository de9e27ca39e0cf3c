package nvmltest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// Variable is the environment variable that tells the double where its machine is.
const Variable = "EASEL_NVML_DOUBLE"

// Driver is the version that machines have.
const Driver = "570.124.06"

// Machine is the cards of the C double, in a directory.
type Machine struct {
	Dir   string
	t     testing.TB
	cards int
}

// NewMachine makes a machine with these cards, in a directory that goes with the test.
func NewMachine(t testing.TB, models ...Model) *Machine {
	t.Helper()
	m := &Machine{Dir: t.TempDir(), t: t, cards: len(models)}
	m.set("driver", Driver)
	m.set("nvml", "12."+Driver)
	m.set("cuda", "12080")
	for i, model := range models {
		m.Card(i).describe(model)
	}
	return m
}

// Variable is the environment's name and value for a process that loads the double.
func (m *Machine) Variable() (name, value string) { return Variable, m.Dir }

// Env is the same as one string, for exec.Cmd.
func (m *Machine) Env() string { return Variable + "=" + m.Dir }

// Card is the card with this index.
func (m *Machine) Card(i int) *Card { return &Card{m: m, i: i} }

// Calls are the changes that were asked of the library, such as "CreateGpuInstance 0 2 0 4" (card, profile's constant, start, size).
func (m *Machine) Calls() []string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// AwaitCalls waits until a call was made that many times: until events are listened for, for instance.
func (m *Machine) AwaitCalls(call string, times int) {
	m.t.Helper()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(time.Minute); ; <-ticker.C {
		n := 0
		for _, c := range m.Calls() {
			if c == call {
				n++
			}
		}
		if n >= times {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%q was called %d times within a minute, not %d", call, n, times)
		}
	}
}

// Fail makes a function that is not of a card fail; nvml.SUCCESS takes it back.
func (m *Machine) Fail(function string, ret nvml.Return) {
	m.t.Helper()
	m.fail("", function, ret)
}

// NoDriver makes nvmlInit say that the driver is not loaded, or not.
func (m *Machine) NoDriver(is bool) {
	m.t.Helper()
	m.flag("no-driver", is)
}

func (m *Machine) set(name string, values ...any) {
	m.t.Helper()
	text := strings.TrimSuffix(fmt.Sprintln(values...), "\n") + "\n"
	m.write(name, text)
}

// write replaces a file at once: another process never sees half of it.
func (m *Machine) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path+".test", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".test", path); err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) flag(name string, is bool) {
	m.t.Helper()
	if is {
		m.write(name, "1\n")
		return
	}
	if err := os.Remove(filepath.Join(m.Dir, name)); err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
}

func (m *Machine) fail(dir, function string, ret nvml.Return) {
	m.t.Helper()
	path := filepath.Join(dir, "fail")
	old, err := os.ReadFile(filepath.Join(m.Dir, path))
	if err != nil && !os.IsNotExist(err) {
		m.t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(old)) {
		if !strings.HasSuffix(line, " "+function+"\n") {
			text.WriteString(line)
		}
	}
	if ret != nvml.SUCCESS {
		fmt.Fprintf(&text, "%d %s\n", ret, function)
	}
	m.write(path, text.String())
}

// Card is one card of a Machine.
type Card struct {
	m *Machine
	i int
}

// Process is a user of a card. GI and CI are those of a MIG device; a process of a card that is whole has -1 in both.
type Process struct {
	PID      int
	Memory   uint64
	GI, CI   int
	Graphics bool
}

// UUID is what the card calls itself.
func (c *Card) UUID() string {
	return fmt.Sprintf("GPU-%08x-1111-4222-8333-%012x", 0xea5e1000+c.i, 0xea5e1+c.i)
}

// Set writes one of the card's files, Unset removes it.
func (c *Card) Set(name string, values ...any) {
	c.m.t.Helper()
	c.m.set(c.path(name), values...)
}

// Unset removes one of the card's files.
func (c *Card) Unset(name string) {
	c.m.t.Helper()
	c.m.flag(c.path(name), false)
}

// Lose lets the card fall off the bus: all calls say so. Return brings it back.
func (c *Card) Lose() { c.m.t.Helper(); c.m.flag(c.path("lost"), true) }

// Return ends Lose and Hang.
func (c *Card) Return() {
	c.m.t.Helper()
	c.m.flag(c.path("lost"), false)
	c.m.flag(c.path("hang"), false)
}

// Hang lets calls on the card never come back, until Return: one function, or all with "*".
func (c *Card) Hang(function string) { c.m.t.Helper(); c.Set("hang", function) }

// Fail makes a function fail on this card; nvml.SUCCESS takes it back.
func (c *Card) Fail(function string, ret nvml.Return) {
	c.m.t.Helper()
	c.m.fail(c.path(""), function, ret)
}

// XID tells whoever waits for events of a critical error.
func (c *Card) XID(code int) { c.m.t.Helper(); c.Event(nvml.EventTypeXidCriticalError, code) }

// Event tells whoever waits for events of one.
func (c *Card) Event(kind, data int) {
	c.m.t.Helper()
	f, err := os.OpenFile(filepath.Join(c.m.Dir, c.path("events")), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.m.t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%d %d -1 -1\n", kind, data); err != nil {
		c.m.t.Fatal(err)
	}
}

// Processes says who uses the card.
func (c *Card) Processes(all ...Process) {
	c.m.t.Helper()
	var text strings.Builder
	for _, p := range all {
		kind := "C"
		if p.Graphics {
			kind = "G"
		}
		fmt.Fprintf(&text, "%d %d %d %d %s\n", p.PID, p.Memory, p.GI, p.CI, kind)
	}
	c.m.write(c.path("processes"), text.String())
}

// Place says which NUMA node and CPUs are near the card.
func (c *Card) Place(numa int, cpus string) {
	c.m.t.Helper()
	c.Set("numa", numa)
	c.Set("cpus", cpus)
}

func (c *Card) path(name string) string { return filepath.Join(fmt.Sprintf("card%d", c.i), name) }

func (c *Card) describe(m Model) {
	c.m.t.Helper()
	for name, value := range map[string]any{
		"uuid": c.UUID(), "model": m.Name, "memory": m.MemoryMB << 20, "reserved": 512 << 20, "minor": c.i,
		"pci": fmt.Sprintf("%08X:%02X:00.0", 0, 0x10+c.i), "pci-device": m.PciDeviceId,
		"brand": int(m.Brand), "architecture": int(m.Architecture), "compute": m.CudaMajor*10 + m.CudaMinor,
		"temperature": 40, "slowdown-temperature": 90, "shutdown-temperature": 95,
		"numa": 0, "cpus": fmt.Sprintf("0-%d", runtime.NumCPU()-1),
		"encode": strings.Join(m.Encode, " "),
	} {
		c.Set(name, value)
	}
	if m.Slices == 0 {
		return
	}
	c.Set("mig", 0)
	c.Set("slices", m.Slices)
	var gi, giPlaces, ci, ciPlaces strings.Builder
	for _, i := range m.profiles() {
		p := m.MIGProfiles.GpuInstanceProfiles[i]
		fmt.Fprintln(&gi, i, m.IDs[i], p.SliceCount, p.InstanceCount, p.MultiprocessorCount, p.CopyEngineCount, p.DecoderCount, p.EncoderCount,
			p.JpegCount, p.OfaCount, p.MemorySizeMB, p.IsP2pSupported, "MIG "+m.ProfileName(i))
		for _, at := range m.MIGProfiles.GpuInstancePlacements[i] {
			fmt.Fprintln(&giPlaces, i, at.Start, at.Size)
		}
		compute := m.MIGProfiles.ComputeInstanceProfiles[i]
		for _, j := range slices.Sorted(maps.Keys(compute)) {
			q := compute[j]
			fmt.Fprintln(&ci, i, j, q.Id, q.SliceCount, q.InstanceCount, q.MultiprocessorCount, p.CopyEngineCount, p.DecoderCount, p.EncoderCount, p.JpegCount, p.OfaCount)
			for _, at := range m.MIGProfiles.ComputeInstancePlacements[i][j] {
				fmt.Fprintln(&ciPlaces, i, j, at.Start, at.Size)
			}
		}
	}
	for name, text := range map[string]string{
		"gi-profiles": gi.String(), "gi-placements": giPlaces.String(), "ci-profiles": ci.String(), "ci-placements": ciPlaces.String(),
	} {
		c.m.write(c.path(name), text)
	}
}

// ProfileName is the name of a GPU instance profile by NVML's constant, such as "1g.10gb".
func (m Model) ProfileName(profile int) string {
	compute := map[uint32]int{
		1: nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, 2: nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 3: nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE,
		4: nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 6: nvml.COMPUTE_INSTANCE_PROFILE_6_SLICE, 7: nvml.COMPUTE_INSTANCE_PROFILE_7_SLICE,
		8: nvml.COMPUTE_INSTANCE_PROFILE_8_SLICE,
	}
	p := m.MIGProfiles.GpuInstanceProfiles[profile]
	named, err := device.New(nvml.New()).NewMigProfile(profile, compute[p.SliceCount], nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, p.MemorySizeMB, m.MemoryMB<<20)
	if err != nil {
		return fmt.Sprintf("%dg.?gb", p.SliceCount)
	}
	return named.String()
}

package cgroup

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// plainV2 is a v2 hierarchy of ordinary files, with the interface files of cgroup-v2.rst: what is written and read is checked
// on machines whose kernel has the controllers in v1 as well.
func plainV2(t *testing.T, path string, files map[string]string) (*Tree, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Tree{v2: root}, dir
}

func TestV2LimitsAreWrittenAsTheKernelReadsThem(t *testing.T) {
	tree, dir := plainV2(t, "/easel/s1/streamer", map[string]string{"memory.max": "", "memory.swap.max": "", "cpu.max": "", "cpu.weight": "", "pids.max": "", "io.max": ""})
	if err := tree.Limit("/easel/s1/streamer", Limits{Memory: 1 << 30, CPUs: 1.5, CPUWeight: 4 * DefaultWeight, PIDs: 100, WriteBps: 5 << 20, Devices: []string{"8:0"}}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "1073741824", "memory.swap.max": "0", "cpu.max": "150000 100000", "cpu.weight": "400", "pids.max": "100", "io.max": "8:0 rbps=max wbps=5242880",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", file, got, err, want)
		}
	}
}

func TestV2WeightsKeepTheirRatiosWithinTheKernelsRange(t *testing.T) {
	tree, dir := plainV2(t, "/easel", map[string]string{"cpu.weight": ""})
	for weight, want := range map[uint64]string{1: "1", DefaultWeight: "100", 16 * DefaultWeight: "1600", 1 << 20: "10000"} {
		if err := os.Truncate(filepath.Join(dir, "cpu.weight"), 0); err != nil {
			t.Fatal(err)
		}
		if err := tree.Limit("/easel", Limits{CPUWeight: weight}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "cpu.weight")); err != nil || string(got) != want {
			t.Errorf("%d: %q, %v; want %q", weight, got, err, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "cpu.weight")); err != nil {
		t.Fatal(err)
	}
	if err := tree.Limit("/easel", Limits{CPUWeight: DefaultWeight}); err != nil {
		t.Errorf("a kernel that knows no weights: %v", err)
	}
}

func TestV2CountersAreRead(t *testing.T) {
	tree, _ := plainV2(t, "/easel/s1", map[string]string{
		"memory.current": "5000000\n", "memory.stat": "anon 1\ninactive_file 2000000\n", "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
		"memory.events": "low 0\noom 3\noom_kill 2\n", "cgroup.procs": "11\n12\n",
	})
	usage, err := tree.Usage("/easel/s1")
	if err != nil || usage.Memory != 3_000_000 || usage.CPU != 1500*time.Millisecond {
		t.Errorf("%+v, %v", usage, err)
	}
	if kills, err := tree.OOMKills("/easel/s1"); kills != 2 || err != nil {
		t.Errorf("%d, %v", kills, err)
	}
	if pids, err := tree.PIDs("/easel"); err != nil || len(pids) != 2 || pids[0] != 11 {
		t.Errorf("%v, %v", pids, err)
	}
}

func TestV2ControllersAreEnabledOnTheWay(t *testing.T) {
	tree, _ := plainV2(t, "/easel", map[string]string{"cgroup.subtree_control": ""})
	if err := os.WriteFile(filepath.Join(tree.v2, "cgroup.subtree_control"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := tree.Make("/easel/s1"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", "easel"} {
		if got, err := os.ReadFile(filepath.Join(tree.v2, dir, "cgroup.subtree_control")); err != nil || len(got) == 0 {
			t.Errorf("%q: %q, %v", dir, got, err)
		}
	}
	if err := tree.Make("/easel/s1"); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What keeps the picture moving on a busy host, as the kernel has it once a session runs.
func TestSessionsAndTheirStreamersComeFirst(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	_, w := worker(t, r, c, pid)
	for group, want := range map[string]int{
		r.parent:               4 * 1024,
		c.Cgroup:               1024,
		boxGroup(c.Cgroup):     1024,
		c.Cgroup + "/streamer": 4 * 1024,
	} {
		if got := weightOf(t, r, group); got != want {
			t.Errorf("%s has weight %d, want %d", group, got, want)
		}
	}
	attr, err := unix.SchedGetAttr(w.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if attr.Runtime != 0 && attr.Runtime != streamerSlice { // kernels before 6.12 have no slice to show
		t.Errorf("the streamer runs for %d ns at a time, want %d", attr.Runtime, streamerSlice)
	}
	if own, err := unix.SchedGetAttr(0, 0); err != nil || own.Runtime == streamerSlice {
		t.Errorf("our own threads run for %d ns at a time, %v", own.Runtime, err)
	}
}

// weightOf reads a group's weight in v1's unit.
func weightOf(t *testing.T, r *Runtime, group string) int {
	t.Helper()
	file := filepath.Join("/sys/fs/cgroup/cpu", group, "cpu.shares")
	if r.groups.Version() == 2 {
		file = filepath.Join("/sys/fs/cgroup", group, "cpu.weight")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	weight, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if r.groups.Version() == 2 {
		return weight * 1024 / 100
	}
	return weight
}

// A slice's weight is systemd's to set: two that write it would take turns.
func TestSystemdsSliceIsLeftAlone(t *testing.T) {
	r := dial(t)
	for parent, want := range map[string]int{shared.group + "-weight.slice": 1024, shared.group + "-weight": 4 * 1024} {
		own := &Runtime{groups: r.groups, parent: parent}
		t.Cleanup(func() {
			if err := r.groups.Remove(parent); err != nil {
				t.Error(err)
			}
		})
		for range 2 { // a daemon does so for each session
			if err := own.weighSessions(); err != nil {
				t.Fatal(err)
			}
		}
		if got := weightOf(t, r, parent); got != want {
			t.Errorf("%s has weight %d, want %d", parent, got, want)
		}
	}
}

// Container and worker of a session that is pinned have its processor and no other.
func TestSessionIsPinned(t *testing.T) {
	r := dial(t)
	own := allowed(t, os.Getpid())
	cpu := own[strings.LastIndexAny(own, ",-")+1:]
	c, pid := started(t, r, func(c *Container) { c.Limits.CPUSet = cpu + ",16000" })
	_, w := worker(t, r, c, pid)
	for name, pid := range map[string]int{"container": pid, "worker": w.PID} {
		if got := allowed(t, pid); got != cpu {
			t.Errorf("the %s may run on %s, want %s", name, got, cpu)
		}
	}
	if got := allowed(t, os.Getpid()); got != own {
		t.Errorf("we ourselves may run on %s, want %s", got, own)
	}
	far := newSession(t, r, func(c *Container) { c.Limits.CPUSet = "16000" })
	if err := r.CreateContainer(t.Context(), far); err == nil || !strings.Contains(err.Error(), "sessions.pin") {
		t.Errorf("a session on processors that are not there: %v", err)
	}
}

// allowed are the processors that a process may run on.
func allowed(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "\nCpus_allowed_list:\t")
	list, _, _ = strings.Cut(list, "\n")
	return list
}

package runtime

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"easel/noded/runtime/cgroup"
)

// CPU weights decide who waits when the CPUs are all taken, and bound nothing. The kernel splits a group's weight over the CPUs
// it runs on, and the group of all sessions is a sibling of the host's single processes: with the default, all sessions
// together would have less than any one busy process. Sessions among each other and the container ("box") keep the default.
const (
	sessionsWeight = 4 * cgroup.DefaultWeight // the group of all sessions against the rest of the host
	streamerWeight = 4 * cgroup.DefaultWeight // against the box of its session: the picture does not wait for a filter in GIMP
)

// weighSessions makes the group of all sessions and sets its weight, also if an earlier noded made it. A slice's is systemd's
// to set (CPUWeight= in easel.slice), and the root has none.
func (r *Runtime) weighSessions() error {
	if err := r.groups.Make(r.parent); err != nil {
		return err
	}
	parent := filepath.Clean(r.parent)
	if parent == "/" || strings.HasSuffix(parent, ".slice") {
		return nil
	}
	return r.groups.Limit(parent, cgroup.Limits{CPUWeight: sessionsWeight})
}

// usable is the part of the processors near a card that sessions can have. None is an error that says so: who asked for pinned sessions would
// otherwise have others without a word.
func (r *Runtime) usable(cpus string) (string, error) {
	if cpus == "" {
		return "", nil
	}
	cpus, err := r.groups.Usable(r.parent, cpus)
	if err != nil {
		return "", fmt.Errorf("pinning it to the processors near its card: %w (sessions.pin turns this off)", err)
	}
	return cpus, nil
}

// streamerSlice is what the streamer asks to run at a time, in ns. The kernel wakes first what asked for less: the streamer works
// for moments, GIMP for seconds. The kernel's own is about 3 ms.
const streamerSlice = 1_000_000

// shortenSlice asks it for the calling thread and its children. Kernels before 6.12 ignore it, and one that refuses loses nothing
// but promptness.
func shortenSlice() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = streamerSlice
	_ = unix.SchedSetAttr(0, attr, 0)
}

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Placement is how a process is born into a group: nothing of it ever runs outside.
type Placement struct {
	// FD is the open directory for clone3's CLONE_INTO_CGROUP on cgroup v2; nil on v1, where the calling thread was moved instead.
	FD *os.File
}

// Place prepares the calling thread, which must be locked to its goroutine and die with it, so that its next child
// is born in the group.
func (t *Tree) Place(path string) (Placement, error) {
	if t.v2 != "" {
		dir, err := os.Open(filepath.Join(t.v2, path))
		if err != nil {
			return Placement{}, fmt.Errorf("opening control group %s: %w", path, err)
		}
		return Placement{FD: dir}, nil
	}
	for _, controller := range slices.Concat(controllersV1, []string{"cpuset"}) {
		dir := t.v1[controller]
		if dir == "" || controller == "cpuset" && !exists(filepath.Join(dir, path), "tasks") {
			continue // not a pinned one
		}
		if err := write(filepath.Join(dir, path), "tasks", "0"); err != nil {
			return Placement{}, fmt.Errorf("entering control group %s: %w", path, err)
		}
	}
	return Placement{}, nil
}

// Close gives the directory back after the child was started.
func (p Placement) Close() {
	if p.FD != nil {
		p.FD.Close()
	}
}

// PIDs are the processes in the group and those below it, as this process's PID namespace numbers them. An absent group has none.
func (t *Tree) PIDs(path string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(filepath.Join(t.listing(), path), func(at string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		found, err := readPIDs(filepath.Join(at, "cgroup.procs"))
		pids = append(pids, found...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the processes of control group %s: %w", path, err)
	}
	return pids, nil
}

// Kill sends SIGKILL to everything in the group until nothing is left or ctx ends.
func (t *Tree) Kill(ctx context.Context, path string) error {
	wait := time.Millisecond
	for {
		pids, err := t.PIDs(path)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		t.killOnce(path, pids)
		select {
		case <-ctx.Done():
			return fmt.Errorf("killing control group %s: %d processes do not die: %w", path, len(pids), context.Cause(ctx))
		case <-time.After(wait):
		}
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// killOnce freezes a v1 group around the kill, so that one that forks faster than it is killed cannot get away. A failure
// shows as processes that stay.
func (t *Tree) killOnce(path string, pids []int) {
	if t.v2 != "" {
		if write(filepath.Join(t.v2, path), "cgroup.kill", "1") == nil {
			return
		}
	} else if freezer := filepath.Join(t.v1["freezer"], path); t.v1["freezer"] != "" && exists(freezer, "freezer.state") {
		_ = write(freezer, "freezer.state", "FROZEN")
		defer func() { _ = write(freezer, "freezer.state", "THAWED") }()
		if frozen, err := t.PIDs(path); err == nil {
			pids = frozen
		}
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// Has reports whether the process is in the group or one below it.
func (t *Tree) Has(path string, pid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false, err
	}
	return hasLine(string(text), t.Version(), path), nil
}

// hasLine looks for the group in the text of /proc/PID/cgroup (cgroups(7)): "id:controllers:path", "0::path" for v2.
func hasLine(text string, version int, path string) bool {
	path = filepath.Clean(path)
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 || (version == 2) != (fields[1] == "") {
			continue
		}
		if version == 1 && fields[1] != "pids" && !strings.Contains(","+fields[1]+",", ",pids,") {
			continue
		}
		if fields[2] == path || strings.HasPrefix(fields[2], path+"/") {
			return true
		}
	}
	return false
}

// listing is the hierarchy that the processes are read from; in v1 the pids controller, which Place and runc always enter.
func (t *Tree) listing() string {
	if t.v2 != "" {
		return t.v2
	}
	return t.v1["pids"]
}

func readPIDs(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil // the group went while it was read
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		// 0 is a process of another PID namespace. We ourselves are in a v1 group for the moment that one of our threads is (Place).
		if pid > 0 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

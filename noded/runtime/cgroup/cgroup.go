// Package cgroup makes, limits, reads and ends control groups by their path below the hierarchies' roots, because a session
// and its worker are bounded, counted and found by theirs, on hosts with cgroup v1 and hosts with v2 alike.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Limits bound what the processes of a group take together; zero leaves a thing without bound. Sizes are bytes, CPUs whole
// processors. CPUWeight is the group's part against its siblings' when they all want the CPU, DefaultWeight for an even one; zero
// leaves it. Devices are "major:minor" of whole disks.
type Limits struct {
	Memory            int64
	CPUs              float64
	CPUSet            string // the processors that they run on, "0-15,32-47"; see Usable
	CPUWeight         uint64
	PIDs              int64
	ReadBps, WriteBps uint64
	Devices           []string
}

// Tree is the host's control groups. Paths given to its methods begin with a slash and are below the root of each hierarchy.
type Tree struct {
	v1    map[string]string // controller → directory
	v2    string            // the one hierarchy's directory, "" where the controllers are v1
	extra string            // a v2 hierarchy beside the v1 controllers: runc makes groups there too, and forgets them
}

// controllersV1 are those that a worker is placed in. cpuset and devices are left out: the first is for those that are pinned alone,
// and a worker opens no device.
var controllersV1 = []string{"memory", "cpu", "cpuacct", "pids", "blkio", "freezer"}

// controllersV2 are enabled from the root down to a group; io is left out where the kernel lacks it.
var controllersV2 = []string{"memory", "cpu", "pids", "io"}

// Detect finds the host's hierarchies.
func Detect() (*Tree, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("reading the mounts to find control groups: %w", err)
	}
	return detect(mounts)
}

func detect(mounts []*mountinfo.Info) (*Tree, error) {
	t := &Tree{v1: map[string]string{}}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			t.v2 = m.Mountpoint
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if option != "rw" && option != "ro" {
				t.v1[option] = m.Mountpoint
			}
		}
	}
	if t.v1["memory"] != "" && t.v1["pids"] != "" && t.v1["cpu"] != "" {
		t.extra, t.v2 = t.v2, ""
		return t, nil
	}
	if t.v2 == "" {
		return nil, errors.New("no control groups with memory, cpu and pids are mounted: mount cgroup2 on /sys/fs/cgroup (systemd does so by itself)")
	}
	clear(t.v1)
	return t, nil
}

// Version is 1 or 2.
func (t *Tree) Version() int {
	if t.v2 != "" {
		return 2
	}
	return 1
}

// Make creates the group and its parents; one that exists is fine.
func (t *Tree) Make(path string) error {
	if t.v2 != "" {
		return t.makeV2(path)
	}
	for _, controller := range controllersV1 {
		if dir := t.v1[controller]; dir != "" {
			if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
				return fmt.Errorf("making control group %s: %w", path, err)
			}
		}
	}
	return nil
}

func (t *Tree) makeV2(path string) error {
	at := t.v2
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean(path), "/"), "/") {
		for _, controller := range controllersV2 {
			err := write(at, "cgroup.subtree_control", "+"+controller)
			if err != nil && controller != "io" {
				return fmt.Errorf("making control group %s: %w", path, err)
			}
		}
		at = filepath.Join(at, part)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making control group %s: %w", path, err)
		}
	}
	return nil
}

// Limit sets the group's bounds.
func (t *Tree) Limit(path string, l Limits) error {
	var err error
	if t.v2 != "" {
		err = t.limitV2(path, l)
	} else {
		err = t.limitV1(path, l)
	}
	if err = errors.Join(err, t.weigh(path, l.CPUWeight), t.pin(path, l.CPUSet)); err != nil {
		return fmt.Errorf("limiting control group %s: %w", path, err)
	}
	return nil
}

const cpuPeriod = 100_000 // µs

func (t *Tree) limitV1(path string, l Limits) error {
	if l.Memory > 0 {
		dir := filepath.Join(t.v1["memory"], path)
		swap := exists(dir, "memory.memsw.limit_in_bytes") // absent where the kernel does not count swap
		if swap {
			if err := write(dir, "memory.memsw.limit_in_bytes", "-1"); err != nil {
				return err
			}
		}
		if err := write(dir, "memory.limit_in_bytes", fmt.Sprint(l.Memory)); err != nil {
			return err
		}
		if swap {
			if err := write(dir, "memory.memsw.limit_in_bytes", fmt.Sprint(l.Memory)); err != nil {
				return err
			}
		}
	}
	if l.CPUs > 0 {
		if err := write(filepath.Join(t.v1["cpu"], path), "cpu.cfs_quota_us", fmt.Sprint(int64(l.CPUs*cpuPeriod))); err != nil {
			return err
		}
	}
	if l.PIDs > 0 {
		if err := write(filepath.Join(t.v1["pids"], path), "pids.max", fmt.Sprint(l.PIDs)); err != nil {
			return err
		}
	}
	return t.throttleV1(path, l)
}

func (t *Tree) throttleV1(path string, l Limits) error {
	if t.v1["blkio"] == "" {
		return nil
	}
	dir := filepath.Join(t.v1["blkio"], path)
	for _, device := range l.Devices {
		for file, bps := range map[string]uint64{"read": l.ReadBps, "write": l.WriteBps} {
			if bps == 0 {
				continue
			}
			if err := write(dir, "blkio.throttle."+file+"_bps_device", fmt.Sprintf("%s %d", device, bps)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Tree) limitV2(path string, l Limits) error {
	dir := filepath.Join(t.v2, path)
	if l.Memory > 0 {
		if err := write(dir, "memory.max", fmt.Sprint(l.Memory)); err != nil {
			return err
		}
		if exists(dir, "memory.swap.max") {
			if err := write(dir, "memory.swap.max", "0"); err != nil {
				return err
			}
		}
	}
	if l.CPUs > 0 {
		if err := write(dir, "cpu.max", fmt.Sprintf("%d %d", int64(l.CPUs*cpuPeriod), cpuPeriod)); err != nil {
			return err
		}
	}
	if l.PIDs > 0 {
		if err := write(dir, "pids.max", fmt.Sprint(l.PIDs)); err != nil {
			return err
		}
	}
	if !exists(dir, "io.max") {
		return nil
	}
	for _, device := range l.Devices {
		if err := write(dir, "io.max", fmt.Sprintf("%s rbps=%s wbps=%s", device, orMax(l.ReadBps), orMax(l.WriteBps))); err != nil {
			return err
		}
	}
	return nil
}

// Children are the names of the groups right below path.
func (t *Tree) Children(path string) ([]string, error) {
	var names []string
	for _, root := range t.roots() {
		entries, err := os.ReadDir(filepath.Join(root, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("listing control group %s: %w", path, err)
		}
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(names, e.Name()) {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Remove takes the group and those below it away, in every hierarchy. Absent is success; one that still holds a process
// is an error.
func (t *Tree) Remove(path string) error {
	if strings.Trim(filepath.Clean(path), "/.") == "" {
		return fmt.Errorf("removing control group %q: that is the root", path)
	}
	var errs []error
	for _, root := range t.roots() {
		errs = append(errs, removeAll(filepath.Join(root, path)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing control group %s: %w", path, err)
	}
	return nil
}

// RemoveIfEmpty takes the group away where neither a process nor a group is in it, and leaves it otherwise.
func (t *Tree) RemoveIfEmpty(path string) {
	for _, root := range t.roots() {
		_ = os.Remove(filepath.Join(root, path)) // rmdir: the kernel refuses one that is in use
	}
}

// removeAll removes directories only: the files of a control group cannot be unlinked and go with it.
func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// roots are the directories of every hierarchy, each once.
func (t *Tree) roots() []string {
	if t.v2 != "" {
		return []string{t.v2}
	}
	var dirs []string
	for _, dir := range t.v1 {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if t.extra != "" {
		dirs = append(dirs, t.extra)
	}
	slices.Sort(dirs)
	return dirs
}

func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func exists(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return err == nil
}

func orMax(n uint64) string {
	if n == 0 {
		return "max"
	}
	return fmt.Sprint(n)
}

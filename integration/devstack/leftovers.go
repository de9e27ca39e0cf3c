package devstack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leftovers finds and removes what a stack started outside its own processes. All of it is found in the kernel's
// own lists, not in what the daemons say about themselves.
type leftovers struct {
	rec record
	// address is containerd's socket: every shim carries it as an argument.
	address string
	// state is containerd's state directory, where shims leave the paths of their sockets.
	state string
	// cgroupRoots are the mount points of cgroup hierarchies; each v1 controller is one.
	cgroupRoots []string
}

func findLeftovers(rec record) (*leftovers, error) {
	mounts, err := mountPoints(func(fsType, _ string) bool { return fsType == "cgroup" || fsType == "cgroup2" })
	if err != nil {
		return nil, err
	}
	return &leftovers{rec: rec, address: containerdSocket(rec.RunDir), state: containerdState(rec.RunDir), cgroupRoots: mounts}, nil
}

// list names everything that is left, one sentence fragment each; daemons says whether the recorded daemons count.
func (l *leftovers) list(daemons bool) []string {
	var found []string
	for _, pid := range l.processes(daemons) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		found = append(found, fmt.Sprintf("process %d (%s)", pid, bytes.ReplaceAll(bytes.TrimRight(name, "\x00"), []byte{0}, []byte{' '})))
	}
	for _, m := range l.mounts() {
		found = append(found, "mount "+m)
	}
	for _, d := range l.loops() {
		found = append(found, "loop device "+d)
	}
	return append(found, l.sessionCgroups()...)
}

// remove removes all of it, and says what is there still when ctx ends.
func (l *leftovers) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		for _, pid := range l.processes(true) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, m := range slices.Backward(l.mounts()) {
			_ = unix.Unmount(m, unix.MNT_DETACH)
		}
		for _, d := range l.loops() {
			detachLoop(d)
		}
		for _, c := range slices.Backward(l.cgroups()) {
			_ = os.Remove(c)
		}
		left := l.list(true)
		if len(left) == 0 {
			l.removeShimSockets()
			l.removeCgroupRoots()
			return nil
		}
		// A killed process takes the kernel a moment to bury: there is no event for all of these together.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove what a killed stack left: still there: %s", strings.Join(left, "; "))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// processes are the recorded daemons, the shims of our containerd, and whatever is in a session's cgroup.
func (l *leftovers) processes(daemons bool) []int {
	pids := map[int]bool{}
	if daemons {
		for _, s := range l.rec.Processes {
			if s.alive() {
				pids[s.PID] = true
			}
		}
	}
	for _, pid := range runningPIDs() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(cmdline), "\x00")
		if at := slices.Index(args, "-address"); at >= 0 && at+1 < len(args) && args[at+1] == l.address {
			pids[pid] = true
		}
	}
	for _, dir := range l.cgroups() {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
				pids[pid] = true
			}
		}
	}
	all := make([]int, 0, len(pids))
	for pid := range pids {
		all = append(all, pid)
	}
	slices.Sort(all)
	return all
}

func runningPIDs() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// mounts are those below the stack's directories, parents first.
func (l *leftovers) mounts() []string {
	found, _ := mountPoints(func(_, at string) bool { return below(at, l.rec.Dir) || below(at, l.rec.RunDir) })
	return found
}

// mountPoints lists this process's mounts that keep admits, in the order they were made.
func mountPoints(keep func(fsType, at string) bool) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return parseMountinfo(text, keep), nil
}

// parseMountinfo reads proc_pid_mountinfo(5): field 5 is the mount point, the one after " - " the file system's type.
func parseMountinfo(text []byte, keep func(fsType, at string) bool) []string {
	var found []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields, types := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(types) < 1 {
			continue
		}
		at := mountEscapes.Replace(fields[4])
		if keep(types[0], at) {
			found = append(found, at)
		}
	}
	return found
}

// The kernel writes these four as octal in mountinfo.
var mountEscapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// loops are the loop devices whose file lies below the stack's directory, deleted files included.
func (l *leftovers) loops() []string {
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	var found []string
	for _, b := range backing {
		file, err := os.ReadFile(b)
		if err == nil && below(strings.TrimSpace(string(file)), l.rec.Dir) {
			found = append(found, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(b))))
		}
	}
	return found
}

func detachLoop(device string) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
}

// cgroups are the directories below the stack's cgroup in every hierarchy, parents first; the cgroup itself is not a leftover.
func (l *leftovers) cgroups() []string {
	if len(l.rec.Cgroup) < 2 {
		return nil
	}
	var found []string
	for _, root := range l.cgroupRoots {
		top := filepath.Join(root, l.rec.Cgroup)
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && path != top {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// sessionCgroups names each session's cgroup once, however many hierarchies and parts it has.
func (l *leftovers) sessionCgroups() []string {
	count := map[string]int{}
	for _, dir := range l.cgroups() {
		for _, root := range l.cgroupRoots {
			rest, ok := strings.CutPrefix(dir, filepath.Join(root, l.rec.Cgroup)+"/")
			if ok && !strings.Contains(rest, "/") {
				count[rest]++
			}
		}
	}
	var found []string
	for _, id := range slices.Sorted(maps.Keys(count)) {
		found = append(found, fmt.Sprintf("cgroup %s/%s in %d hierarchies", l.rec.Cgroup, id, count[id]))
	}
	return found
}

func (l *leftovers) removeCgroupRoots() {
	if len(l.rec.Cgroup) < 2 {
		return
	}
	for _, root := range l.cgroupRoots {
		_ = os.Remove(filepath.Join(root, l.rec.Cgroup))
	}
}

// removeShimSockets removes the sockets in /run/containerd/s that killed shims could not.
func (l *leftovers) removeShimSockets() {
	bundles, _ := filepath.Glob(filepath.Join(l.state, "io.containerd.runtime.v2.task", "*", "*", "bootstrap.json"))
	for _, b := range bundles {
		var boot struct {
			Address string `json:"address"`
		}
		text, err := os.ReadFile(b)
		if err != nil || json.Unmarshal(text, &boot) != nil {
			continue
		}
		if path, ok := strings.CutPrefix(boot.Address, "unix://"); ok && below(path, "/run/containerd/s") {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				continue
			}
		}
	}
}

// below says whether path lies below dir; an empty dir holds nothing.
func below(path, dir string) bool {
	return dir != "" && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

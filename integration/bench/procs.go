package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Groups are the server's processes by the role that the table names.
type Groups map[string][]int

// clockTick is the unit of /proc/PID/stat's times: USER_HZ, which is 100 on every Linux architecture Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTimes adds up user and system time of each group's processes; one that has just gone counts nothing.
func cpuTimes(g Groups) map[string]time.Duration {
	out := map[string]time.Duration{}
	for name, pids := range g {
		for _, pid := range pids {
			out[name] += cpuTime(pid)
		}
	}
	return out
}

func cpuTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStatTimes(b)
}

// parseStatTimes reads fields 14 and 15 of proc_pid_stat(5); the name in field 2 may hold spaces and brackets.
func parseStatTimes(b []byte) time.Duration {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * clockTick
}

// coresOver measures how many cores each group used while f ran. A process that f starts is counted when it belongs to
// the groups at the end.
func coresOver(groups func() (Groups, error), f func() error) (map[string]float64, error) {
	g0, err := groups()
	if err != nil {
		return nil, err
	}
	before, start := cpuTimes(g0), time.Now()
	if err := f(); err != nil {
		return nil, err
	}
	g1, err := groups()
	if err != nil {
		return nil, err
	}
	wall := time.Since(start)
	cores := map[string]float64{}
	for name, t := range cpuTimes(g1) {
		cores[name] = max(0, (t-before[name]).Seconds()/wall.Seconds())
	}
	return cores, nil
}

// memory is the proportional set size of each group in bytes (proc_pid_smaps_rollup).
func memory(g Groups) (map[string]int64, error) {
	out := map[string]int64{}
	for name, pids := range g {
		for _, pid := range pids {
			n, err := pss(pid)
			if os.IsNotExist(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("memory of process %d: %w", pid, err)
			}
			out[name] += n
		}
	}
	return out, nil
}

func pss(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if kb, ok := strings.CutPrefix(s.Text(), "Pss:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(kb, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, s.Err()
}

// cgroupPIDs lists the processes of a cgroup and all below it. path is below the cgroup root, as `noded session inspect`
// gives it; both cgroup versions are understood.
func cgroupPIDs(path string) ([]int, error) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"} {
		dir := filepath.Join(root, path)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue
		}
		var pids []int
		err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			for _, line := range strings.Fields(string(b)) {
				pid, err := strconv.Atoi(line)
				if err != nil {
					return err
				}
				pids = append(pids, pid)
			}
			return nil
		})
		return pids, err
	}
	return nil, fmt.Errorf("no cgroup %s: is the session still there?", path)
}

// command is the short name of a process.
func command(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// parent is the parent of a process, 0 when it has gone.
func parent(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// withChildren adds every descendant of the given processes.
func withChildren(roots ...int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p := parent(pid); p > 0 {
			children[p] = append(children[p], pid)
		}
	}
	out := append([]int(nil), roots...)
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out, nil
}

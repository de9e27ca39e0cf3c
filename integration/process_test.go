package integration

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// killPID kills a process that a session's inspection named, never anything else.
func killPID(pid int32) error {
	if pid < 2 {
		return fmt.Errorf("kill: process id %d is none of a session's", pid)
	}
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

func alive(pid int32) bool { return pid > 1 && syscall.Kill(int(pid), 0) == nil }

// holdings counts what a session has outside noded, by kind, from the kernel's own lists; needles are its ID and
// container ID.
func holdings(id, cgroup string) (map[string]int, error) {
	held := map[string]int{}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(mounts))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte(id)) {
			held["mount"]++
		}
	}
	for _, root := range []string{"", "/memory", "/pids", "/cpu", "/cpu,cpuacct", "/cpuacct", "/blkio", "/freezer", "/devices", "/unified"} {
		if _, err := os.Stat("/sys/fs/cgroup" + root + cgroup); err == nil {
			held["cgroup"]++
		}
	}
	return held, nil
}

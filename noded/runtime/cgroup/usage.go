package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a group and those below it hold and have spent.
type Usage struct {
	Memory uint64        // bytes, without the page cache that the kernel would give back first
	CPU    time.Duration // since the group was made
}

// Usage reads the group's counters. A missing group is fs.ErrNotExist.
func (t *Tree) Usage(path string) (Usage, error) {
	read := t.usageV1
	if t.v2 != "" {
		read = t.usageV2
	}
	usage, err := read(path)
	if err != nil {
		return Usage{}, fmt.Errorf("reading the usage of control group %s: %w", path, err)
	}
	return usage, nil
}

func (t *Tree) usageV1(path string) (Usage, error) {
	memory := filepath.Join(t.v1["memory"], path)
	used, err := readNumber(memory, "memory.usage_in_bytes")
	if err != nil {
		return Usage{}, err
	}
	cache, err := readKey(memory, "memory.stat", "total_inactive_file")
	if err != nil {
		return Usage{}, err
	}
	spent, err := readNumber(filepath.Join(t.v1["cpuacct"], path), "cpuacct.usage")
	if err != nil {
		return Usage{}, err
	}
	return Usage{Memory: used - min(used, cache), CPU: time.Duration(spent)}, nil
}

func (t *Tree) usageV2(path string) (Usage, error) {
	dir := filepath.Join(t.v2, path)
	used, err := readNumber(dir, "memory.current")
	if err != nil {
		return Usage{}, err
	}
	cache, err := readKey(dir, "memory.stat", "inactive_file")
	if err != nil {
		return Usage{}, err
	}
	spent, err := readKey(dir, "cpu.stat", "usage_usec")
	if err != nil {
		return Usage{}, err
	}
	return Usage{Memory: used - min(used, cache), CPU: time.Duration(spent) * time.Microsecond}, nil
}

// OOMKills counts the processes that the kernel killed because the group reached its memory limit. An absent group had none.
func (t *Tree) OOMKills(path string) (uint64, error) {
	dir, file := filepath.Join(t.v1["memory"], path), "memory.oom_control"
	if t.v2 != "" {
		dir, file = filepath.Join(t.v2, path), "memory.events"
	}
	kills, err := readKey(dir, file, "oom_kill")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the memory events of control group %s: %w", path, err)
	}
	return kills, nil
}

func readNumber(dir, file string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// readKey reads one line of a file of "key value" lines.
func readKey(dir, file, key string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", filepath.Join(dir, file), key)
}

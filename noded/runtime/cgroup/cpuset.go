package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoCPUSet says that processes cannot be pinned here.
var ErrNoCPUSet = errors.New("this kernel has no cpuset controller")

// Usable is the part of a list of processors ("0-15,32-47") that groups below path can have: others are off, or kept from us.
func (t *Tree) Usable(path, cpus string) (string, error) {
	want, err := parseCPUs(cpus)
	if err != nil {
		return "", err
	}
	root, file := t.v1["cpuset"], "cpuset.effective_cpus"
	if t.v2 != "" {
		root, file = t.v2, "cpuset.cpus.effective"
	}
	if root == "" {
		return "", ErrNoCPUSet
	}
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(root, at, file))
		if errors.Is(err, fs.ErrNotExist) && at != "/" {
			continue // not made yet, or without the controller: it has what the one above has
		}
		if errors.Is(err, fs.ErrNotExist) {
			return "", ErrNoCPUSet
		}
		if err != nil {
			return "", fmt.Errorf("reading which processors %s can have: %w", path, err)
		}
		have, err := parseCPUs(strings.TrimSpace(string(text)))
		if err != nil {
			return "", fmt.Errorf("reading which processors %s can have: %w", path, err)
		}
		var both []int
		for n := range have {
			if have[n] && n < len(want) && want[n] {
				both = append(both, n)
			}
		}
		if len(both) == 0 {
			return "", fmt.Errorf("none of the processors %s can be used: there are %s", cpus, strings.TrimSpace(string(text)))
		}
		return formatCPUs(both), nil
	}
}

// pin binds what is in the group to processors. Memory stays free to come from any node: the kernel takes it near the processor that asks, and
// another node's is better than none.
func (t *Tree) pin(path, cpus string) error {
	if cpus == "" {
		return nil
	}
	if t.v2 != "" {
		for _, at := range above(path) {
			if err := write(filepath.Join(t.v2, at), "cgroup.subtree_control", "+cpuset"); err != nil {
				return fmt.Errorf("pinning to processors: %w", err)
			}
		}
		return write(filepath.Join(t.v2, path), "cpuset.cpus", cpus)
	}
	root := t.v1["cpuset"]
	if root == "" {
		return ErrNoCPUSet
	}
	// A new group of v1 has no processor and no memory, and takes no process until it has.
	for _, at := range append(above(path), filepath.Clean(path)) {
		if at == "/" {
			continue
		}
		dir := filepath.Join(root, at)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if err := inherit(dir, file); err != nil {
				return fmt.Errorf("pinning to processors: %w", err)
			}
		}
	}
	return write(filepath.Join(root, path), "cpuset.cpus", cpus)
}

// inherit gives the group the value of the one above where it has none.
func inherit(dir, file string) error {
	have, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || strings.TrimSpace(string(have)) != "" {
		return err
	}
	value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if err != nil {
		return err
	}
	return write(dir, file, strings.TrimSpace(string(value)))
}

// above are the groups that path lies in, the root first.
func above(path string) []string {
	var groups []string
	for at := filepath.Dir(filepath.Clean(path)); ; at = filepath.Dir(at) {
		groups = append([]string{at}, groups...)
		if at == "/" || at == "." {
			return groups
		}
	}
}

// mostCPUs bounds a list of processors: more than any kernel is built for.
const mostCPUs = 1 << 14

// parseCPUs reads the kernel's form of a list of processors.
func parseCPUs(list string) ([]bool, error) {
	var set []bool
	for part := range strings.SplitSeq(list, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(low)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(high)
		}
		if err != nil || first < 0 || last < first || last >= mostCPUs {
			return nil, fmt.Errorf("%.40q is no list of processors, such as 0-15,32-47", list)
		}
		for len(set) <= last {
			set = append(set, false)
		}
		for n := first; n <= last; n++ {
			set[n] = true
		}
	}
	return set, nil
}

// formatCPUs writes it; the numbers grow.
func formatCPUs(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		end := i
		for end+1 < len(cpus) && cpus[end+1] == cpus[end]+1 {
			end++
		}
		if end == i {
			parts = append(parts, strconv.Itoa(cpus[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", cpus[i], cpus[end]))
		}
		i = end + 1
	}
	return strings.Join(parts, ",")
}

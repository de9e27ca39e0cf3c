package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// DefaultWeight is the CPUWeight of a group that was given none.
const DefaultWeight = 1024

const (
	minShares, maxShares = 2, 262144 // cpu.shares of v1 (sched-design-CFS)
	minWeight, maxWeight = 1, 10000  // cpu.weight of v2 (cgroup-v2.rst), where 100 is the default
)

// weigh sets the group's weight in v1's unit. v2's is taken in proportion, as systemd does, so that a group of four times
// the default has four times the CPU on either; runc's curve through both ranges' ends has the same default, but not the
// same ratios. A kernel that does not schedule by groups has nothing to weigh.
func (t *Tree) weigh(path string, weight uint64) error {
	if weight == 0 {
		return nil
	}
	dir, file, value := t.v1["cpu"], "cpu.shares", min(max(weight, minShares), maxShares)
	if t.v2 != "" {
		dir, file, value = t.v2, "cpu.weight", min(max(weight*100/DefaultWeight, minWeight), maxWeight)
	}
	err := write(filepath.Join(dir, path), file, fmt.Sprint(value))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

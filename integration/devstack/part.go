package devstack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// NewProcess describes a daemon for who builds a stack of another shape than Start's. runDir holds its notify socket.
func NewProcess(name, path, runDir, logPath string, args ...string) *Process {
	return &Process{
		Name: name, Path: path, Args: args, LogPath: logPath, runDir: runDir, started: func(*Process) error { return nil },
		Env: daemonEnv(),
	}
}

func daemonEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
}

// Node is where one node of such a stack keeps what outlives its processes: state below Dir, mounts and sockets below RunDir (which holds
// containerd.sock and containerd/), sessions' cgroups below Cgroup.
type Node struct{ Dir, RunDir, Cgroup string }

// Left names everything of the node's sessions that is on the machine: processes, mounts, loop devices, cgroups, run directories.
func (n Node) Left() ([]string, error) {
	left, err := findLeftovers(record{Dir: n.Dir, RunDir: n.RunDir, Cgroup: n.Cgroup})
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(n.RunDir, "noded", "s", "*"))
	return append(left.list(true), dirs...), err
}

// Crash ends everything of the node's sessions at once, as a power cut would: processes, mounts, loop devices and cgroups are gone.
func (n Node) Crash(ctx context.Context) error {
	left, err := findLeftovers(record{Dir: n.Dir, RunDir: n.RunDir, Cgroup: n.Cgroup})
	if err != nil {
		return err
	}
	if err := left.remove(ctx); err != nil {
		return fmt.Errorf("node in %s: %w", n.Dir, err)
	}
	return nil
}

// Remove takes all of that away, and the run directory with it; the state is the caller's.
func (n Node) Remove(ctx context.Context) error {
	if err := n.Crash(ctx); err != nil {
		return err
	}
	return os.RemoveAll(n.RunDir)
}

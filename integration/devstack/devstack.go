// Package devstack is a whole Easel on one machine: a private containerd, noded and coordinator as child processes in
// directories of their own. `make run`, the integration tests and the benchmark all use it, so what a person sees is what was
// tested. It starts without sleeps, ends leaving nothing, and mends what a killed stack left.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Namespace is the containerd namespace of a stack's containers.
const Namespace = "easel"

// ImageRef names the session image in containerd.
const ImageRef = "easel.local/gimp:trixie"

// Options say where a stack lives. The zero value of each means what its comment says.
type Options struct {
	// Dir holds all state: configuration, databases, homes, logs. Required.
	Dir string
	// RunDir holds sockets and run directories; Unix sockets limit it to 40 bytes. Dir/run.
	RunDir string
	// Cache is EASEL_CACHE: built containerd, built image, containerd's root. The environment's, else /var/cache/easel.
	Cache string
	// Root is containerd's root, whose content store keeps the image from one stack to the next. Cache/containerd-root.
	Root string
	// BinDir holds noded, coordinator and streamer. The environment's EASEL_BIN, else bin/ of the checkout.
	BinDir string
	// ContainerdBin holds containerd, its shim and runc. What packaging/containerd/build.sh builds.
	ContainerdBin string
	// Checkout is the source tree, for what the cache lacks. The one that this package was compiled from.
	Checkout string
	// CoordinatorAddr and NodeAddr are listening addresses. Free ports of 127.0.0.1.
	CoordinatorAddr, NodeAddr string
	// MediaPorts is the first and the last UDP port of streams. A free range of 100.
	MediaPorts [2]int
	// RelayAddr is where the node's relay listens, RelayPorts the first and the last port of its allocations. A free port of
	// 127.0.0.1; the ports after MediaPorts.
	RelayAddr  string
	RelayPorts [2]int
	// Cgroup is the parent of the sessions' cgroups. /easel-HASH of Dir.
	Cgroup string
	// NodeConfig and CoordinatorConfig may change the YAML documents before they are written.
	NodeConfig, CoordinatorConfig func(map[string]any)
	// Env is extra environment of a daemon's first start, by its name (containerd, noded, coordinator).
	Env map[string][]string
	// LogLevel is the daemons' level: info.
	LogLevel string
	// NoImage leaves the session image out, for tests that bring their own.
	NoImage bool
	// Log hears what is repaired; slog.Default().
	Log *slog.Logger
	// Progress hears each step; may be nil.
	Progress func(Progress)
}

// Progress is one event of a start or stop: a step's beginning (Line and Done unset), a line of it, or its end.
type Progress struct {
	Step string
	Line string
	Done bool
	Took time.Duration
}

// Stack is a running Easel.
type Stack struct {
	Options

	Containerd, Noded, Coordinator *Process

	gossip [2]string // addresses of noded and coordinator
	api    [2]string // likewise, of what members call
	lock   *lock     // on containerd's root
	dirs   *lock     // on Dir
	rec    record
	// adopt says that the last stack was this one, killed: what it left is noded's to take over.
	adopt bool
}

// Start starts a stack and returns when a browser can use it. On an error nothing is left running.
func Start(ctx context.Context, opts Options) (_ *Stack, err error) {
	s := &Stack{Options: opts}
	if err := s.setDefaults(); err != nil {
		return nil, err
	}
	previous, err := s.takeLocks()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.recover(ctx, previous); err != nil {
		return nil, err
	}
	if err := portsFree(s.CoordinatorAddr, s.NodeAddr); err != nil {
		return nil, err
	}
	if err := s.makeDirs(); err != nil {
		return nil, err
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"containerd", s.startContainerd},
		{"configuration", s.writeConfigs},
		{"session image", s.importImage},
		{"cluster", s.foundCluster},
		{"coordinator", func(ctx context.Context) error { return s.Coordinator.Start(ctx, s.Env["coordinator"]...) }},
		{"node joins", s.joinNode},
		{"noded", func(ctx context.Context) error { return s.Noded.Start(ctx, s.Env["noded"]...) }},
		{"node known to coordinator", s.AwaitNode},
	}
	for _, step := range steps {
		if err := s.step(ctx, step.name, step.do); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Stack) step(ctx context.Context, name string, do func(context.Context) error) error {
	began := time.Now()
	s.progress(Progress{Step: name})
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.progress(Progress{Step: name, Done: true, Took: time.Since(began)})
	return nil
}

func (s *Stack) progress(p Progress) {
	if s.Progress != nil {
		s.Progress(p)
	}
}

// takeLocks guards the two things that two stacks cannot share: containerd's root and the stack's directory.
func (s *Stack) takeLocks() (previous record, err error) {
	if err := os.MkdirAll(s.Dir, 0o711); err != nil {
		return record{}, err
	}
	s.dirs, _, err = acquire(filepath.Join(s.Dir, "stack.lock"))
	if err != nil {
		return record{}, err
	}
	s.lock, previous, err = acquire(s.Root + ".lock")
	if err != nil {
		return record{}, errors.Join(err, s.dirs.release())
	}
	if err := s.dirs.write(record{Dir: s.Dir}); err != nil {
		return record{}, errors.Join(err, s.lock.release(), s.dirs.release())
	}
	s.rec = record{Dir: s.Dir, RunDir: s.RunDir, Cgroup: s.Cgroup}
	return previous, nil
}

// recover mends what the last stack on this root left if it was killed. If it was this very stack, only its daemons are
// ended: its sessions live on, and noded finds them again. Of any other, everything is removed.
func (s *Stack) recover(ctx context.Context, previous record) error {
	s.adopt = previous.Dir == s.Dir && previous.RunDir == s.RunDir && previous.Cgroup == s.Cgroup
	switch {
	case previous.Dir == "":
	case s.adopt:
		s.Log.Info("the last stack here was killed: its daemons are ended, its sessions taken over", "dir", s.Dir)
		if err := endDaemons(ctx, previous); err != nil {
			return err
		}
	default:
		s.Log.Info("another stack was killed on this containerd root: what it left is removed", "dir", previous.Dir)
		left, err := findLeftovers(previous)
		if err != nil {
			return err
		}
		if err := left.remove(ctx); err != nil {
			return err
		}
	}
	return s.lock.write(s.rec)
}

// endDaemons kills the recorded daemons and waits for their end.
func endDaemons(ctx context.Context, rec record) error {
	left := &leftovers{rec: record{Processes: rec.Processes}}
	return left.remove(ctx)
}

// remember records a daemon that has just been started, so that a killed stack's successor can end it.
func (s *Stack) remember(p *Process) error {
	pid := p.cmd.Process.Pid
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	s.rec.Processes = slices.DeleteFunc(s.rec.Processes, func(old started) bool { return old.Name == p.Name })
	s.rec.Processes = append(s.rec.Processes, started{Name: p.Name, PID: pid, Start: start})
	return s.lock.write(s.rec)
}

func (s *Stack) makeDirs() error {
	for dir, mode := range map[string]os.FileMode{
		s.Dir: 0o711, s.Root: 0o711, s.RunDir: 0o711, containerdState(s.RunDir): 0o711, s.etc(): 0o700, s.logs(): 0o700, s.state("noded"): 0o700, s.state("coordinator"): 0o700,
		filepath.Join(s.RunDir, "noded"): 0o711, filepath.Join(s.RunDir, "coordinator"): 0o700,
	} {
		// Chmod too: containers pass through some of these as users of their own, whatever the caller's umask.
		if err := errors.Join(os.MkdirAll(dir, mode), os.Chmod(dir, mode)); err != nil {
			return err
		}
	}
	for _, p := range []*Process{s.Containerd, s.Noded, s.Coordinator} {
		// The last run's log is kept beside the new one.
		if err := os.Rename(p.LogPath, p.LogPath+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Stop ends every session, then every daemon, and proves that nothing is left: no process, mount, loop device or cgroup.
// What is left after all is removed, and named in the error.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	try := func(name string, do func(context.Context) error) {
		if err := s.step(ctx, name, do); err != nil {
			errs = append(errs, err)
		}
	}
	if s.Noded.PID() != 0 {
		try("end sessions", func(ctx context.Context) error {
			_, err := s.NodedCLI(ctx, "session", "stop", "--all")
			return err
		})
	}
	try("stop coordinator", s.Coordinator.Stop)
	try("stop noded", s.Noded.Stop)
	if s.Containerd.PID() != 0 {
		try("check containerd", s.removeContainers)
	}
	try("stop containerd", s.Containerd.Stop)
	try("check the machine", s.checkNothingLeft)
	if len(errs) == 0 {
		errs = append(errs, os.RemoveAll(s.RunDir))
		// Only a clean end clears the record; else the next stack looks again.
		errs = append(errs, s.lock.write(record{}))
	}
	return errors.Join(append(errs, s.lock.release(), s.dirs.release())...)
}

func (s *Stack) checkNothingLeft(ctx context.Context) error {
	left, err := findLeftovers(s.rec)
	if err != nil {
		return err
	}
	found := left.list(true)
	if err := left.remove(ctx); err != nil {
		return err
	}
	if sessions, _ := filepath.Glob(filepath.Join(s.RunDir, "noded", "s", "*")); len(sessions) > 0 {
		found = append(found, sessions...)
		for _, dir := range sessions {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("these were left behind, and have been removed: %s", strings.Join(found, "; "))
	}
	return nil
}

// CoordinatorURL is the portal's address for browsers.
func (s *Stack) CoordinatorURL() string { return "http://" + s.CoordinatorAddr }

// NodeURL is the node's HTTP address for browsers.
func (s *Stack) NodeURL() string { return "http://" + s.NodeAddr }

func (s *Stack) etc() string              { return filepath.Join(s.Dir, "etc") }
func (s *Stack) logs() string             { return filepath.Join(s.Dir, "log") }
func (s *Stack) state(part string) string { return filepath.Join(s.Dir, part) }

// NodedConfigPath is the node's configuration file.
func (s *Stack) NodedConfigPath() string { return filepath.Join(s.etc(), "noded.yaml") }

// CoordinatorConfigPath is the coordinator's configuration file.
func (s *Stack) CoordinatorConfigPath() string { return filepath.Join(s.etc(), "coordinator.yaml") }

func containerdSocket(runDir string) string { return filepath.Join(runDir, "containerd.sock") }
func containerdState(runDir string) string  { return filepath.Join(runDir, "containerd") }

// ContainerdAddress is the private containerd's socket.
func (s *Stack) ContainerdAddress() string { return containerdSocket(s.RunDir) }

// ErrPortTaken says that another program listens where the stack should.
var ErrPortTaken = errors.New("address taken")

// portsFree says at once what would otherwise fail minutes later inside a daemon.
func portsFree(addresses ...string) error {
	for _, addr := range addresses {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPortTaken, err)
		}
		l.Close()
	}
	return nil
}

// freePort is a TCP port of 127.0.0.1 that nobody listens on now and that is not given to another already, below the kernel's own range, from which an
// outgoing connection could take it before the daemon does.
func freePort(given ...string) (string, error) {
	var l net.Listener
	err := errors.New("none was tried")
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if slices.Contains(given, addr) {
			continue
		}
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

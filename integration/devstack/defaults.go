package devstack

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
)

// maxRunDir leaves room for the longest socket below a run directory: sun_path holds 107 bytes (unix(7)), and
// noded/s/ID/worker/streamer.sock takes 49.
const maxRunDir = 56

func (s *Stack) setDefaults() (err error) {
	if s.Dir == "" {
		return errors.New("start a stack: Options.Dir is empty; say where it may keep its state")
	}
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return err
	}
	s.RunDir = cmp.Or(s.RunDir, filepath.Join(s.Dir, "run"))
	if len(s.RunDir) > maxRunDir {
		return fmt.Errorf("start a stack: the run directory %s is longer than %d bytes, too long for the sockets below it; set Options.RunDir to a shorter one", s.RunDir, maxRunDir)
	}
	s.Checkout = cmp.Or(s.Checkout, checkout())
	s.Cache = cmp.Or(s.Cache, os.Getenv("EASEL_CACHE"), "/var/cache/easel")
	s.Root = cmp.Or(s.Root, filepath.Join(s.Cache, "containerd-root"))
	s.BinDir = cmp.Or(s.BinDir, os.Getenv("EASEL_BIN"), filepath.Join(s.Checkout, "bin"))
	s.Cgroup = cmp.Or(s.Cgroup, fmt.Sprintf("/easel-%x", sha256.Sum256([]byte(s.Dir)))[:15])
	s.LogLevel = cmp.Or(s.LogLevel, "info")
	if s.Log == nil {
		s.Log = slog.Default()
	}
	if err := s.choosePorts(); err != nil {
		return err
	}
	return s.describeProcesses()
}

func (s *Stack) choosePorts() error {
	all := []*string{&s.CoordinatorAddr, &s.NodeAddr, &s.RelayAddr, &s.gossip[0], &s.gossip[1], &s.api[0], &s.api[1]}
	var given []string
	for _, addr := range all {
		given = append(given, *addr)
	}
	for _, addr := range all {
		if *addr != "" {
			continue
		}
		free, err := freePort(given...)
		if err != nil {
			return err
		}
		*addr = free
		given = append(given, free)
	}
	if s.MediaPorts == [2]int{} {
		// Each stream binds its own port and noded passes over one that is taken, so the range need not be empty. Random, so
		// that stacks on one machine rarely meet; below the kernel's own range for outgoing ports.
		first := 10000 + rand.IntN(40)*500
		s.MediaPorts = [2]int{first, first + 99}
	}
	if s.RelayPorts == [2]int{} {
		s.RelayPorts = [2]int{s.MediaPorts[1] + 1, s.MediaPorts[1] + 400}
	}
	return nil
}

func (s *Stack) describeProcesses() error {
	for _, name := range []string{"noded", "coordinator", "streamer"} {
		if _, err := os.Stat(filepath.Join(s.BinDir, name)); err != nil {
			return fmt.Errorf("start a stack: %w; build it with: make build", err)
		}
	}
	process := func(name, path string, args ...string) *Process {
		return &Process{
			Name: name, Path: path, Args: args, runDir: s.RunDir, started: s.remember,
			LogPath: filepath.Join(s.logs(), name+".log"),
			Env:     append(daemonEnv(), "EASEL_CACHE="+s.Cache),
		}
	}
	s.Containerd = process("containerd", "", "--config", filepath.Join(s.etc(), "containerd.toml"))
	s.Noded = process("noded", filepath.Join(s.BinDir, "noded"), "run", "--config", s.NodedConfigPath())
	s.Coordinator = process("coordinator", filepath.Join(s.BinDir, "coordinator"), "run", "--config", s.CoordinatorConfigPath())
	return nil
}

// checkout is the root of the source tree that this package was compiled from.
func checkout() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "."
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/apparmor"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	uidRange   = 65536 // uids of a session, from Container.UIDBase
	artistUID  = 1000  // the one user in the container
	workerUID  = 65000 // the streamer, from UIDBase, on the host
	initPath   = "/usr/lib/easel/easel-init"
	homeInside = "/home/artist"

	mebibyte = 1 << 20
)

// specOpts say how the container looks from inside. env is the image's own.
func specOpts(c Container, env []string) []oci.SpecOpts {
	ids := idMap(c.UIDBase)
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		oci.WithRootFSReadonly(),
		oci.WithProcessArgs(initPath),
		oci.WithProcessCwd("/"),
		oci.WithHostname("easel"),
		oci.WithEnv(environment(c, env)),
		oci.WithUserNamespace(ids, ids),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithCgroup(boxGroup(c.Cgroup)),
		withUser,
		withoutPrivileges,
		withMounts(c, ids),
		withLimits(c),
		withSeccomp,
	}
	if appArmorEnabled() {
		opts = append(opts, apparmor.WithDefaultProfile("easel-session"))
	}
	return append(opts, withDevices(c))
}

func idMap(base uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: base, Size: uidRange}}
}

func environment(c Container, image []string) []string {
	env := slices.Clone(image)
	env = append(env, "HOME="+homeInside, "USER=artist", "LOGNAME=artist")
	if c.Width > 0 && c.Height > 0 {
		env = append(env, fmt.Sprintf("EASEL_WIDTH=%d", c.Width), fmt.Sprintf("EASEL_HEIGHT=%d", c.Height))
	}
	// GIMP would size its tile cache and its threads by the host, and so run into the session's limits.
	if c.Limits.Memory > 0 {
		env = append(env, fmt.Sprintf("EASEL_MEMORY=%d", c.Limits.Memory))
	}
	if c.Limits.CPUs > 0 {
		env = append(env, fmt.Sprintf("EASEL_CPUS=%g", c.Limits.CPUs))
	}
	if c.OpenCL {
		env = append(env, "EASEL_OPENCL=1")
	}
	if c.Warm != "" {
		env = append(env, "EASEL_WARM="+c.Warm)
	}
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "LANG=") }) {
		env = append(env, "LANG=C.UTF-8")
	}
	return env
}

func withUser(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	umask := uint32(0o022)
	s.Process.User = specs.User{UID: artistUID, GID: artistUID, Umask: &umask}
	return nil
}

// withoutPrivileges leaves no capability in any set and no way to gain one. A session is what the kernel kills first when the
// host itself runs out of memory.
func withoutPrivileges(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Process.Capabilities = &specs.LinuxCapabilities{}
	s.Process.NoNewPrivileges = true
	oom := 500
	s.Process.OOMScoreAdj = &oom
	s.Process.Rlimits = []specs.POSIXRlimit{
		{Type: "RLIMIT_NOFILE", Soft: 4096, Hard: 4096},
		{Type: "RLIMIT_CORE", Soft: 0, Hard: 0},
		{Type: "RLIMIT_MEMLOCK", Soft: 64 << 10, Hard: 64 << 10},
	}
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/proc/interrupts", "/proc/kallsyms", "/proc/modules", "/sys/kernel", "/sys/fs", "/sys/module")
	return nil
}

// withMounts replaces the mounts of the default spec. Every place that can be written to has a bound: the tmpfs count
// against the memory limit as well.
func withMounts(c Container, ids []specs.LinuxIDMapping) oci.SpecOpts {
	artist := fmt.Sprintf("uid=%d,gid=%d", artistUID, artistUID)
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Mounts = []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			tmpfs("/dev", mebibyte, "mode=755", "noexec"),
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			tmpfs("/dev/shm", share(c.Limits.Memory, 2, 256*mebibyte), "mode=1777", "noexec", "nodev"),
			tmpfs("/tmp", share(c.Limits.Memory, 4, 64*mebibyte), "mode=1777", "noexec", "nodev"),
			tmpfs("/run", 16*mebibyte, "mode=755,"+artist, "noexec", "nodev"),
			home(c, ids, artist),
			bind(filepath.Join(c.RunDir, "x11"), "/tmp/.X11-unix", "noexec"),
			bind(filepath.Join(c.RunDir, "edge"), "/run/easel/edge", "noexec"),
			bind(filepath.Join(c.RunDir, "xauthority"), "/run/easel/xauthority", "noexec", "ro"),
		}
		return nil
	}
}

// home is the artist's volume, whose files belong to uid 1000 on disk: the idmapped mount shows them so in the container,
// whichever range the session has. Plug-ins of the artist's own are run from there, so exec stays.
func home(c Container, ids []specs.LinuxIDMapping, artist string) specs.Mount {
	if c.Home == "" || c.Warm != "" {
		return tmpfs(homeInside, share(c.Limits.Memory, 2, 64*mebibyte), "mode=700,"+artist, "nodev")
	}
	m := bind(c.Home, homeInside, "idmap")
	m.UIDMappings, m.GIDMappings = ids, ids
	return m
}

func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{
		Destination: destination, Type: "bind", Source: source,
		Options: append([]string{"bind", "private", "nosuid", "nodev"}, options...),
	}
}

// tmpfs has a bound on its files as well, because each takes kernel memory.
func tmpfs(destination string, size int64, options ...string) specs.Mount {
	return specs.Mount{
		Destination: destination, Type: "tmpfs", Source: "tmpfs",
		Options: append([]string{"nosuid", fmt.Sprintf("size=%d", size), fmt.Sprintf("nr_inodes=%d", max(1024, size>>14))}, options...),
	}
}

// share is a part of the memory limit, but no less than least.
func share(memory, part, least int64) int64 {
	if memory <= 0 {
		memory = 4 << 30
	}
	return max(memory/part, least)
}

func withLimits(c Container) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		r := s.Linux.Resources
		if c.Limits.Memory > 0 {
			r.Memory = &specs.LinuxMemory{Limit: &c.Limits.Memory}
			if swapCounted() {
				r.Memory.Swap = &c.Limits.Memory // memory and swap together: no swap
			}
		}
		if c.Limits.CPUs > 0 || c.Limits.CPUSet != "" {
			r.CPU = &specs.LinuxCPU{Cpus: c.Limits.CPUSet}
		}
		if c.Limits.CPUs > 0 {
			period, quota := uint64(100_000), int64(c.Limits.CPUs*100_000)
			r.CPU.Period, r.CPU.Quota = &period, &quota
		}
		if c.Limits.PIDs > 0 {
			r.Pids = &specs.LinuxPids{Limit: &c.Limits.PIDs}
		}
		r.BlockIO = blockIO(c)
		return nil
	}
}

// blockIO throttles the disk and, when the home is a volume, the volume's loop device: what goes through the loop device
// reaches the disk in the kernel's name, not the session's.
func blockIO(c Container) *specs.LinuxBlockIO {
	var devices []string
	if c.Limits.Device != "" {
		devices = append(devices, c.Limits.Device)
	}
	if c.Home != "" {
		if device := DeviceOf(c.Home); device != "" && !slices.Contains(devices, device) {
			devices = append(devices, device)
		}
	}
	io := &specs.LinuxBlockIO{}
	for _, device := range devices {
		var major, minor int64
		if _, err := fmt.Sscanf(device, "%d:%d", &major, &minor); err != nil {
			continue
		}
		if c.Limits.ReadBps > 0 {
			io.ThrottleReadBpsDevice = append(io.ThrottleReadBpsDevice, throttle(major, minor, c.Limits.ReadBps))
		}
		if c.Limits.WriteBps > 0 {
			io.ThrottleWriteBpsDevice = append(io.ThrottleWriteBpsDevice, throttle(major, minor, c.Limits.WriteBps))
		}
	}
	if len(io.ThrottleReadBpsDevice)+len(io.ThrottleWriteBpsDevice) == 0 {
		return nil
	}
	return io
}

func throttle(major, minor int64, rate uint64) specs.LinuxThrottleDevice {
	t := specs.LinuxThrottleDevice{Rate: rate}
	t.Major, t.Minor = major, minor
	return t
}

// DeviceOf is the "major:minor" of the whole disk that path lies on, for Limits.Device; "" when it lies on none (tmpfs, network).
func DeviceOf(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || unix.Major(st.Dev) == 0 {
		return ""
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return ""
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir) // limits are for whole disks
	}
	device, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(device))
}

// swapCounted is false on a v1 kernel that keeps no account of swap, where setting the limit would be an error.
func swapCounted() bool {
	const v1 = "/sys/fs/cgroup/memory"
	if _, err := os.Stat(v1); err != nil {
		return true
	}
	_, err := os.Stat(filepath.Join(v1, "memory.memsw.limit_in_bytes"))
	return err == nil
}

func appArmorEnabled() bool {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || !strings.HasPrefix(string(enabled), "Y") {
		return false
	}
	for _, dir := range []string{"/sbin", "/usr/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, "apparmor_parser")); err == nil {
			return true
		}
	}
	return false
}

package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The oldest kernel whose overlayfs takes idmapped layers.
const oldestMajor, oldestMinor = 5, 19

func checkKernel(_ context.Context, h Host, _ Options) Result {
	release, err := h.Kernel()
	var major, minor int
	if err == nil {
		_, err = fmt.Sscanf(release, "%d.%d", &major, &minor)
	}
	switch {
	case err != nil:
		return Result{Status: Warn, Found: fmt.Sprintf("the kernel's release %q could not be read: %v", release, err), Means: "its age is unknown; the checks below try what matters"}
	case major < oldestMajor || major == oldestMajor && minor < oldestMinor:
		return Result{
			Status: Fail, Found: "Linux " + release,
			Means: fmt.Sprintf("before Linux %d.%d a container's root cannot be idmapped, so each session would first copy a gigabyte", oldestMajor, oldestMinor),
			Mend:  "install a newer kernel; Debian 12 and 13 have one",
		}
	}
	return ok("Linux %s", release)
}

func checkOverlay(ctx context.Context, h Host, o Options) Result {
	if err := h.TryOverlay(ctx, o.StateDir); err != nil {
		return Result{
			Status: Fail, Found: fmt.Sprintf("an overlay below %s could not be mounted: %v", o.StateDir, err),
			Means: "sessions share the image's files by overlayfs, so none can start",
			Mend:  "load it (modprobe overlay), run noded as root on the host itself, and keep its state on ext4, xfs or btrfs",
		}
	}
	return ok("an overlay below %s was mounted", o.StateDir)
}

func checkUserNamespaces(ctx context.Context, h Host, _ Options) Result {
	if err := h.TryUserNamespace(ctx); err != nil {
		most, _ := h.ReadFile("/proc/sys/user/max_user_namespaces")
		return Result{
			Status: Fail, Found: fmt.Sprintf("a user namespace could not be made: %v (user.max_user_namespaces is %s)", err, strings.TrimSpace(string(most))),
			Means: "a session's root would be the host's root, which Easel refuses",
			Mend:  "sysctl -w user.max_user_namespaces=15000, and keep it in /etc/sysctl.d",
		}
	}
	return ok("a user namespace with its own uids was made")
}

func checkIDMappedMounts(ctx context.Context, h Host, o Options) Result {
	if err := h.TryIDMappedMount(ctx, o.StateDir); err != nil {
		return Result{
			Status: Fail, Found: fmt.Sprintf("%s could not be mounted with other owners: %v", o.StateDir, err),
			Means: "a session could not own its files without copying the whole image first",
			Mend:  "keep noded's and containerd's state on ext4, xfs or btrfs, on Linux 5.19 or newer",
		}
	}
	return ok("%s was mounted with other owners", o.StateDir)
}

func checkSeccomp(_ context.Context, h Host, _ Options) Result {
	actions, err := h.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	have := strings.Fields(string(actions))
	if err != nil || !slices.Contains(have, "errno") || !slices.Contains(have, "kill_process") {
		return Result{
			Status: Fail, Found: fmt.Sprintf("the kernel's seccomp filters are not there (actions %q, %v)", have, err),
			Means: "what a session may ask of the kernel could not be limited",
			Mend:  "use a kernel with CONFIG_SECCOMP_FILTER, as every distribution's is",
		}
	}
	return ok("filters with actions %s", strings.Join(have, " "))
}

// controllers that a session's limits need, by their v2 names and their v1 hierarchies.
var controllers = []struct{ v2, v1 string }{{"cpu", "cpu"}, {"memory", "memory"}, {"pids", "pids"}, {"io", "blkio"}}

func checkCgroups(_ context.Context, h Host, _ Options) Result {
	var missing []string
	version := "v2"
	unified, err := h.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	have := strings.Fields(string(unified))
	if err != nil {
		version = "v1"
		var text []byte
		if text, err = h.ReadFile("/proc/self/mountinfo"); err != nil {
			return Result{Status: Fail, Found: "the cgroup hierarchies could not be read: " + err.Error(), Means: "no session could be limited", Mend: "run noded on the host itself, with /proc and /sys mounted"}
		}
		have = v1Controllers(string(text))
	}
	for _, c := range controllers {
		name := c.v2
		if version == "v1" {
			name = c.v1
		}
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return Result{
			Status: Fail, Found: fmt.Sprintf("cgroup %s without the controllers %s", version, strings.Join(missing, ", ")),
			Means: "one session could take the whole host",
			Mend:  "boot without cgroup_disable=…, mount cgroup v2 at /sys/fs/cgroup, and on Debian before 11 add cgroup_enable=memory",
		}
	}
	return ok("cgroup %s with cpu, memory, pids and io", version)
}

// v1Controllers lists the controllers that are mounted as v1 hierarchies: the super options after the last "cgroup cgroup".
func v1Controllers(mountinfo string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		_, right, ok := strings.Cut(line, " - ")
		fields := strings.Fields(right)
		if ok && len(fields) == 3 && fields[0] == "cgroup" {
			found = append(found, strings.Split(fields[2], ",")...)
		}
	}
	return found
}

func checkLoop(ctx context.Context, h Host, _ Options) Result {
	if err := h.TryLoop(ctx); err != nil {
		return Result{
			Status: Fail, Found: fmt.Sprintf("no loop device can be had: %v", err),
			Means: "home volumes are files mounted by loop devices, so no session can have a home",
			Mend:  "modprobe loop; in a container or a virtual machine, give it /dev/loop-control",
		}
	}
	return ok("a free loop device was found")
}

func checkHomes(_ context.Context, h Host, _ Options) Result {
	var missing []string
	for _, program := range []string{"mkfs.ext4", "e2fsck"} {
		if _, err := h.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return Result{
			Status: Fail, Found: "not found: " + strings.Join(missing, ", "),
			Means: "a new user's home volume could not be made",
			Mend:  "apt-get install e2fsprogs",
		}
	}
	known, err := h.ReadFile("/proc/filesystems")
	if err == nil && !slices.Contains(strings.Fields(string(known)), "ext4") {
		return Result{Status: Warn, Found: "ext4 is not loaded in the kernel", Means: "home volumes are ext4; the first mount must load it", Mend: "modprobe ext4"}
	}
	return ok("ext4 and its programs are there")
}

// A 4K screen takes 33 MB of shared memory, twice while its size changes.
const leastSharedMemory = 128 << 20

func checkSharedMemory(_ context.Context, h Host, _ Options) Result {
	text, err := h.ReadFile("/proc/sys/kernel/shmmax")
	var most uint64
	if err == nil {
		_, err = fmt.Sscan(string(text), &most)
	}
	switch {
	case err != nil:
		return Result{Status: Fail, Found: "SysV shared memory's limit could not be read: " + err.Error(), Means: "the screen is read through it, so there would be no picture", Mend: "use a kernel with CONFIG_SYSVIPC, as every distribution's is"}
	case most < leastSharedMemory:
		return Result{Status: Fail, Found: fmt.Sprintf("kernel.shmmax is %d bytes", most), Means: "a large screen does not fit", Mend: fmt.Sprintf("sysctl -w kernel.shmmax=%d, and keep it in /etc/sysctl.d", leastSharedMemory)}
	}
	return ok("segments of %s and more", size(min(most, 1<<40)))
}

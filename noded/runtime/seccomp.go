package runtime

import (
	"context"
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// denied are calls that containerd's default profile allows and no program of a session needs, each with a history of
// kernel faults or a way to look into another process.
var denied = []string{
	"add_key", "keyctl", "request_key",
	"bpf", "perf_event_open", "userfaultfd",
	"io_uring_setup", "io_uring_enter", "io_uring_register",
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
	"unshare", "setns", "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "pivot_root", "chroot",
	"modify_ldt", "vmsplice", "name_to_handle_at", "open_by_handle_at", "uretprobe", "memfd_secret", "socketcall", "listmount", "statmount",
}

// families are those of socket(2) that X, D-Bus, PulseAudio and GIMP use; the network behind the last three is loopback alone.
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// withSeccomp takes containerd's default profile and tightens it. It must come after the capabilities are taken away: the
// default profile allows by capability.
func withSeccomp(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Linux.Seccomp = tighten(seccomp.DefaultProfile(s))
	return nil
}

func tighten(profile *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	rules := profile.Syscalls[:0:0]
	for _, rule := range profile.Syscalls {
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool {
			return name == "socket" || slices.Contains(denied, name)
		})
		if len(rule.Names) > 0 {
			rules = append(rules, rule)
		}
	}
	for _, family := range families {
		rules = append(rules, specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: family, Op: specs.OpEqualTo}},
		})
	}
	profile.Syscalls = rules
	if native, ok := nativeArch[runtime.GOARCH]; ok {
		profile.Architectures = []specs.Arch{native} // no 32-bit call table: a second one to find faults in
	}
	return profile
}

var nativeArch = map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64}

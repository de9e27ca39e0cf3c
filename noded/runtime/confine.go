package runtime

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// workerDenied are calls that a worker never makes and an attacker in it would: ways into other processes, other namespaces
// and the parts of the kernel with most faults. A worker parses what a hostile container says, so it may be taken over.
var workerDenied = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_VMSPLICE,
}

var auditArch = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// confineThread takes from the calling thread, and so from its children, new privileges and the denied calls. There is no way back.
func confineThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	arch, ok := auditArch[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no seccomp filter is known for %s", runtime.GOARCH)
	}
	filter := denyFilter(arch, workerDenied)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("setting the seccomp filter: %w", err)
	}
	return nil
}

// denyFilter is the program of seccomp(2) that answers EPERM to those calls, kills for a foreign call table, and allows the rest.
func denyFilter(arch uint32, calls []uint32) []unix.SockFilter {
	const (
		load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		ifEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ifAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		answer    = unix.BPF_RET | unix.BPF_K
		offsetNr  = 0 // struct seccomp_data
		offsetArc = 4
		x32       = 0x40000000 // calls of the x32 table have this bit
	)
	f := []unix.SockFilter{
		{Code: load, K: offsetArc},
		{Code: ifEqual, K: arch, Jt: 1},
		{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: offsetNr},
		{Code: ifAtLeast, K: x32, Jt: uint8(len(calls) + 1)},
	}
	for i, call := range calls {
		f = append(f, unix.SockFilter{Code: ifEqual, K: call, Jt: uint8(len(calls) - i)})
	}
	return append(f,
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	)
}

// volunteerForOOM makes the process one that the kernel kills before the daemon, whose own protection it was born with.
func volunteerForOOM(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("400"), 0); err != nil {
		return fmt.Errorf("offering it to the kernel when memory is short: %w", err)
	}
	return nil
}

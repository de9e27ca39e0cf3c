package main

import (
	"net"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

func facts() any {
	return map[string]any{
		"status":  status(),
		"uid_map": read("/proc/self/uid_map"),
		"gid_map": read("/proc/self/gid_map"),
		"env":     os.Environ(),
		"links":   links(),
		"mounts":  read("/proc/self/mounts"),
		"cgroup":  read("/proc/self/cgroup"),
		"limits":  read("/proc/self/limits"),
		"ipc":     readlink("/proc/self/ns/ipc"),
		"pid":     os.Getpid(),
		"sid":     sid(),
		"devices": list("/dev"),
		"writes":  writes("/", "/etc", "/usr/lib/easel", "/sys", "/proc/sys", "/dev", "/home/artist", "/tmp", "/run", "/dev/shm", "/run/easel/edge", "/tmp/.X11-unix"),
		"cookie":  len(read("/run/easel/xauthority")),
	}
}

func status() map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(read("/proc/self/status")) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

func links() map[string]string {
	found := map[string]string{}
	all, err := net.Interfaces()
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	for _, l := range all {
		found[l.Name] = l.Flags.String()
	}
	return found
}

func writes(dirs ...string) map[string]string {
	results := map[string]string{}
	for _, dir := range dirs {
		name := dir + "/written-by-guest"
		results[dir] = say(os.WriteFile(name, []byte("x"), 0o644))
		_ = os.Remove(name)
	}
	return results
}

// calls tries what a session must not be able to do and says how the kernel answered.
func calls() map[string]string {
	try := func(trap, a, b, c uintptr) string {
		got, _, errno := syscall.Syscall(trap, a, b, c)
		if errno != 0 {
			return errno.Error()
		}
		if int(got) > 2 {
			_ = syscall.Close(int(got))
		}
		return "allowed"
	}
	var attr [128]byte
	const (
		sysBPF, sysUserfaultfd, sysIOUringSetup, sysKeyctl, sysPerf, sysOpenTree = 321, 323, 425, 250, 298, 428
		cloneNewUser, afALG, afPacket, afVsock                                   = 0x10000000, 38, 17, 40
	)
	return map[string]string{
		"unshare":       try(syscall.SYS_UNSHARE, cloneNewUser, 0, 0),
		"bpf":           try(sysBPF, 0, uintptr(unsafe.Pointer(&attr)), 128),
		"userfaultfd":   try(sysUserfaultfd, 0, 0, 0),
		"io_uring":      try(sysIOUringSetup, 1, uintptr(unsafe.Pointer(&attr)), 0),
		"keyctl":        try(sysKeyctl, 0, 0, 0),
		"perf":          try(sysPerf, uintptr(unsafe.Pointer(&attr)), 0, 0),
		"ptrace":        try(syscall.SYS_PTRACE, 0, 0, 0),
		"mount":         try(syscall.SYS_MOUNT, 0, 0, 0),
		"open_tree":     try(sysOpenTree, ^uintptr(99), 0, 1),
		"socket alg":    try(syscall.SYS_SOCKET, afALG, 5, 0),
		"socket packet": try(syscall.SYS_SOCKET, afPacket, 3, 0),
		"socket vsock":  try(syscall.SYS_SOCKET, afVsock, 1, 0),
		"socket unix":   try(syscall.SYS_SOCKET, syscall.AF_UNIX, 1, 0),
		"socket inet":   try(syscall.SYS_SOCKET, syscall.AF_INET, 1, 0),
		"mknod":         say(syscall.Mknod("/tmp/null", syscall.S_IFCHR|0o666, 1<<8|3)),
		"setuid":        say(syscall.Setuid(0)),
		"connect out":   say(connectOut()),
	}
}

func connectOut() error {
	conn, err := net.Dial("udp", "192.0.2.1:9") // TEST-NET-1 of RFC 5737
	if err == nil {
		conn.Close()
	}
	return err
}

func sid() int {
	id, _, _ := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
	return int(id)
}

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}

func readlink(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return "error: " + err.Error()
	}
	return to
}

func list(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

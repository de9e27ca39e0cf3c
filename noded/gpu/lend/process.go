package lend

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// SessionByCgroup tells a process's session by the control group that it is in: sessions' lie below parent, "/easel", each named for its
// session. A process cannot leave its group, whatever runs in the container.
func SessionByCgroup(parent string) func(pid int) (session string, alive bool) {
	return func(pid int) (string, bool) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return "", false
		}
		if err != nil {
			return "", true
		}
		return sessionIn(string(text), parent), true
	}
}

// sessionIn finds the session in what the kernel says of a process's groups: lines such as "4:memory:/easel/ID/box".
func sessionIn(groups, parent string) string {
	for line := range strings.Lines(groups) {
		_, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		_, path, _ = strings.Cut(path, ":")
		if below, is := strings.CutPrefix(path, parent+"/"); is {
			id, _, _ := strings.Cut(below, "/")
			return id
		}
	}
	return ""
}

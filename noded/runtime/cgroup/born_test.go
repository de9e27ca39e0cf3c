package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bornIn runs a program that is in the group from its first moment, as a worker is, and returns what it printed.
func bornIn(t *testing.T, tree *Tree, path, program string, args ...string) string {
	t.Helper()
	type result struct {
		out    []byte
		err    error
		thread int
	}
	done := make(chan result, 1)
	var run func()
	run = func() {
		runtime.LockOSThread() // and never unlocked: on v1 the thread is in the group, and ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			go run() // the first thread cannot end
			<-t.Context().Done()
			runtime.UnlockOSThread()
			return
		}
		place, err := tree.Place(path)
		if err != nil {
			done <- result{err: err, thread: unix.Gettid()}
			return
		}
		defer place.Close()
		cmd := exec.CommandContext(t.Context(), program, args...)
		if place.FD != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(place.FD.Fd())}
		}
		out, err := cmd.CombinedOutput()
		done <- result{out, err, unix.Gettid()}
	}
	go run()
	r := <-done
	// The group can be removed once the thread is gone too.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", r.thread)); err != nil {
			break
		}
	}
	if r.err != nil {
		t.Fatalf("%s: %v: %s", program, r.err, r.out)
	}
	return string(r.out)
}

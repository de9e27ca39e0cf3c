package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper starts processes and waits for every child of this one: those it started, and orphans, which PID 1 inherits. Nothing else may wait for
// children, so nothing here uses os/exec.
type reaper struct {
	mu       sync.Mutex
	children map[int]*process
}

func newReaper() *reaper { return &reaper{children: map[int]*process{}} }

// process is a started program and all that it starts in turn, as long as that stays in its process group.
type process struct {
	pid    int
	done   chan struct{} // closed when it has ended; status is set then
	status unix.WaitStatus
	reaper *reaper
}

// start runs program with args (the name first) and env. Files are its descriptors from 3 on; it has this process's output.
func (r *reaper) start(program string, args, env []string, files ...*os.File) (*process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	defer null.Close()
	descriptors := []uintptr{null.Fd(), os.Stdout.Fd(), os.Stderr.Fd()}
	for _, f := range files {
		descriptors = append(descriptors, f.Fd())
	}
	// Held until the child is known, so that the reaping of a child that ends at once finds it.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(program, args, &syscall.ProcAttr{Env: env, Files: descriptors, Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &process{pid: pid, done: make(chan struct{}), reaper: r}
	r.children[pid] = p
	return p, nil
}

// run reaps until stop is closed. Signals coalesce, so each one means: look at all of them.
func (r *reaper) run(stop <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		r.reap()
		select {
		case <-ended:
		case <-stop:
			return
		}
	}
}

// reap takes every child that has ended.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var info unix.Siginfo
		// Look first, without taking: while the zombie is there, no new process can have its number.
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		pid := siginfoPid(&info)
		if err != nil || pid == 0 {
			return
		}
		p := r.children[pid]
		if p != nil {
			_ = unix.Kill(-pid, unix.SIGKILL) // what it left behind in its group; often nothing
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return
		}
		if p != nil {
			delete(r.children, pid)
			p.status = status
			close(p.done)
		}
	}
}

// signal sends sig to the process, or to its whole group; nothing happens when it has ended.
func (p *process) signal(sig unix.Signal, group bool) {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.reaper.children[p.pid] != p {
		return
	}
	pid := p.pid
	if group {
		pid = -pid
	}
	_ = unix.Kill(pid, sig)
}

// ending says how the process ended, once it has.
func (p *process) ending() string {
	switch {
	case p.status.Signaled():
		return "killed by " + p.status.Signal().String()
	default:
		return fmt.Sprintf("exit status %d", p.status.ExitStatus())
	}
}

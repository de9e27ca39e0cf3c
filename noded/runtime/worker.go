package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"easel/noded/runtime/cgroup"
)

// WorkerSpec is what a session's worker is started from.
type WorkerSpec struct {
	ID, Path string
	Args     []string // without the program's name
	UID, GID uint32
	Cgroup   string // "/easel/ID/streamer"
	IPCPID   int    // host pid of the container's init, whose IPC namespace the worker joins
	Config   []byte // written to its stdin, which is then closed; at most 64 KiB
	LogPath  string // its stdout and stderr are appended here
	Limits   Limits
}

// Worker names a process for good: a pid is used again, the two together are not.
type Worker struct {
	PID   int
	Start uint64 // clock ticks from boot to its start (proc_pid_stat(5), field 22)
}

const (
	logKeep = 1 << 20  // bytes from which a worker's log is put aside when the next worker starts
	logMax  = 64 << 20 // bytes of a file that a worker can write at all
)

// limited is how the worker is run: util-linux's prlimit lowers its own limits and becomes the worker. Lowering those of a process of
// another user would need CAP_SYS_RESOURCE, which root lacks in many containers and virtual machines.
var limited = []string{"/usr/bin/prlimit", "--core=0", "--nofile=1024", fmt.Sprintf("--memlock=%d", 8<<20), fmt.Sprintf("--fsize=%d", logMax), "--"}

// maxConfig is what a pipe holds, so that writing the configuration never waits for the worker.
const maxConfig = 64 << 10

// StartWorker starts the process in its group and the container's IPC namespace. It does not need us to live: it logs to a
// file, and its one pipe is closed before we return. If we die before the configuration is written it reads the end of the
// pipe and exits.
func (r *Runtime) StartWorker(ctx context.Context, s WorkerSpec) (Worker, error) {
	w, err := r.startWorker(ctx, s)
	if err != nil {
		return Worker{}, fmt.Errorf("starting the worker of session %s: %w", s.ID, err)
	}
	return w, nil
}

func (r *Runtime) startWorker(ctx context.Context, s WorkerSpec) (Worker, error) {
	if len(s.Config) > maxConfig {
		return Worker{}, fmt.Errorf("its configuration has %d bytes, more than the %d of a pipe", len(s.Config), maxConfig)
	}
	if err := ctx.Err(); err != nil {
		return Worker{}, err
	}
	if info, err := os.Stat(s.Path); err != nil || !info.Mode().IsRegular() {
		return Worker{}, fmt.Errorf("running %s: there is no such program (%v)", s.Path, err)
	}
	if err := r.groups.Make(s.Cgroup); err != nil {
		return Worker{}, err
	}
	limits := groupLimits(s.Limits)
	limits.CPUWeight = streamerWeight
	var err error
	if limits.CPUSet, err = r.usable(s.Limits.CPUSet); err != nil {
		return Worker{}, err
	}
	if err := r.groups.Limit(s.Cgroup, limits); err != nil {
		return Worker{}, err
	}
	stdin, config, err := os.Pipe()
	if err != nil {
		return Worker{}, err
	}
	defer stdin.Close()
	defer config.Close()
	output, err := openLog(s.LogPath)
	if err != nil {
		return Worker{}, fmt.Errorf("opening its log: %w", err)
	}
	defer output.Close()

	w, err := r.fork(s, []uintptr{stdin.Fd(), output.Fd(), output.Fd()})
	if err != nil {
		return Worker{}, err
	}
	if err := errors.Join(volunteerForOOM(w.PID), feed(config, s.Config)); err != nil {
		kill(w)
		return Worker{}, fmt.Errorf("giving it its configuration: %w", err)
	}
	return w, nil
}

// openLog keeps one earlier file when this one has grown; while the worker runs RLIMIT_FSIZE is the bound.
func openLog(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Size() > logKeep {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
}

func groupLimits(l Limits) cgroup.Limits {
	g := cgroup.Limits{Memory: l.Memory, CPUs: l.CPUs, PIDs: l.PIDs, CPUSet: l.CPUSet, ReadBps: l.ReadBps, WriteBps: l.WriteBps}
	if l.Device != "" {
		g.Devices = []string{l.Device}
	}
	return g
}

func feed(pipe *os.File, config []byte) error {
	if _, err := pipe.Write(config); err != nil {
		return err
	}
	return pipe.Close()
}

// fork starts the process from a thread that is in the right namespace, in the right group and confined: a child inherits
// all three from the thread that makes it, so that at no moment it is outside. The thread dies after it.
func (r *Runtime) fork(s WorkerSpec, files []uintptr) (Worker, error) {
	type result struct {
		worker Worker
		err    error
	}
	var got result
	onOwnThread(func() { got.worker, got.err = r.forkHere(s, files) })
	return got.worker, got.err
}

// onOwnThread runs f on a thread that ends after it. The process's first thread cannot end, so it is not used.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f) // on another thread, as this goroutine holds the first
			runtime.UnlockOSThread()
			return
		}
		f() // still locked when the goroutine ends: its thread ends too
	}()
	<-done
}

func (r *Runtime) forkHere(s WorkerSpec, files []uintptr) (Worker, error) {
	if err := r.joinIPC(s); err != nil {
		return Worker{}, err
	}
	place, err := r.groups.Place(s.Cgroup)
	if err != nil {
		return Worker{}, err
	}
	defer place.Close()
	shortenSlice()
	if err := confineThread(); err != nil {
		return Worker{}, err
	}
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   workerEnvironment(),
		Files: files,
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: s.UID, Gid: s.GID},
		},
	}
	if place.FD != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(place.FD.Fd())
	}
	// What our own parent left open to us, Go does not know to close.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return Worker{}, fmt.Errorf("keeping open files from it: %w", err)
	}
	argv := append(slices.Clone(limited), s.Path)
	pid, err := syscall.ForkExec(argv[0], append(argv, s.Args...), attr)
	if err != nil {
		return Worker{}, fmt.Errorf("running %s: %w", s.Path, err)
	}
	start, err := startTime(pid)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		reap(pid)
		return Worker{}, err
	}
	return Worker{PID: pid, Start: start}, nil
}

func workerEnvironment() []string { return []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8"} }

// joinIPC enters the container's IPC namespace, after making sure that the pid is still a process of that container.
func (r *Runtime) joinIPC(s WorkerSpec) error {
	fd, err := unix.PidfdOpen(s.IPCPID, 0)
	if err != nil {
		return fmt.Errorf("finding the container's init (pid %d): %w", s.IPCPID, err)
	}
	defer unix.Close(fd)
	box := boxGroup(path.Dir(s.Cgroup))
	in, err := r.groups.Has(box, s.IPCPID)
	if err != nil {
		return fmt.Errorf("finding the container's init (pid %d): %w", s.IPCPID, err)
	}
	if !in {
		return fmt.Errorf("pid %d is not in %s: the container has ended", s.IPCPID, box)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWIPC); err != nil {
		return fmt.Errorf("entering the container's IPC namespace: %w", err)
	}
	return nil
}

// WorkerAlive reports whether that very process still runs.
func (r *Runtime) WorkerAlive(w Worker) bool {
	reap(w.PID)
	return alive(w)
}

// WaitWorker returns nil once the process has ended, whoever started it, or ctx's error.
func (r *Runtime) WaitWorker(ctx context.Context, w Worker) error {
	if err := waitExit(ctx, w); err != nil {
		return fmt.Errorf("waiting for worker %d: %w", w.PID, err)
	}
	reap(w.PID)
	return nil
}

// KillWorker kills the process and everything in the group, recorded or not, and takes the group away. Absent is success.
func (r *Runtime) KillWorker(ctx context.Context, group string, w Worker) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := killAndWait(ctx, w); err != nil {
		return fmt.Errorf("killing worker %d: %w", w.PID, err)
	}
	if err := r.groups.Kill(ctx, group); err != nil {
		return err
	}
	if err := r.removeGroup(ctx, group); err != nil {
		return err
	}
	r.groups.RemoveIfEmpty(path.Dir(group))
	return nil
}

func kill(w Worker) {
	fd, err := unix.PidfdOpen(w.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if alive(w) { // asked while the descriptor holds the pid: what is killed is what was meant
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
	reap(w.PID)
}

// killAndWait looks at the process itself: its pidfd stays silent for one whose thread asked to be traced, until that is reaped.
func killAndWait(ctx context.Context, w Worker) error {
	for pause := time.Millisecond; alive(w); pause = min(2*pause, 100*time.Millisecond) {
		kill(w)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	reap(w.PID)
	return nil
}

// reap takes the exit status of a process that is our child and has ended, threads first that made us their tracer; for any other
// process it does nothing.
func reap(pid int) {
	if pid <= 0 {
		return // would be any child
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return
	}
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread.Name()); err == nil && tid != pid {
			_, _ = unix.Wait4(tid, nil, unix.WNOHANG|unix.WALL, nil)
		}
	}
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
}

// waitExit sleeps in the runtime's poller: no thread is spent on a worker.
func waitExit(ctx context.Context, w Worker) error {
	fd, err := unix.PidfdOpen(w.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil // no such process, or a thread has the number now
	}
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if !alive(w) {
		return nil
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	err = conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

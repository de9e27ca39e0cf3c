package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startDeadline bounds how long a daemon may take to say that it is ready, stopDeadline how long to end by itself.
const (
	startDeadline = 60 * time.Second
	stopDeadline  = 20 * time.Second
)

// Process is one daemon of a stack: started, killed and started again by name. Its readiness comes by sd_notify, as under
// systemd, so nothing polls and nothing sleeps. Its methods may be called from several goroutines.
type Process struct {
	Name    string
	Path    string
	Args    []string
	Env     []string
	LogPath string
	// Launch starts the command, in another place than this process's or under watch; nil just starts it.
	Launch func(*exec.Cmd) error
	// runDir holds the notify socket.
	runDir string
	// started is told of every new process, so that a killed stack's children are known to the next.
	started func(*Process) error

	mu     sync.Mutex
	cmd    *exec.Cmd
	notify *net.UnixConn
	exited chan struct{}
	err    error
}

// Start starts the daemon, with extra environment for this run alone, and returns when it has said READY=1.
func (p *Process) Start(ctx context.Context, extraEnv ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive() {
		return fmt.Errorf("start %s: it runs already, as process %d", p.Name, p.cmd.Process.Pid)
	}
	ready, err := p.launch(extraEnv)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	if err := p.started(p); err != nil {
		return errors.Join(fmt.Errorf("record %s: %w", p.Name, err), p.end(ctx, syscall.SIGKILL))
	}
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("start %s: it ended before it was ready (%s); the end of %s:\n%s", p.Name, p.exitText(), p.LogPath, p.LogTail(15))
	case <-ctx.Done():
		_ = p.end(context.WithoutCancel(ctx), syscall.SIGKILL)
		return fmt.Errorf("start %s: not ready: %w; the end of %s:\n%s", p.Name, context.Cause(ctx), p.LogPath, p.LogTail(15))
	}
}

// launch forks the daemon and the two goroutines that watch it; both end with it. The channel closes at READY=1.
func (p *Process) launch(extraEnv []string) (<-chan struct{}, error) {
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	socket := filepath.Join(p.runDir, "notify-"+p.Name)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = slices.Concat(p.Env, []string{"NOTIFY_SOCKET=" + socket}, extraEnv)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C at the terminal is for the stack, which ends its daemons in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := (*exec.Cmd).Start
	if p.Launch != nil {
		start = p.Launch
	}
	if err := start(cmd); err != nil {
		notify.Close()
		return nil, err
	}
	p.cmd, p.notify, p.err = cmd, notify, nil
	p.exited = make(chan struct{})
	ready := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { awaitReady(notify, ready) })
	go func(exited chan struct{}) {
		p.err = cmd.Wait()
		notify.Close()
		watching.Wait()
		close(exited)
	}(p.exited)
	return ready, nil
}

// awaitReady closes ready at the first READY=1, and goes on reading (watchdog pings fill the socket else) until it is closed.
func awaitReady(notify *net.UnixConn, ready chan<- struct{}) {
	buf := make([]byte, 4096)
	told := false
	for {
		n, err := notify.Read(buf)
		if err != nil {
			return
		}
		if !told && slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") {
			told = true
			close(ready)
		}
	}
}

// Kill ends the daemon with SIGKILL, as a crash would. A daemon that does not run is no error.
func (p *Process) Kill() error { return p.signal(context.Background(), syscall.SIGKILL) }

// Stop asks the daemon to end and waits; past the deadline it is killed, which is an error.
func (p *Process) Stop(ctx context.Context) error { return p.signal(ctx, syscall.SIGTERM) }

func (p *Process) signal(ctx context.Context, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return nil
	}
	if err := p.end(ctx, sig); err != nil {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	return nil
}

func (p *Process) end(ctx context.Context, sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopDeadline)
	defer cancel()
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Kill()
	<-p.exited
	return fmt.Errorf("it did not end by signal %d within its time and was killed; the end of %s:\n%s", sig, p.LogPath, p.LogTail(15))
}

// Exited closes when the daemon that runs now has ended; it is closed already when none runs.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited == nil {
		p.exited = make(chan struct{})
		close(p.exited)
	}
	return p.exited
}

// PID is the daemon's process ID, 0 when it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive() {
		return 0
	}
	return p.cmd.Process.Pid
}

func (p *Process) alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *Process) exitText() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// LogTail is the last lines of the daemon's log, for an error that has to explain itself.
func (p *Process) LogTail(lines int) string {
	const most = 16 << 10
	f, err := os.Open(p.LogPath)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

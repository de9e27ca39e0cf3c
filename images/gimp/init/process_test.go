package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what ought to happen at once, on a busy machine.
const patience = 20 * time.Second

// running starts a reaper for the length of a test. Orphans of the test's processes come to it, as to PID 1.
func reaping(t *testing.T) *reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := newReaper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); r.run(stop) }()
	t.Cleanup(func() { close(stop); <-done })
	return r
}

func (r *reaper) shell(t *testing.T, script string) *process {
	t.Helper()
	p, err := r.start("/bin/sh", []string{"sh", "-c", script}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.signal(unix.SIGKILL, true); <-p.done })
	return p
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

// pidIn reads a process number from a file that a script writes; 0 until it is there.
func pidIn(file string) int {
	text, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func TestProcessEndIsSeenHoweverSoonItComes(t *testing.T) {
	r := reaping(t)
	for range 50 {
		p := r.shell(t, "exit 3")
		if !p.endsWithin(patience) {
			t.Fatal("its end was not seen")
		}
		if p.ending() != "exit status 3" {
			t.Fatalf("it ended by %q", p.ending())
		}
	}
	p := r.shell(t, "kill -TERM $$")
	if !p.endsWithin(patience) || p.ending() != "killed by terminated" {
		t.Errorf("it ended by %q", p.ending())
	}
}

func TestOrphansAreReaped(t *testing.T) {
	r := reaping(t)
	file := filepath.Join(t.TempDir(), "pid")
	// setsid takes the grandchild out of the group, so that nothing but reaping can end its being.
	p := r.shell(t, "setsid sh -c 'echo $$ >"+file+"; sleep 0.2' & while ! test -s "+file+"; do sleep 0.01; done")
	if !p.endsWithin(patience) {
		t.Fatal("the parent did not end")
	}
	orphan := pidIn(file)
	if orphan == 0 {
		t.Fatal("no orphan")
	}
	eventually(t, "the orphan is gone, zombie and all", func() bool { return !alive(orphan) })
}

func TestWhatAProcessLeavesInItsGroupGoesWithIt(t *testing.T) {
	r := reaping(t)
	file := filepath.Join(t.TempDir(), "pid")
	p := r.shell(t, "sleep 1000 & echo $! >"+file+"; exit 0")
	if !p.endsWithin(patience) {
		t.Fatal("it did not end")
	}
	eventually(t, "its child is gone", func() bool { return !alive(pidIn(file)) })
}

func TestSignalAfterTheEndGoesNowhere(t *testing.T) {
	r := reaping(t)
	p := r.shell(t, "exit 0")
	if !p.endsWithin(patience) {
		t.Fatal("it did not end")
	}
	p.signal(unix.SIGKILL, true) // must not reach whoever has the number now
}

func TestStartOfNoProgramIsAnError(t *testing.T) {
	if _, err := reaping(t).start("/nonexistent/easel", []string{"easel"}, nil); err == nil || !strings.Contains(err.Error(), "/nonexistent/easel") {
		t.Errorf("got %v", err)
	}
}

func TestWaitGrowsToItsBound(t *testing.T) {
	l := limits{firstWait: 100 * time.Millisecond, longestWait: time.Second}
	for fails, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 5: time.Second, 1000: time.Second} {
		if got := l.wait(fails); got != want {
			t.Errorf("after %d: %v, want %v", fails, got, want)
		}
	}
}

// script is a service that is a shell script, ready once it has made the file named ready in its directory.
func script(name, dir, text string, after ...string) service {
	return service{
		name: name, after: after, patience: patience, grace: 200 * time.Millisecond,
		prepare: func() (command, error) {
			return command{path: "/bin/sh", args: []string{"sh", "-c", "cd " + dir + " && " + text}, env: os.Environ()}, nil
		},
		ready: func(ctx context.Context, _ command) error {
			for ctx.Err() == nil {
				if _, err := os.Stat(filepath.Join(dir, name+".ready")); err == nil {
					return nil
				}
				time.Sleep(2 * time.Millisecond)
			}
			return ctx.Err()
		},
	}
}

var quickLimits = limits{firstWait: time.Millisecond, longestWait: 5 * time.Millisecond, steady: time.Minute, mostFails: 3}

// kept supervises services until the test or the returned function ends them; the function returns how long the end took.
func kept(t *testing.T, services ...service) (*board, string, func() time.Duration) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range services {
		names = append(names, s.name)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	b := newBoard(names)
	socket := filepath.Join(t.TempDir(), "init.sock")
	a, err := announceAt(socket, b, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- supervise(ctx, services, newReaper(), b, a, quickLimits, log) }()
	var took time.Duration
	ended := false
	end := func() time.Duration {
		if !ended {
			ended = true
			began := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			took = time.Since(began)
		}
		return took
	}
	t.Cleanup(func() { end() })
	return b, socket, end
}

func stateOf(b *board, name string) serviceReport {
	r, _ := b.snapshot()
	return r.Services[name]
}

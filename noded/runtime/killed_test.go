package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestKilledContainerdLosesNoSession(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	tell(t, c, "facts", new(any))
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.killContainerd(); err != nil {
		t.Fatal(err)
	}
	tell(t, c, "print 100", new(string)) // lives on, and its output is kept
	if err := shared.startContainerd(); err != nil {
		t.Fatal(err)
	}
	status, err := r.Task(t.Context(), c.ID)
	if err != nil || !status.Running || status.PID != pid {
		t.Errorf("after containerd was killed: %+v, %v; want pid %d", status, err, pid)
	}
	if again, err := r.StartTask(t.Context(), c); err != nil || again != pid {
		t.Errorf("started again: pid %d, %v", again, err)
	}
	select {
	case exit := <-exits:
		t.Fatalf("told an end that is none: %+v", exit)
	default:
	}
	tell(t, c, "exit 9", new(string))
	if exit := ended(t, exits); exit.Code != 9 {
		t.Errorf("its real end: %+v", exit)
	}
}

func TestEndWhileContainerdIsDownIsTold(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	tell(t, c, "facts", new(any))
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.killContainerd(); err != nil {
		t.Fatal(err)
	}
	tell(t, c, "exit 5", new(string))
	time.Sleep(200 * time.Millisecond)
	if err := shared.startContainerd(); err != nil {
		t.Fatal(err)
	}
	if exit := ended(t, exits); exit.Code != 5 && !exit.Gone {
		t.Errorf("%+v", exit)
	}
	if status, err := r.Task(t.Context(), c.ID); err != nil || status.Running {
		t.Errorf("%+v, %v", status, err)
	}
}

// containerd may die at any moment of a session's making: what Remove is told to take away is then gone whole.
func TestContainerdKilledWhileASessionIsMade(t *testing.T) {
	r := dial(t)
	for _, after := range []time.Duration{0, 5, 15, 30, 50, 80, 120} {
		c := newSession(t, r, nil)
		done := make(chan error, 1)
		go func() {
			err := r.CreateContainer(t.Context(), c)
			if err == nil {
				_, err = r.StartTask(t.Context(), c)
			}
			done <- err
		}()
		time.Sleep(after * time.Millisecond)
		if err := shared.killContainerd(); err != nil {
			t.Fatal(err)
		}
		if err := shared.startContainerd(); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed after %d ms: %v", after, <-done)
		if err := r.CreateContainer(t.Context(), c); err != nil {
			t.Fatalf("killed after %d ms, made again: %v", after, err)
		}
		if _, err := r.StartTask(t.Context(), c); err != nil {
			t.Fatalf("killed after %d ms, started again: %v", after, err)
		}
		tell(t, c, "facts", new(any))
		discard(t, r, c)
	}
}

// The shim is what holds a container for containerd. Without it the container is ended, not left alone.
func TestKilledShimEndsTheSession(t *testing.T) {
	r := dial(t)
	c, pid := started(t, r, nil)
	tell(t, c, "facts", new(any))
	exits, err := r.Wait(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	shim := 0
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "PPid: %d", &shim); err == nil {
			break
		}
	}
	if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", shim)); err != nil || !strings.Contains(string(command), c.ID) {
		t.Fatalf("%d is not the shim: %q, %v", shim, command, err)
	}
	removeShimSocket(t, c)
	if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", ended(t, exits))
	if state, err := r.Task(t.Context(), c.ID); err != nil || state.Running {
		t.Errorf("%+v, %v", state, err)
	}
}

// removeShimSocket does, at the test's end, what a killed shim does not.
func removeShimSocket(t *testing.T, c Container) {
	t.Helper()
	text, err := os.ReadFile(shared.bundle(c.ID) + "/bootstrap.json")
	if err != nil {
		t.Fatal(err)
	}
	var shim struct{ Address string }
	if err := json.Unmarshal(text, &shim); err != nil || !strings.HasPrefix(shim.Address, "unix:///") {
		t.Fatalf("the shim's address is %q, %v", shim.Address, err)
	}
	t.Cleanup(func() { os.Remove(strings.TrimPrefix(shim.Address, "unix://")) })
}

// And while it is taken away: the second Remove finishes what the first began.
func TestContainerdKilledWhileASessionEnds(t *testing.T) {
	r := dial(t)
	for _, after := range []time.Duration{0, 10, 25, 50} {
		c, _ := started(t, r, nil)
		tell(t, c, "facts", new(any))
		done := make(chan error, 1)
		go func() { done <- r.Remove(t.Context(), c.ID, time.Second) }()
		time.Sleep(after * time.Millisecond)
		if err := shared.killContainerd(); err != nil {
			t.Fatal(err)
		}
		if err := shared.startContainerd(); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed after %d ms: %v", after, <-done)
		if err := r.Remove(t.Context(), c.ID, time.Second); err != nil {
			t.Fatalf("killed after %d ms, removed again: %v", after, err)
		}
		discard(t, r, c)
	}
}

// containerd hides a bundle before it removes it, and never looks at a hidden one again.
func TestBundleThatContainerdForgotIsTakenAway(t *testing.T) {
	r := dial(t)
	c, _ := started(t, r, nil)
	dir, err := r.bundles(t.Context(), c.ID)
	if err != nil || dir != filepath.Dir(shared.bundle(c.ID)) {
		t.Fatalf("containerd's bundles are in %q, %v", dir, err)
	}
	discard(t, r, c)
	hidden := filepath.Join(dir, "."+c.ID)
	root := filepath.Join(hidden, "rootfs")
	if err := os.MkdirAll(root, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(hidden, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := dial(t) // as after a restart: it has seen no bundle itself
	if ids, err := again.Sessions(t.Context()); err != nil || !slices.Equal(ids, []string{c.ID}) {
		t.Errorf("what there is: %v, %v; want %s", ids, err, c.ID)
	}
	if err := again.Remove(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	if ids, err := again.Sessions(t.Context()); err != nil || len(ids) > 0 {
		t.Errorf("after that there is %v, %v", ids, err)
	}
}

// Who asks for a task and dies meanwhile leaves a shim that containerd forgets: Remove ends it all the same.
func TestTaskWhoseMakerDiedLeavesNoShim(t *testing.T) {
	r := dial(t)
	for _, after := range []time.Duration{10, 20, 30, 40, 50, 60, 80, 100} {
		c := newSession(t, r, nil)
		if err := r.CreateContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		// The connection of a process that was killed ends with it, and with that its requests.
		dying, err := shared.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := dying.StartTask(t.Context(), c)
			result <- err
		}()
		time.Sleep(after * time.Millisecond)
		dying.Close()
		t.Logf("died after %d ms: %v", after, <-result)
		discard(t, r, c)
		if left := r.shimsOf(c.ID); len(left) > 0 {
			t.Errorf("maker died after %d ms: the shim %v is left", after, left)
		}
	}
}

// Package makerun_test proves what `make run` and `make stop` promise, on the program that they run: one URL, Ctrl-C that leaves
// nothing, and a start after a kill that finds the sessions again.
package makerun_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// upDeadline covers an image that has to be built first; endDeadline an orderly end with a session.
const (
	upDeadline  = 15 * time.Minute
	endDeadline = 90 * time.Second
)

func program(name string) string {
	return filepath.Join(cmp.Or(os.Getenv("EASEL_BIN"), "../../bin"), name)
}

// machine is a development machine in directories of its own.
type machine struct {
	dir, run string
	args     []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts containers: run it as root (sudo make integration)")
	}
	dir, err := os.MkdirTemp("", "easel-run-")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: dir, run: filepath.Join("/run", filepath.Base(dir))}
	m.args = []string{"run", "--dir", m.dir, "--run-dir", m.run, "--listen", freeAddress(t), "--node-listen", freeAddress(t), "--relay-listen", freeAddress(t), "--media-ports", "9100-9199"}
	t.Cleanup(func() {
		// Whatever a failed test left.
		if out, err := exec.Command(program("easel-dev"), "stop").CombinedOutput(); err != nil {
			t.Errorf("easel-dev stop: %v\n%s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return m
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// up is one run of easel-dev; output is all it has printed.
type up struct {
	cmd   *exec.Cmd
	url   string
	ended chan error

	mu     sync.Mutex
	output bytes.Buffer
}

// start runs easel-dev until it has printed the way in.
func (m *machine) start(t *testing.T) *up {
	t.Helper()
	u := &up{cmd: exec.Command(program("easel-dev"), m.args...), ended: make(chan error, 1)}
	stdout, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	u.cmd.Stderr = os.Stderr
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			u.mu.Lock()
			fmt.Fprintln(&u.output, lines.Text())
			u.mu.Unlock()
			if url, ok := strings.CutPrefix(lines.Text(), "Open "); ok {
				found <- url
			}
		}
		u.ended <- u.cmd.Wait()
	}()
	t.Cleanup(func() { _ = u.cmd.Process.Kill() })
	select {
	case u.url = <-found:
	case err := <-u.ended:
		t.Fatalf("easel-dev run ended: %v\n%s", err, u.said())
	case <-time.After(upDeadline):
		t.Fatalf("easel-dev run printed no URL within %s:\n%s", upDeadline, u.said())
	}
	return u
}

func (u *up) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.output.String()
}

// signal sends sig and waits for the end.
func (u *up) signal(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	if err := u.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-u.ended:
		return err
	case <-time.After(endDeadline):
		t.Fatalf("easel-dev did not end within %s of signal %d:\n%s", endDeadline, sig, u.said())
		return nil
	}
}

func (m *machine) noded(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program("noded"), append(args, "--config", filepath.Join(m.dir, "etc/noded.yaml"))...).CombinedOutput()
	if err != nil {
		t.Fatalf("noded %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// left lists what the machine still holds of this stack: processes that name its directories, mounts and loop devices below them.
func (m *machine) left(t *testing.T) []string {
	t.Helper()
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, m.dir) || strings.Contains(line, m.run) {
			found = append(found, "mount: "+line)
		}
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, c := range cmdlines {
		text, _ := os.ReadFile(c)
		if strings.Contains(string(text), m.dir) || strings.Contains(string(text), m.run) {
			found = append(found, c+": "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if text, _ := os.ReadFile(l); strings.HasPrefix(string(text), m.dir) {
			found = append(found, "loop: "+string(text))
		}
	}
	if _, err := os.Stat(m.run); err == nil {
		found = append(found, m.run)
	}
	return found
}

func TestRunSignsInOnceAndCtrlCLeavesNothing(t *testing.T) {
	m := newMachine(t)
	u := m.start(t)
	if last := strings.TrimSpace(u.said()); !strings.HasSuffix(last, "Open "+u.url) {
		t.Errorf("the URL is not the last line:\n%s", last)
	}
	if code := get(t, u.url); code != http.StatusOK {
		t.Errorf("the sign-in link answers %d", code)
	}
	m.noded(t, "session", "create", "--user", "admin")
	if err := u.signal(t, syscall.SIGINT); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, u.said())
	}
	if !strings.Contains(u.said(), "Stopped: no process, mount, loop device or cgroup of Easel is left.") {
		t.Errorf("it said:\n%s", u.said())
	}
	if left := m.left(t); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "\n"))
	}
}

// get follows the link as a browser does, to the page that it leads to.
func get(t *testing.T, url string) int {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestKilledRunIsTakenOverWithItsSessionsAndStopRemovesAll(t *testing.T) {
	m := newMachine(t)
	u := m.start(t)
	id := strings.Fields(m.noded(t, "session", "create", "--user", "admin"))[0]
	_ = u.signal(t, syscall.SIGKILL)

	again := m.start(t)
	if list := m.noded(t, "session", "list"); !strings.Contains(list, id) {
		t.Errorf("after a kill and a new start the session %s is gone:\n%s", id, list)
	}
	_ = again.signal(t, syscall.SIGKILL)

	out, err := exec.Command(program("easel-dev"), "stop").CombinedOutput()
	if err != nil {
		t.Fatalf("easel-dev stop: %v\n%s", err, out)
	}
	for _, want := range []string{"noded run", "coordinator run", "containerd --config", "mount " + m.run, "run directory"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("stop does not say that it removed %q:\n%s", want, out)
		}
	}
	if left := m.left(t); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "\n"))
	}
}

// stop on a stack that runs asks it to end, as Ctrl-C would.
func TestStopEndsARunningStack(t *testing.T) {
	m := newMachine(t)
	u := m.start(t)
	out, err := exec.Command(program("easel-dev"), "stop").CombinedOutput()
	if err != nil {
		t.Fatalf("easel-dev stop: %v\n%s", err, out)
	}
	select {
	case err := <-u.ended:
		if err != nil {
			t.Errorf("the stack ended with %v:\n%s", err, u.said())
		}
	case <-time.After(endDeadline):
		t.Errorf("stop returned and the stack still runs:\n%s", u.said())
	}
	if left := m.left(t); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "\n"))
	}
}

// A second stack on the same containerd root would fight with the first over its containers.
func TestSecondStackIsRefusedByName(t *testing.T) {
	m := newMachine(t)
	u := m.start(t)
	out, err := exec.Command(program("easel-dev"), "run", "--dir", m.dir+"-other", "--run-dir", m.run+"-other", "--listen", freeAddress(t), "--node-listen", freeAddress(t), "--relay-listen", freeAddress(t)).CombinedOutput()
	t.Cleanup(func() { _ = os.RemoveAll(m.dir + "-other") })
	if err == nil || !strings.Contains(string(out), "in use by another Easel stack") || !strings.Contains(string(out), m.dir) {
		t.Errorf("a second stack: %v\n%s", err, out)
	}
	if err := u.signal(t, syscall.SIGTERM); err != nil {
		t.Errorf("the first, afterwards: %v\n%s", err, u.said())
	}
}

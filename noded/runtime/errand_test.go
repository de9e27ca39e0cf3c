package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// errandEnv has this test's program run an errand, to be killed meanwhile.
const errandEnv = "EASEL_TEST_ERRAND"

func runErrandForever(script string) {
	_, err := RunErrand(context.Background(), Errand{Path: "/bin/sh", Args: []string{"-c", script}, Most: 100})
	fmt.Fprintln(os.Stderr, "the errand ended:", err)
}

func shell(t *testing.T, within time.Duration, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	out, err := RunErrand(ctx, Errand{Path: "/bin/sh", Args: []string{"-c", script}, Most: 1 << 16})
	return string(out), err
}

func TestErrandIsUnprivilegedAndConfined(t *testing.T) {
	t.Setenv("EASEL_SECRET", "secret")
	out, err := shell(t, time.Minute, `cat /proc/self/status; env; ls /proc/self/fd | wc -l; unshare -r true || echo not let`)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("\t65534", 4)
	for _, want := range []string{"Uid:" + id + "\n", "Gid:" + id + "\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapEff:\t0000000000000000\n", "\n4\n", "not let\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("an errand lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "secret") {
		t.Error("it has the daemon's environment")
	}
}

func TestErrandSaysHowItFailed(t *testing.T) {
	for script, want := range map[string]struct {
		says   string
		failed bool
	}{
		"echo half; echo broken >&2; exit 3": {"exit status 3: broken", true},
		"echo half; kill -SEGV $$":           {"segmentation fault", true},
		"echo half; sleep 1000 & sleep 1000": {"did not end in time", false},
	} {
		within := time.Minute
		if !want.failed {
			within = time.Second
		}
		out, err := shell(t, within, script)
		if err == nil || !strings.Contains(err.Error(), want.says) || Failed(err) != want.failed {
			t.Errorf("%q: %v, failed by itself: %v", script, err, Failed(err))
		}
		if want.failed && out != "half\n" {
			t.Errorf("%q: printed %q", script, out)
		}
	}
	if _, err := RunErrand(t.Context(), Errand{Path: "/nowhere/streamer", Most: 10}); err == nil {
		t.Error("a program that is not there ran")
	}
	long, err := RunErrand(t.Context(), Errand{Path: "/usr/bin/seq", Args: []string{"100000"}, Most: 10})
	if err != nil || string(long) != "1\n2\n3\n4\n5\n" {
		t.Errorf("of a long output %.100q was kept (%v)", long, err)
	}
}

// Whatever it began goes with it, and it goes with the daemon.
func TestErrandDiesWithTheDaemon(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "pid")
	if err := os.Chmod(filepath.Dir(fifo), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(filepath.Dir(fifo)); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), errandEnv+"=echo $$ >"+fifo+"; exec sleep 1000")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	pipe, err := os.OpenFile(fifo, os.O_RDWR, 0) // so that it does not wait for a writer that never comes
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := pipe.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(time.Minute); !errors.Is(unix.Kill(pid, 0), unix.ESRCH); time.Sleep(10 * time.Millisecond) {
		if state, _, err := readStat(pid); err == nil && state == 'Z' {
			break // whoever took it up has not reaped it yet
		}
		if time.Now().After(end) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("the errand of a daemon that was killed lives on")
		}
	}
}

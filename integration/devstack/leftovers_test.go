package devstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What a killed stack leaves in the kernel is found there and removed: a mount on a loop device, a cgroup and a process in it.
func TestLeftoversOfAKilledStackAreFoundAndRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts and makes cgroups: run it as root (sudo make unit)")
	}
	dir := t.TempDir()
	rec := record{Dir: dir, RunDir: filepath.Join(dir, "run"), Cgroup: "/easel-test-" + filepath.Base(filepath.Dir(dir))[4:]}
	left, err := findLeftovers(rec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := left.remove(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	mountImage(t, dir, filepath.Join(rec.RunDir, "home"))
	pid := sleepInCgroup(t, left.cgroupRoots, rec.Cgroup)

	found := strings.Join(left.list(true), "\n")
	for _, want := range []string{"mount " + rec.RunDir, "loop device /dev/loop", "cgroup ", "sleep"} {
		if !strings.Contains(found, want) {
			t.Errorf("found\n%s\nwithout %q", found, want)
		}
	}
	if err := left.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := left.list(true); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		if stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); !strings.Contains(string(stat), ") Z ") {
			t.Error("the process in the cgroup still runs")
		}
	}
}

func mountImage(t *testing.T, dir, at string) {
	t.Helper()
	image := filepath.Join(dir, "home.img")
	for _, cmd := range [][]string{{"truncate", "-s", "8M", image}, {"mkfs.ext4", "-q", image}, {"mkdir", "-p", at}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
}

// sleepInCgroup starts a process and puts it into a cgroup below name, in the first hierarchy that lets it.
func sleepInCgroup(t *testing.T, roots []string, name string) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for _, root := range roots {
		dir := filepath.Join(root, name, "s1", "box")
		if os.MkdirAll(dir, 0o755) == nil && os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600) == nil {
			return cmd.Process.Pid
		}
	}
	t.Fatalf("no cgroup hierarchy of %v takes a process", roots)
	return 0
}

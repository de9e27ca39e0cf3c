package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
)

func TestHostKindIsToldFromItsMounts(t *testing.T) {
	v1 := func(controllers ...string) []*mountinfo.Info {
		var mounts []*mountinfo.Info
		for _, c := range controllers {
			mounts = append(mounts, &mountinfo.Info{FSType: "cgroup", Mountpoint: "/cg/" + c, VFSOptions: "rw," + c})
		}
		return mounts
	}
	v2 := &mountinfo.Info{FSType: "cgroup2", Mountpoint: "/cg/unified", VFSOptions: "rw,nsdelegate"}
	cases := []struct {
		name    string
		mounts  []*mountinfo.Info
		version int
		roots   []string
	}{
		{"v2 alone", []*mountinfo.Info{v2}, 2, []string{"/cg/unified"}},
		{"v1 alone", v1("cpu", "memory", "pids"), 1, []string{"/cg/cpu", "/cg/memory", "/cg/pids"}},
		{"v1 with v2 beside it", append(v1("cpu", "memory", "pids"), v2), 1, []string{"/cg/cpu", "/cg/memory", "/cg/pids", "/cg/unified"}},
		{"v2 with one v1 controller", append(v1("net_cls"), v2), 2, []string{"/cg/unified"}},
		{"joint controllers", append(v1("memory", "pids"), &mountinfo.Info{FSType: "cgroup", Mountpoint: "/cg/cpu,cpuacct", VFSOptions: "rw,cpu,cpuacct"}), 1, []string{"/cg/cpu,cpuacct", "/cg/memory", "/cg/pids"}},
	}
	for _, c := range cases {
		tree, err := detect(c.mounts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if tree.Version() != c.version || !slices.Equal(tree.roots(), c.roots) {
			t.Errorf("%s: version %d, %v", c.name, tree.Version(), tree.roots())
		}
	}
	if _, err := detect(v1("net_cls")); err == nil {
		t.Error("a host without memory limits was taken")
	}
}

func TestMembershipIsReadFromTheRightLine(t *testing.T) {
	v1 := "9:name=systemd:/other\n8:pids:/easel/s1/box\n4:cpu,cpuacct:/elsewhere\n0::/unified\n"
	v2 := "0::/easel/s1/box\n"
	cases := []struct {
		text    string
		version int
		path    string
		want    bool
	}{
		{v1, 1, "/easel/s1/box", true},
		{v1, 1, "/easel/s1", true},
		{v1, 1, "/easel/s", false},
		{v1, 1, "/elsewhere", false},
		{v1, 1, "/unified", false},
		{v2, 2, "/easel/s1/box", true},
		{v2, 2, "/easel/s1/box/deeper", false},
		{"8:pids:/easel/s1\n", 2, "/easel/s1", false},
		{"garbage", 2, "/easel", false},
	}
	for _, c := range cases {
		if got := hasLine(c.text, c.version, c.path); got != c.want {
			t.Errorf("%q in v%d %q: %v", c.path, c.version, c.text, got)
		}
	}
}

func testGroup(t *testing.T) (*Tree, string) {
	t.Helper()
	tree, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	top := fmt.Sprintf("/easel-cgroup-test-%d", os.Getpid())
	path := top + "/" + strings.ReplaceAll(t.Name(), "/", "_")
	if err := tree.Make(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(tree.Kill(ctx, top), tree.Remove(top)); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(tree.listing(), top)); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the group is still there")
		}
	})
	return tree, path
}

// enter moves a started process in, as a test may: what is under test places its own before it runs.
func enter(t *testing.T, tree *Tree, path string, pid int) {
	t.Helper()
	for _, root := range tree.roots() {
		if err := write(filepath.Join(root, path), "cgroup.procs", fmt.Sprint(pid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestLimitsReachTheKernel(t *testing.T) {
	tree, path := testGroup(t)
	for _, memory := range []int64{64 << 20, 128 << 20, 32 << 20} { // up and down: v1 minds the order of its two limits
		if err := tree.Limit(path, Limits{Memory: memory, CPUs: 0.5, CPUWeight: 4096, PIDs: 17}); err != nil {
			t.Fatal(err)
		}
		dir, file := filepath.Join(tree.v1["memory"], path), "memory.limit_in_bytes"
		if tree.v2 != "" {
			dir, file = filepath.Join(tree.v2, path), "memory.max"
		}
		if got, err := readNumber(dir, file); err != nil || got != uint64(memory) {
			t.Errorf("memory %d, %v", got, err)
		}
	}
	dir, file, want := filepath.Join(tree.v1["cpu"], path), "cpu.shares", uint64(4096)
	if tree.v2 != "" {
		dir, file, want = filepath.Join(tree.v2, path), "cpu.weight", 400
	}
	if got, err := readNumber(dir, file); err != nil || got != want {
		t.Errorf("weight %d, %v; want %d", got, err, want)
	}
	if got, err := readNumber(filepath.Join(tree.listing(), path), "pids.max"); err != nil || got != 17 {
		t.Errorf("pids %d, %v", got, err)
	}
}

func TestKillTakesAllAndOnlyTheGroup(t *testing.T) {
	tree, path := testGroup(t)
	start := func() *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", "sleep 100 & sleep 100")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	in, out := start(), exec.Command("sleep", "100")
	if err := out.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Process.Kill(); _ = out.Wait() }()
	defer func() { _ = in.Process.Kill() }()
	enter(t, tree, path, in.Process.Pid)
	if has, err := tree.Has(path, in.Process.Pid); !has || err != nil {
		t.Errorf("not in the group: %v", err)
	}
	if has, err := tree.Has(path, out.Process.Pid); has || err != nil {
		t.Errorf("in the group: %v", err)
	}
	if err := tree.Remove(path); err == nil {
		t.Error("a group that is in use was removed")
	}
	waited := make(chan error, 1)
	go func() { waited <- in.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := tree.Kill(ctx, path); err != nil {
		t.Fatal(err)
	}
	<-waited
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", out.Process.Pid)); err != nil {
		t.Errorf("a process outside was killed: %v", err)
	}
}

func TestUsageAndAbsentGroups(t *testing.T) {
	tree, path := testGroup(t)
	if usage, err := tree.Usage(path); err != nil || usage.Memory > 64<<20 {
		t.Errorf("%+v, %v", usage, err)
	}
	if _, err := tree.Usage(path + "/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("usage of an absent group: %v", err)
	}
	if kills, err := tree.OOMKills(path + "/absent"); kills != 0 || err != nil {
		t.Errorf("%d, %v", kills, err)
	}
	if pids, err := tree.PIDs(path + "/absent"); len(pids) != 0 || err != nil {
		t.Errorf("%v, %v", pids, err)
	}
	if err := tree.Remove(path + "/absent"); err != nil {
		t.Error(err)
	}
	for _, root := range []string{"", "/", "/.", "//"} {
		if err := tree.Remove(root); err == nil {
			t.Errorf("removing %q was tried", root)
		}
	}
	names, err := tree.Children(filepath.Dir(path))
	if err != nil || !slices.Contains(names, filepath.Base(path)) {
		t.Errorf("children %v, %v", names, err)
	}
}

package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const statLine = "1234 (a) R (b) S 1 1234 1234 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 5 0 987654 1 2 3"

// A process names itself: brackets and spaces in it must not move the fields.
func TestStatIsReadPastTheName(t *testing.T) {
	state, start, err := parseStat(statLine)
	if state != 'S' || start != 987654 || err != nil {
		t.Errorf("%c %d %v", state, start, err)
	}
}

func FuzzParseStat(f *testing.F) {
	for _, seed := range []string{statLine, "", ")", "1 () Z", "1 (x) S 1 2 3", strings.Repeat(") ", 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if state, _, err := parseStat(text); err == nil && state == 0 {
			t.Error("no state and no error")
		}
	})
}

func FuzzInnermostPID(f *testing.F) {
	for _, seed := range []string{"Name:\tx\nNSpid:\t4321\t1\n", "NSpid:\n", "NSpid:\t-1", "NSpid:\t1\tx\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if pid, ok := innermostPID(text); ok && !strings.Contains(text, "NSpid:") {
			t.Errorf("%d out of nothing", pid)
		}
	})
}

func TestInnermostPID(t *testing.T) {
	if pid, ok := innermostPID("Name:\tgimp\nNStgid:\t9\t8\nNSpid:\t4321\t17\n"); pid != 17 || !ok {
		t.Error(pid, ok)
	}
}

// The bytes of Xau(3), written out: libXau and the X server must read the file.
func TestXauthEntryIsAsLibXauReadsIt(t *testing.T) {
	want := "\xff\xff\x00\x00\x00\x010\x00\x12MIT-MAGIC-COOKIE-1\x00\x100123456789abcdef"
	if got := xauthEntry([]byte("0123456789abcdef")); !bytes.Equal(got, []byte(want)) {
		t.Errorf("%q", got)
	}
}

func TestARunDirectoryThatSessionsCannotReachIsRefused(t *testing.T) {
	closed := filepath.Join(passableDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := prepareDirs(filepath.Join(closed, "s/s1"), 21000, 22000); err == nil || !strings.Contains(err.Error(), "chmod o+x "+closed) {
		t.Errorf("%v", err)
	}
}

// passableDir is a temporary directory that every user can enter: t.TempDir's parent may be closed.
func passableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "easel-runtime-dirs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRunDirectoryHasItsOwners(t *testing.T) {
	dir := filepath.Join(passableDir(t), "s/s1")
	if err := prepareDirs(dir, 21000, 22000); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := removeDirs(dir); err != nil {
			t.Error(err)
		}
	}()
	for name, want := range map[string]unix.Stat_t{
		".":          {Uid: 0, Gid: 0, Mode: 0o711},
		"x11":        {Uid: 21000, Gid: 21000, Mode: 0o711},
		"edge":       {Uid: 21000, Gid: 21000, Mode: 0o711},
		"worker":     {Uid: 22000, Gid: 22000, Mode: 0o700},
		"xauthority": {Uid: 21000, Gid: 22000, Mode: 0o440},
	} {
		var got unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &got); err != nil {
			t.Fatal(err)
		}
		if got.Uid != want.Uid || got.Gid != want.Gid || got.Mode&0o7777 != want.Mode {
			t.Errorf("%s: %d:%d %#o", name, got.Uid, got.Gid, got.Mode)
		}
	}
}

// Taking a session's directory away must never reach into a home that is still mounted there.
func TestRemoveDirsLeavesAMountedHomeWhole(t *testing.T) {
	real := filepath.Join(passableDir(t), "real")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "run") // the kernel lists mounts without links on the way
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(link, "s/s1")
	if err := prepareDirs(dir, 21000, 22000); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", home, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	picture := filepath.Join(home, "picture")
	if err := os.WriteFile(picture, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeDirs(dir); err == nil || !strings.Contains(err.Error(), "close the volume first") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(picture); err != nil {
		t.Errorf("the picture is gone: %v", err)
	}
	if err := unix.Unmount(home, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := removeDirs(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestProfileAllowsNoDeniedCall(t *testing.T) {
	profile := tighten(seccomp.DefaultProfile(&oci.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}))
	if profile.DefaultAction != specs.ActErrno || len(profile.Architectures) != 1 {
		t.Errorf("default %s, architectures %v", profile.DefaultAction, profile.Architectures)
	}
	seen := map[string]bool{}
	for _, rule := range profile.Syscalls {
		for _, name := range rule.Names {
			if slices.Contains(denied, name) && rule.Action == specs.ActAllow {
				t.Errorf("%s is allowed", name)
			}
			if name == "socket" && len(rule.Args) == 0 {
				t.Error("socket is allowed for every family")
			}
			seen[name] = true
		}
	}
	for _, name := range []string{"read", "write", "clone", "socket", "shmget", "memfd_create", "futex"} {
		if !seen[name] {
			t.Errorf("%s is not mentioned: nothing would run", name)
		}
	}
}

func TestDeviceOfIsAWholeDiskOrNothing(t *testing.T) {
	if got := DeviceOf("/proc"); got != "" {
		t.Errorf("/proc is on %q", got)
	}
	if got := DeviceOf("/absent/path"); got != "" {
		t.Errorf("an absent path is on %q", got)
	}
	if got := DeviceOf("/var/tmp"); got != "" {
		if _, err := os.Stat("/sys/dev/block/" + got + "/queue"); err != nil {
			t.Errorf("%s is no whole disk: %v", got, err)
		}
	}
}

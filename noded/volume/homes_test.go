package volume

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testSize = 32 << 20

// newHomes is on a path with a link in it, as /var/run is: the kernel lists mounts without.
func newHomes(t *testing.T) *Homes {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("homes are mounted: run the tests as root (sudo make test)")
	}
	dir := t.TempDir()
	for _, name := range []string{"state", "real-run", "real-run/s"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real-run", filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	h := &Homes{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), Size: testSize}
	t.Cleanup(func() {
		if err := h.Sweep(context.Background(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
		if mounts := mountsBelow(t, dir); len(mounts) > 0 {
			t.Errorf("still mounted: %v", mounts)
		}
		if loops := loopsBelow(t, dir); len(loops) > 0 {
			t.Errorf("still attached: %v", loops)
		}
	})
	return h
}

func (h *Homes) target(name string) string { return filepath.Join(h.RunDir, "s", name) }

func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, dir) {
			found = append(found, at)
		}
	}
	return found
}

func loopsBelow(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		found = nil
		files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(text), dir) {
				found = append(found, file)
			}
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return found
		}
	}
}

func open(t *testing.T, h *Homes, user, name string) string {
	t.Helper()
	if err := h.Open(t.Context(), user, h.target(name)); err != nil {
		t.Fatal(err)
	}
	return h.target(name)
}

func TestHomeKeepsItsFilesAndIsTheArtistsAlone(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	info, err := os.Stat(at)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != artist || st.Gid != artist || info.Mode().Perm() != 0o700 {
		t.Errorf("owner %d:%d, mode %v", st.Uid, st.Gid, info.Mode())
	}
	if entries, err := os.ReadDir(at); len(entries) > 0 || err != nil {
		t.Errorf("a new home holds %v, %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(at, "picture.xcf"), []byte("painted"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context(), "ada", at); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(at); len(entries) > 0 {
		t.Error("still mounted after Close")
	}
	again := open(t, h, "ada", "b")
	if got, err := os.ReadFile(filepath.Join(again, "picture.xcf")); string(got) != "painted" {
		t.Errorf("%q, %v", got, err)
	}
	other := open(t, h, "bob", "c")
	if _, err := os.Stat(filepath.Join(other, "picture.xcf")); err == nil {
		t.Error("another user sees it")
	}
}

func TestMountsGiveNoPrivileges(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		t.Fatal(err)
	}
	if st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		t.Errorf("mount flags %#x", st.Flags)
	}
}

func TestSessionsOfOneUserShareOneMount(t *testing.T) {
	h := newHomes(t)
	a, b := open(t, h, "ada", "a"), open(t, h, "ada", "b")
	open(t, h, "ada", "a") // a second time changes nothing
	if err := os.WriteFile(filepath.Join(a, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b, "f")); err != nil {
		t.Error(err)
	}
	if loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file"); len(attached(t, loops, h.StateDir)) != 1 {
		t.Errorf("loop devices: %v", loops)
	}
	if err := h.Close(t.Context(), "ada", a); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b, "f")); err != nil {
		t.Errorf("closing one session took the other's home: %v", err)
	}
	for range 2 {
		if err := h.Close(t.Context(), "ada", b); err != nil {
			t.Fatal(err)
		}
	}
	if loops := loopsBelow(t, filepath.Dir(h.StateDir)); len(loops) > 0 {
		t.Errorf("still attached: %v", loops)
	}
}

func attached(t *testing.T, files []string, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err != nil || !strings.HasPrefix(string(text), dir)
	})
}

func TestAFullHomeIsFullAndTheHostIsNot(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	file, err := os.Create(filepath.Join(at, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	written := 0
	for err == nil && written <= 2*testSize {
		var n int
		n, err = file.Write(make([]byte, 1<<20))
		written += n
	}
	if !errors.Is(err, unix.ENOSPC) || written > testSize {
		t.Errorf("%d bytes, %v", written, err)
	}
}

func TestSweepTakesWhatNoSessionHas(t *testing.T) {
	h := newHomes(t)
	keep, lost, alone := open(t, h, "ada", "keep"), open(t, h, "ada", "lost"), open(t, h, "bob", "alone")
	halfway := filepath.Join(h.StateDir, "homes", "eve.img"+halfMade)
	if err := os.WriteFile(halfway, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after := &Homes{StateDir: h.StateDir, RunDir: h.RunDir, Size: testSize} // another process's, after a crash
	if err := after.Sweep(t.Context(), func(target string) bool { return target == keep }); err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.EvalSymlinks(keep)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(h.StateDir)
	want := []string{filepath.Join(root, "real-run/homes/ada"), kept}
	if got := mountsBelow(t, root); !slices.Equal(got, want) {
		t.Errorf("mounted %v, want %v (not %s, %s)", got, want, lost, alone)
	}
	if _, err := os.Stat(halfway); err == nil {
		t.Error("a half-made image is still there")
	}
}

// A mount that someone still holds in another namespace keeps the loop device: a second one over the same image would destroy it.
func TestImageInUseElsewhereIsNotAttachedTwice(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	holder := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo held; exec sleep 60")
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context(), "ada", at); err != nil {
		t.Fatal(err)
	}
	open(t, h, "ada", "a")
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if got := attached(t, loops, h.StateDir); len(got) != 1 {
		t.Errorf("attached as %v", got)
	}
}

// A crash leaves the journal to be replayed, and a broken file system must be repaired or refused, not mounted as it is.
func TestDamagedImageIsRepairedOrRefused(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	if err := h.Close(t.Context(), "ada", at); err != nil {
		t.Fatal(err)
	}
	image := h.image("ada")
	if out, err := exec.Command("/usr/sbin/tune2fs", "-E", "force_fsck", image).CombinedOutput(); err != nil { // as if the kernel had seen an error
		t.Fatalf("%v\n%s", err, out)
	}
	if err := h.Open(t.Context(), "ada", at); err != nil {
		t.Fatalf("with the error flag: %v", err)
	}
	if err := h.Close(t.Context(), "ada", at); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(bytes.Repeat([]byte{0xff}, 1024), 1024); err != nil { // the superblock
		t.Fatal(err)
	}
	if err := h.Open(t.Context(), "ada", at); err == nil || !strings.Contains(err.Error(), "try: e2fsck") {
		t.Errorf("without a superblock: %v", err)
	}
	if mounts := mountsBelow(t, filepath.Dir(h.StateDir)); len(mounts) > 0 {
		t.Errorf("a refused home left %v", mounts)
	}
}

// An image as a crash of the machine leaves it: the journal is replayed.
func TestImageOfACrashOpens(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	if err := os.WriteFile(filepath.Join(at, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()); err != nil {
		t.Fatal(err)
	}
	live, err := os.ReadFile(h.image("ada"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.image("eve"), live, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(open(t, h, "eve", "e"), "f")); string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNamesCannotLeaveTheirDirectory(t *testing.T) {
	h := newHomes(t)
	for _, user := range []string{"", ".", "..", "../x", "a/b", "/etc", "a b", "a\nb", "a\x00b", ".hidden", strings.Repeat("u", 201)} {
		if err := h.Open(t.Context(), user, h.target("x")); err == nil {
			t.Errorf("opened for %q", user)
		}
		if err := h.Close(t.Context(), user, h.target("x")); err == nil {
			t.Errorf("closed for %q", user)
		}
	}
	if err := h.Open(t.Context(), "Ünï-code.user@example_1", h.target("x")); err != nil {
		t.Errorf("an honest name: %v", err)
	}
}

func TestAnImageThatIsALinkIsRefused(t *testing.T) {
	h := newHomes(t)
	if err := os.MkdirAll(filepath.Join(h.StateDir, "homes"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", h.image("ada")); err != nil {
		t.Fatal(err)
	}
	if err := h.Open(t.Context(), "ada", h.target("x")); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
}

func TestATargetWithSomethingElseIsRefused(t *testing.T) {
	h := newHomes(t)
	target := h.target("x")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(target, 0) }()
	if err := h.Open(t.Context(), "ada", target); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("%v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	h := newHomes(t)
	var all sync.WaitGroup
	for _, user := range []string{"ada", "bob", "ada", "bob"} {
		name := user + string(rune('a'+len(user)))
		all.Go(func() {
			for range 3 {
				if err := h.Open(t.Context(), user, h.target(name)); err != nil {
					t.Error(err)
				}
				if err := h.Close(t.Context(), user, h.target(name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestAFullDiskIsToldWhenAHomeIsOpened(t *testing.T) {
	h := newHomes(t)
	if err := unix.Mount("tmpfs", h.StateDir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(h.StateDir, unix.MNT_DETACH) }()
	if err := h.Open(t.Context(), "ada", h.target("x")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("%v", err)
	}
}

// A disk that is full under a home loses what was written to it last. A home that lost a directory so opens again with all else, and what
// lay in the directory in lost+found.
func TestHomeThatLostADirectoryIsRepaired(t *testing.T) {
	h := newHomes(t)
	at := open(t, h, "ada", "a")
	for name, text := range map[string]string{"kept": "kept", "sub/drawing": "drawn"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(at, name)), 0o700), os.WriteFile(filepath.Join(at, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Close(t.Context(), "ada", at); err != nil {
		t.Fatal(err)
	}
	image := h.image("ada")
	out, err := exec.Command("/usr/sbin/debugfs", "-R", "blocks /sub", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	block, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatalf("debugfs says %q: %v", out, err)
	}
	if err := zero(image, block); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-f", "-p", image).CombinedOutput(); err == nil {
		t.Fatalf("e2fsck asks no question, so nothing is tested: %s", out)
	}
	at = open(t, h, "ada", "a")
	if text, err := os.ReadFile(filepath.Join(at, "kept")); err != nil || string(text) != "kept" {
		t.Errorf("what was not damaged: %q, %v", text, err)
	}
	found, err := filepath.Glob(filepath.Join(at, "lost+found", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("lost+found holds %q, %v", found, err)
	}
	if text, err := os.ReadFile(found[0]); err != nil || string(text) != "drawn" {
		t.Errorf("the drawing of the lost directory: %q, %v", text, err)
	}
}

// zero loses a block of an image, and leaves the file system marked as one with errors, as the kernel does.
func zero(image string, block int64) error {
	out, err := exec.Command("/usr/sbin/dumpe2fs", "-h", image).Output()
	if err != nil {
		return err
	}
	size := int64(0)
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(line, "Block size:"); ok {
			if size, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
				return err
			}
		}
	}
	file, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteAt(make([]byte, size), block*size); err != nil {
		return err
	}
	return exec.Command("/usr/sbin/tune2fs", "-E", "force_fsck", image).Run()
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// machine is the host that this process runs on.
type machine struct{}

// mostRead bounds what is read of a file or a child's output.
const mostRead = 1 << 20

func (machine) ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mostRead))
}

func (machine) LookPath(name string) (string, error) { return exec.LookPath(name) }

func (machine) Kernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

func (machine) TryOverlay(ctx context.Context, dir string) error {
	return inScratch(dir, func(scratch string) error {
		for _, name := range []string{"lower", "upper", "work", "merged"} {
			if err := os.Mkdir(filepath.Join(scratch, name), 0o700); err != nil {
				return err
			}
		}
		return inMountNamespace(ctx, func() error {
			data := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", scratch)
			return unix.Mount("overlay", filepath.Join(scratch, "merged"), "overlay", 0, data)
		})
	})
}

// inScratch gives do a directory of its own below dir, and removes it.
func inScratch(dir string, do func(scratch string) error) error {
	scratch, err := os.MkdirTemp(existingParent(dir), ".easel-doctor-")
	if err != nil {
		return err
	}
	return errors.Join(do(scratch), os.RemoveAll(scratch))
}

func existingParent(dir string) string {
	for dir != "/" && dir != "." {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// inMountNamespace runs do on a thread with mounts of its own. The thread ends with it, so the kernel takes every mount
// away whatever happens.
func inMountNamespace(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not serve another goroutine
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			done <- fmt.Errorf("make a mount namespace: %w", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			done <- fmt.Errorf("keep its mounts private: %w", err)
			return
		}
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryUserNamespace makes one with the kind of uid range that sessions have.
func (machine) TryUserNamespace(ctx context.Context) error {
	return withUserNamespace(ctx, func(int) error { return nil })
}

// withUserNamespace calls do with the pid of a process that lives in a new user namespace and waits for its standard
// input to end.
func withUserNamespace(ctx context.Context, do func(pid int) error) error {
	cmd := exec.CommandContext(ctx, "cat")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 10000000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, stdin.Close())
	}
	err = do(cmd.Process.Pid)
	return errors.Join(err, stdin.Close(), cmd.Wait())
}

// TryIDMappedMount clones dir's mount and gives the clone other owners; it is attached nowhere, so it ends with its descriptor.
func (machine) TryIDMappedMount(ctx context.Context, dir string) error {
	return withUserNamespace(ctx, func(pid int) error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		if err != nil {
			return err
		}
		defer ns.Close()
		tree, err := unix.OpenTree(unix.AT_FDCWD, existingParent(dir), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("clone the mount: %w", err)
		}
		defer unix.Close(tree)
		return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	})
}

func (machine) TryLoop(context.Context) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	_, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	return err
}

func (machine) Containerd(ctx context.Context, address string) (string, error) {
	if _, err := os.Stat(address); err != nil {
		return "", err
	}
	c, err := client.New(address, client.WithTimeout(5*time.Second))
	if err != nil {
		return "", err
	}
	defer c.Close()
	version, err := c.Version(ctx)
	return version.Version, err
}

func (machine) Listen(network, address string) error {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

func (machine) NodedAnswers(socket string) bool {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

func (machine) DiskFree(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(existingParent(path), &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}

func (machine) StreamerProbe(ctx context.Context, path string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, append([]string{"probe"}, args...)...)
	if len(args) > 0 && os.Getuid() == 0 { // a card is opened by its device files
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(out) == 0 {
		return nil, fmt.Errorf("%w: %s", err, firstLine(exit.Stderr))
	}
	if errors.As(err, &exit) {
		// A probe that failed says why in its answer.
		err = nil
	}
	return out[:min(len(out), mostRead)], err
}

// nobody is the user and group that own nothing.
const nobody = 65534

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}

// ClockSynchronised asks adjtimex(2), which says TIME_ERROR while nothing disciplines the clock.
func (machine) ClockSynchronised() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, err
	}
	const timeError = 5
	return state != timeError, nil
}

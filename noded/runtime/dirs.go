package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// hostile are the directories that a container writes to. Each is a small tmpfs of its own, so that filling one fills nothing of the
// host's; sockets take an inode and no space.
var hostile = []string{"x11", "edge"}

const hostileOptions = "size=64k,nr_inodes=64,mode=0711"

// PrepareDirs makes the tree that the container and the worker meet in, with the owners and modes of ARCHITECTURE.md, and the
// X server's cookie. What exists is kept and put right.
func (r *Runtime) PrepareDirs(c Container) error {
	if err := prepareDirs(c.RunDir, int(c.UIDBase)+artistUID, int(c.UIDBase)+workerUID); err != nil {
		return fmt.Errorf("making the run directory of session %s: %w", c.ID, err)
	}
	return nil
}

func prepareDirs(runDir string, artist, worker int) error {
	if err := os.MkdirAll(filepath.Dir(runDir), 0o711); err != nil {
		return err
	}
	if err := makeDir(runDir, 0o711, 0); err != nil {
		return err
	}
	if err := checkPassable(runDir); err != nil {
		return err
	}
	for _, name := range hostile {
		dir := filepath.Join(runDir, name)
		if err := makeDir(dir, 0o711, artist); err != nil {
			return err
		}
		mounted, err := mountinfo.Mounted(dir)
		if err != nil {
			return fmt.Errorf("looking for a mount on %s: %w", dir, err)
		}
		if mounted {
			continue
		}
		options := fmt.Sprintf("%s,uid=%d,gid=%d", hostileOptions, artist, artist)
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
			return fmt.Errorf("mounting a tmpfs on %s: %w", dir, err)
		}
	}
	if err := makeDir(filepath.Join(runDir, "worker"), 0o700, worker); err != nil {
		return err
	}
	return writeXauthority(filepath.Join(runDir, "xauthority"), artist, worker)
}

// checkPassable finds a directory on the way that the session's users cannot enter: they would fail later, with less to say.
func checkPassable(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for real != "/" {
		real = filepath.Dir(real)
		info, err := os.Stat(real)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("unprivileged users cannot pass through %s, and a session's processes must (try: chmod o+x %s)", real, real)
		}
	}
	return nil
}

func makeDir(dir string, mode fs.FileMode, owner int) error {
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory: remove it", dir)
	}
	return errors.Join(os.Lchown(dir, owner, owner), os.Chmod(dir, mode)) // umask took from the mode
}

// RemoveDirs takes the tree away. Absent is success. A home volume that is still mounted there is an error and stays whole.
func (r *Runtime) RemoveDirs(runDir string) error {
	if err := removeDirs(runDir); err != nil {
		return fmt.Errorf("removing the run directory %s: %w", runDir, err)
	}
	return nil
}

func removeDirs(runDir string) error {
	for _, name := range hostile {
		dir := filepath.Join(runDir, name)
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted, or not there
			return fmt.Errorf("unmounting %s: %w", dir, err)
		}
	}
	real, err := filepath.EvalSymlinks(runDir) // as the kernel lists mounts
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("looking for mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted: close the volume first", mounts[0].Mountpoint)
	}
	if err := os.Remove(filepath.Join(runDir, "home")); err != nil && !errors.Is(err, fs.ErrNotExist) { // never what is in it
		return err
	}
	return os.RemoveAll(runDir)
}

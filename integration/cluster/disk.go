package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// diskSize is how large a node's state disk is: above the floor that noded keeps free, with room for homes. The file is sparse.
const diskSize = 2 << 30

// disk is a small disk that a node's state lies on: a file system in a file, so that it can be filled and stopped alone.
type disk struct{ image, at string }

func newDisk(ctx context.Context, image, at string) (*disk, error) {
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, diskSize); err != nil {
		return nil, err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", "-m", "0", image); err != nil {
		return nil, err
	}
	if err := command(ctx, "mount", "-o", "loop,noatime", image, at); err != nil {
		return nil, err
	}
	return &disk{image, at}, os.Chmod(at, 0o711)
}

// fill takes all room but a little.
func (d *disk) fill() error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.at, &st); err != nil {
		return err
	}
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	// Reserved, not written: quick, and the host's disk does not grow.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize); err != nil && !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("fill the disk at %s: %w", d.at, err)
	}
	// The last blocks one by one.
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (d *disk) free() error {
	if err := os.Remove(d.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) filler() string { return filepath.Join(d.at, "filler") }

// Requests of ioctl_fsfreeze: who writes waits until the thaw.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// freeze makes every write to the disk wait, as a disk that hangs does. One that is frozen is no error.
func (d *disk) freeze() error {
	if err := d.ioctl(fiFreeze); err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// thaw lets writes go on; a disk that is not frozen is no error.
func (d *disk) thaw() error {
	if err := d.ioctl(fiThaw); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// slow makes writes to the disk take up to half a second each, until the returned function is called.
func (d *disk) slow() (stop func() error) {
	ended, result := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := d.freeze(); err != nil {
				result <- err
				return
			}
			<-time.After(450 * time.Millisecond)
			if err := d.thaw(); err != nil {
				result <- err
				return
			}
			select {
			case <-ended:
				result <- nil
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() error {
		close(ended)
		return <-result
	}
}

func (d *disk) ioctl(request uint) error {
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), request, 0); err != nil {
		return fmt.Errorf("freeze or thaw the disk at %s: %w", d.at, err)
	}
	return nil
}

// mountsBelow are the mount points below a directory, the last made first.
func mountsBelow(dir string) ([]string, error) {
	out, err := exec.Command("findmnt", "-rno", "TARGET").Output()
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	found := slices.DeleteFunc(strings.Fields(string(out)), func(at string) bool { return !strings.HasPrefix(at, dir+"/") })
	slices.Reverse(found)
	return found, nil
}

// thawBelow lets a killed run's frozen disks go on: who waits for one could not be killed, nor the disk be unmounted.
func thawBelow(dir string) error {
	found, err := mountsBelow(dir)
	for _, at := range found {
		_ = (&disk{at: at}).thaw() // what is no file system of ours has no thaw
	}
	return err
}

func unmountBelow(dir string) error {
	found, err := mountsBelow(dir)
	errs := []error{err}
	for _, at := range found {
		errs = append(errs, unix.Unmount(at, unix.MNT_DETACH))
	}
	return errors.Join(errs...)
}

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// bundleTimeout is a little more than containerd gives its own cleaning (io.containerd.timeout.shim.cleanup).
const bundleTimeout = 7 * time.Second

// bundleOf is the directory that containerd has the container's root mounted in, "" when it has not.
func (r *Runtime) bundleOf(id string) (string, error) {
	root, err := r.mountedRoot(id)
	if root == "" {
		return "", err
	}
	return filepath.Dir(root), nil
}

// freeBundle waits until containerd has taken the container's root off the host, and bundle, where it was when the removal began. It does so
// by itself, but when a shim was killed it says that the task is gone before it has. What it does not take away in time is unmounted here;
// its directory goes at containerd's next start.
func (r *Runtime) freeBundle(ctx context.Context, id, bundle string) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		root, err := r.mountedRoot(id)
		if err != nil {
			return err
		}
		if root != "" {
			bundle = filepath.Dir(root)
		}
		if root == "" && gone(bundle) && gone(halfGone(bundle)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return r.forceBundle(id, root)
		case <-time.After(pause):
		}
	}
}

func (r *Runtime) forceBundle(id, root string) error {
	r.log.Warn("containerd left the root of an ended container mounted", "session", id, "root", root)
	if root == "" {
		return nil
	}
	if err := unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting the container's root %s: %w", root, err)
	}
	return nil
}

// mountedRoot is where containerd has mounted the container's root, "" when it has not.
func (r *Runtime) mountedRoot(id string) (string, error) {
	suffix := filepath.Join("/io.containerd.runtime.v2.task", r.namespace, id, "rootfs")
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasSuffix(m.Mountpoint, suffix), false
	})
	if err != nil {
		return "", fmt.Errorf("looking for the container's root: %w", err)
	}
	if len(mounts) == 0 {
		return "", nil
	}
	return mounts[0].Mountpoint, nil
}

// halfGone is the name that containerd gives a bundle while it removes it.
func halfGone(bundle string) string {
	if bundle == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(bundle), "."+filepath.Base(bundle))
}

func gone(path string) bool {
	if path == "" {
		return true
	}
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

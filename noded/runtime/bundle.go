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

const (
	// bundleTimeout is a little more than containerd gives its own cleaning (io.containerd.timeout.shim.cleanup).
	bundleTimeout = 7 * time.Second
	// labelBundles, of our namespace in containerd, is where containerd keeps the namespace's bundles. It tells nobody, and what it was half
	// way through removing when it was killed is mounted no more: only who has seen the place before finds that.
	labelBundles = "easel.bundles"
	bundlesOf    = "/io.containerd.runtime.v2.task/"
)

// bundles is the directory that containerd keeps a bundle for each task of ours in, "" while no task of ours was ever seen. A session whose
// root is mounted shows it, and it is written down before that root goes.
func (r *Runtime) bundles(ctx context.Context, id string) (string, error) {
	root, err := r.mountedRoot(id)
	if err != nil {
		return "", err
	}
	if root == "" {
		return r.knownBundles(ctx)
	}
	dir := filepath.Dir(filepath.Dir(root))
	if seen := r.seenBundles.Load(); seen != nil && *seen == dir {
		return dir, nil
	}
	if err := r.client.NamespaceService().SetLabel(ctx, r.namespace, labelBundles, dir); err != nil {
		return "", fmt.Errorf("writing down where containerd keeps its bundles: %w", err)
	}
	r.seenBundles.Store(&dir)
	return dir, nil
}

func (r *Runtime) knownBundles(ctx context.Context) (string, error) {
	if seen := r.seenBundles.Load(); seen != nil {
		return *seen, nil
	}
	labels, err := r.client.NamespaceService().Labels(ctx, r.namespace)
	if err != nil {
		return "", fmt.Errorf("looking where containerd keeps its bundles: %w", err)
	}
	dir := labels[labelBundles]
	if !filepath.IsAbs(dir) || !strings.HasSuffix(dir, bundlesOf+r.namespace) {
		return "", nil
	}
	r.seenBundles.Store(&dir)
	return dir, nil
}

// bundled are the ids of all sessions that there is a bundle of, or what is left of one.
func (r *Runtime) bundled(ctx context.Context) ([]string, error) {
	dir, err := r.knownBundles(ctx)
	if dir == "" {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing containerd's bundles: %w", err)
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, strings.TrimPrefix(e.Name(), "."))
	}
	return ids, nil
}

// freeBundle waits until containerd has taken away the ended container's bundle in dir, and its root off the host. It does so by itself, but
// when a shim was killed it says that the task is gone before it has. What it does not take away in time goes here, and so does at once what
// it never would: it renames a bundle to a hidden name before it removes it, and when it is killed then, it looks at hidden ones no more.
func (r *Runtime) freeBundle(ctx context.Context, id, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		root, err := r.mountedRoot(id)
		if err != nil {
			return err
		}
		if root != "" {
			dir = filepath.Dir(filepath.Dir(root))
		}
		if dir == "" {
			return nil
		}
		free := root == "" && gone(filepath.Join(dir, id)) // before the hidden one: it becomes that
		if err := removeBundle(filepath.Join(dir, "."+id)); err != nil || free {
			return err
		}
		select {
		case <-ctx.Done():
			r.log.Warn("containerd left the bundle of an ended container", "session", id, "bundle", filepath.Join(dir, id), "mounted", root != "")
			return removeBundle(filepath.Join(dir, id))
		case <-time.After(pause):
		}
	}
}

// removeBundle takes a bundle away that no shim works in. Absent is success.
func removeBundle(bundle string) error {
	root := filepath.Join(bundle, "rootfs")
	if err := unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmounting the container's root %s: %w", root, err)
	}
	if err := os.RemoveAll(bundle); err != nil {
		return fmt.Errorf("removing the bundle of an ended container: %w", err)
	}
	return nil
}

// mountedRoot is where containerd has mounted the container's root, "" when it has not.
func (r *Runtime) mountedRoot(id string) (string, error) {
	suffix := filepath.Join(bundlesOf, r.namespace, id, "rootfs")
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

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// Package volume keeps users' homes: each is one ext4 image of a fixed size, so that a user can fill a home and nothing else,
// mounted once however many sessions of the user there are.
package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Homes are the users' volumes. What is mounted is read from the kernel each time, never remembered: a crash leaves nothing to mend
// but what Sweep finds. One process at a time may use a StateDir.
type Homes struct {
	StateDir string // images are StateDir/homes/USER.img
	RunDir   string // and mounted at RunDir/homes/USER
	Size     int64  // bytes of a new image; it is sparse and takes what is used
	Log      *slog.Logger

	mu sync.Mutex
}

const (
	artist = 1000 // owner of a home on disk; an idmapped mount shows the files as the container's artist
	// spare is what must be free beside an image when it is opened: with less, writes to a home begin to fail inside the image.
	spare       = 64 << 20
	toolTimeout = 2 * time.Minute
	freeTimeout = 2 * time.Second
)

// ErrNoSpace is wrapped by an Open that the host's disk is too full for.
var ErrNoSpace = errors.New("the disk is full")

// Open mounts user's home at target, making image, file system and target where they are absent. Done already is success.
func (h *Homes) Open(ctx context.Context, user, target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.open(ctx, user, real(target)); err != nil {
		return fmt.Errorf("opening the home of %q at %s: %w", user, target, err)
	}
	return nil
}

func (h *Homes) open(ctx context.Context, user, target string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	at := h.mountpoint(user)
	if err := h.mount(ctx, h.image(user), at); err != nil {
		return errors.Join(err, h.release(ctx, at))
	}
	mounted, err := h.isHome(target, at)
	if err == nil && mounted {
		return nil
	}
	if err == nil {
		err = bind(at, target)
	}
	if err != nil {
		return errors.Join(err, h.release(ctx, at))
	}
	return nil
}

// Close unmounts target, and the home when target was the last session's. Absent is success.
func (h *Homes) Close(ctx context.Context, user, target string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := checkUser(user)
	if err == nil {
		err = unmount(real(target))
	}
	if err == nil {
		err = h.release(ctx, h.mountpoint(user))
	}
	if err != nil {
		return fmt.Errorf("closing the home of %q at %s: %w", user, target, err)
	}
	return nil
}

// HasProfile tells whether user may have a GIMP profile here. A home gets one when its first session starts GIMP, so who has a home is taken to
// have one: to look into it, it would have to be mounted.
func (h *Homes) HasProfile(user string) (bool, error) {
	if err := checkUser(user); err != nil {
		return false, err
	}
	_, err := os.Lstat(h.image(user))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err == nil, nil
	}
	return false, fmt.Errorf("looking for the home of %q: %w", user, err)
}

// Sweep unmounts every target that keep does not want, and every home that is left without a target: what a crash leaves.
func (h *Homes) Sweep(ctx context.Context, keep func(target string) bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.sweep(ctx, keep); err != nil {
		return fmt.Errorf("unmounting homes that no session has: %w", err)
	}
	return nil
}

func (h *Homes) sweep(ctx context.Context, keep func(target string) bool) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	var errs []error
	dir := filepath.Dir(h.mountpoint("user"))
	for _, home := range mounts {
		if filepath.Dir(home.Mountpoint) != dir {
			continue
		}
		for _, target := range targets(mounts, home) {
			name, ours := h.asConfigured(target)
			if ours && !keep(name) {
				h.log().Info("unmounting a home that no session has", "target", target)
				errs = append(errs, unmount(target))
			}
		}
		errs = append(errs, h.release(ctx, home.Mountpoint))
	}
	return errors.Join(append(errs, h.removeHalfMade())...)
}

// asConfigured is a mounted path as the caller spells it, which may go through links that the kernel does not list. A path outside RunDir was
// mounted by someone else.
func (h *Homes) asConfigured(at string) (string, bool) {
	inside, ok := strings.CutPrefix(at, filepath.Dir(filepath.Dir(h.mountpoint("user")))+"/")
	return filepath.Join(h.RunDir, inside), ok
}

// removeHalfMade takes away images whose making was cut short.
func (h *Homes) removeHalfMade() error {
	names, err := filepath.Glob(filepath.Join(h.StateDir, "homes", "*"+halfMade))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// release unmounts a home that has no target any more, and waits until its loop device is free: then the image may be checked,
// copied or deleted.
func (h *Homes) release(ctx context.Context, at string) error {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return err
	}
	home := find(mounts, at)
	if home == nil {
		return removeMountpoint(at)
	}
	if len(targets(mounts, home)) > 0 {
		return nil
	}
	if err := unmount(at); err != nil {
		return err
	}
	if err := removeMountpoint(at); err != nil {
		return err
	}
	// A container that is still ending may hold a copy of the mount; its end frees the device. Meanwhile Open finds the device again.
	if err := waitFree(ctx, h.image(filepath.Base(at)), freeTimeout); err != nil {
		h.log().Warn("a home's loop device is still in use", "home", at, "error", err)
	}
	return nil
}

func removeMountpoint(at string) error {
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) { // rmdir: never what is in it
		return err
	}
	return nil
}

func (h *Homes) image(user string) string { return filepath.Join(h.StateDir, "homes", user+".img") }

func (h *Homes) mountpoint(user string) string { return real(filepath.Join(h.RunDir, "homes", user)) }

func (h *Homes) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// checkUser keeps a name within its directory. What names there are is the caller's to decide.
func checkUser(user string) error {
	bad := func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f }
	if user == "" || len(user) > 200 || strings.HasPrefix(user, ".") || strings.ContainsFunc(user, bad) {
		return fmt.Errorf("%q is no name for a home: it must not be empty, begin with a dot, or hold a slash, a space or more than 200 bytes", user)
	}
	return nil
}

// isHome tells whether at's home is mounted on target; something else there is an error.
func (h *Homes) isHome(target, at string) (bool, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return false, err
	}
	there, home := find(mounts, target), find(mounts, at)
	if there == nil {
		return false, nil
	}
	if home == nil || there.Major != home.Major || there.Minor != home.Minor {
		return false, fmt.Errorf("something else is mounted there (%s): unmount it", there.Source)
	}
	return true, nil
}

// find is the uppermost mount on a path.
func find(mounts []*mountinfo.Info, at string) *mountinfo.Info {
	var found *mountinfo.Info
	for _, m := range mounts {
		if m.Mountpoint == at {
			found = m
		}
	}
	return found
}

// targets are the places where a home's file system is mounted beside its own.
func targets(mounts []*mountinfo.Info, home *mountinfo.Info) []string {
	var found []string
	for _, m := range mounts {
		if m.Major == home.Major && m.Minor == home.Minor && m.Mountpoint != home.Mountpoint {
			found = append(found, m.Mountpoint)
		}
	}
	return found
}

// real is the path as the kernel lists it when it is mounted on: without links on the way. The last part may not exist yet.
func real(path string) string {
	dir, name := filepath.Split(filepath.Clean(path))
	var missing []string
	for {
		resolved, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(append([]string{resolved}, append(missing, name)...)...)
		}
		missing = append([]string{filepath.Base(dir)}, missing...)
		if dir = filepath.Dir(filepath.Clean(dir)); dir == "/" || dir == "." {
			return filepath.Clean(path)
		}
	}
}

func bind(from, target string) error {
	if err := os.Mkdir(target, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := unix.Mount(from, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s there: %w", from, err)
	}
	return nil
}

// unmount takes every mount off a place. It does not wait for who is inside: the file system goes with its last user.
func unmount(at string) error {
	for range 8 { // one is usual; a stack of them is a crash's
		err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmounting %s: %w", at, err)
		}
	}
	return fmt.Errorf("unmounting %s: there is always another mount below", at)
}

package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const halfMade = ".new"

// mount puts the image on at, unless it is there already.
func (h *Homes) mount(ctx context.Context, image, at string) error {
	mounted, err := isMounted(at)
	if err != nil || mounted {
		return err
	}
	if err := h.makeDirs(at); err != nil {
		return err
	}
	if err := h.checkSpace(); err != nil {
		return err
	}
	if err := h.makeImage(ctx, image); err != nil {
		return err
	}
	device, err := h.attach(ctx, image)
	if err != nil {
		return err
	}
	defer device.Close() // autoclear: without a mount the device is gone with this
	// discard gives the host back what the artist deletes.
	if err := unix.Mount(device.Name(), at, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "discard,errors=remount-ro"); err != nil {
		return fmt.Errorf("mounting %s: %w (try: e2fsck -f %s)", image, err, image)
	}
	_ = os.Remove(filepath.Join(at, "lost+found")) // an artist has no use for it; e2fsck makes it again when it has, and then it is not empty
	return errors.Join(os.Chown(at, artist, artist), os.Chmod(at, 0o700))
}

func isMounted(at string) (bool, error) {
	mounted, err := mountinfo.Mounted(at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return mounted, err
}

func (h *Homes) makeDirs(at string) error {
	images := filepath.Join(h.StateDir, "homes")
	if err := errors.Join(os.MkdirAll(images, 0o700), os.MkdirAll(filepath.Dir(at), 0o700)); err != nil {
		return err
	}
	if err := os.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (h *Homes) checkSpace() error {
	dir := filepath.Join(h.StateDir, "homes")
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("asking how full %s is: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < spare {
		return fmt.Errorf("%s has %d MiB free, and a home needs %d MiB: free some or move state_dir: %w", dir, free>>20, int64(spare)>>20, ErrNoSpace)
	}
	return nil
}

// makeImage makes the image whole or not at all.
func (h *Homes) makeImage(ctx context.Context, image string) error {
	if info, err := os.Lstat(image); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file: move it away", image)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeSparse(image+halfMade, h.Size); err != nil {
		return fmt.Errorf("making %s: %w", image, err)
	}
	// No block is kept for root (-m 0), inode tables are written as they are needed, and the root directory is the artist's.
	mkfs := []string{"-q", "-F", "-m", "0", "-E", fmt.Sprintf("lazy_itable_init=1,lazy_journal_init=1,root_owner=%d:%d", artist, artist), image + halfMade}
	if _, err := runTool(ctx, "mkfs.ext4", mkfs...); err != nil {
		return errors.Join(fmt.Errorf("making %s: %w", image, err), os.Remove(image+halfMade))
	}
	return os.Rename(image+halfMade, image)
}

func makeSparse(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

// attach gives the image's loop device. One that is still attached, by a container that has not ended, is used again: two devices
// over one image would destroy it. Otherwise the file system is checked first.
func (h *Homes) attach(ctx context.Context, image string) (*os.File, error) {
	device, err := findLoop(image)
	if err != nil || device != nil {
		return device, err
	}
	if err := h.check(ctx, image); err != nil {
		return nil, err
	}
	return newLoop(image)
}

// What e2fsck(8) ends with.
const (
	fsckRepaired = 1
	fsckReboot   = 2
	fsckErrors   = 4 // left as they are
)

// check makes the file system whole. It is quick for a clean one, and replays the journal of one that was cut off. What needs a question,
// because writes were lost on a full disk, is answered with yes: what then belongs nowhere is in lost+found, and an artist who
// waits for an operator to say the same would have no home at all.
func (h *Homes) check(ctx context.Context, image string) error {
	code, err := runTool(ctx, "e2fsck", "-p", image)
	if code > 0 && code&fsckErrors != 0 {
		h.log().Warn("a home's file system is damaged, and is repaired", "image", image, "found", err)
		code, err = runTool(ctx, "e2fsck", "-f", "-y", image)
	}
	if code > 0 && code&^(fsckRepaired|fsckReboot) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w (try: e2fsck -f %s)", image, err, image)
	}
	return nil
}

func runTool(ctx context.Context, name string, args ...string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	path, err := findTool(name)
	if err != nil {
		return -1, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(output.Bytes()))
	}
	return cmd.ProcessState.ExitCode(), err
}

// findTool looks where system tools are: a service's PATH may lack them.
func findTool(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: install the package e2fsprogs", name)
}

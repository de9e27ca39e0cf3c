package sound

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenPipe opens the FIFO that a session's sound server writes to, by a way that the container can't bend: no link is followed, and what is not a
// FIFO of the session's own user is not read. Opening it waits for nobody.
func OpenPipe(dir, name string, uid uint32) (*os.File, error) {
	path := filepath.Join(dir, name)
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(at)
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	switch err := unix.Fstat(fd, &st); {
	case err != nil:
		err = fmt.Errorf("look at %s: %w", path, err)
		_ = unix.Close(fd)
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFIFO:
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open %s: it is no FIFO", path)
	case uid != 0 && st.Uid != uid:
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open %s: it is user %d's, want the session's, %d", path, st.Uid, uid)
	}
	return os.NewFile(uintptr(fd), path), nil
}

package files

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"easel/pkg/homefiles"
)

// tree is the artist's home. Each use opens it anew, because another may have been mounted over it meanwhile. Nothing outside is ever
// reached: no link is followed, whoever else changes the home at the same moment.
type tree struct{ home string }

// root opens the home itself.
func (t tree) root() (*os.File, error) {
	fd, err := unix.Open(t.home, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the home: %w", err)
	}
	return os.NewFile(uintptr(fd), t.home), nil
}

// open opens what lies at path, by flags that are O_NOFOLLOW and O_NONBLOCK besides: a pipe keeps nobody.
func (t tree) open(path homefiles.Path, flags int, mode uint32) (*os.File, error) {
	root, err := t.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := string(path)
	if name == "" {
		name = "."
	}
	flags |= unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := beneath(int(root.Fd()), name, flags, mode)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// beneath is openat2 below dir without any link, or the same step by step on a kernel or under a filter that has no openat2.
func beneath(dir int, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(mode)
	}
	const tries = 64
	for try := 1; ; try++ {
		fd, err := unix.Openat2(dir, name, &how)
		switch {
		case (errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN)) && try < tries: // something was renamed meanwhile
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			return step(dir, name, flags, mode)
		}
		return fd, err
	}
}

// step opens one folder after the other. A path by the rules has no ".." to climb by.
func step(dir int, name string, flags int, mode uint32) (int, error) {
	at := dir
	defer func() {
		if at != dir {
			unix.Close(at)
		}
	}()
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		next, err := unix.Openat(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != dir {
			unix.Close(at)
		}
		if at = next; err != nil {
			at = dir
			return -1, err
		}
	}
	return unix.Openat(at, parts[len(parts)-1], flags, mode)
}

// errNotRegular is wrapped where something lies that is neither file nor folder.
var errNotRegular = errors.New("it is no plain file")

// file opens a plain file to read.
func (t tree) file(path homefiles.Path) (*os.File, os.FileInfo, error) {
	f, err := t.open(path, unix.O_RDONLY, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ELOOP) { // a socket, a link
		return nil, nil, errNotRegular
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// free is how many bytes the artist may still write.
func (t tree) free() (int64, error) {
	root, err := t.root()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &st); err != nil {
		return 0, fmt.Errorf("ask how full the home is: %w", err)
	}
	return int64(min(st.Bavail, 1<<50/uint64(max(1, st.Bsize)))) * st.Bsize, nil
}

// Package safesocket opens unix sockets that a hostile peer cannot redirect: who may write to a directory may put a
// link, a FIFO or another's socket where a socket is expected, and a plain dial would follow it.
package safesocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The kinds of socket that Dial and Listen know, as package net names them.
const (
	Stream    = "unix"
	SeqPacket = "unixpacket"
)

// ErrUnsafe is wrapped by every refusal of something that lies where a socket should and is not to be trusted.
var ErrUnsafe = errors.New("not a socket of the directory's owner")

// Dial connects to the socket name in dir, which its owner may be writing to at the same moment. The socket must lie in
// dir itself, be no link, and belong to whoever owns dir. What is checked is what is connected to, whatever name points
// to by then. dir's own path must be trusted. The path may be longer than a socket address holds.
func Dial(ctx context.Context, network, dir, name string) (*net.UnixConn, error) {
	if _, err := socketType(network); err != nil {
		return nil, err
	}
	file, err := open(dir, name)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", filepath.Join(dir, name), err)
	}
	defer file.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, procPath(file))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", filepath.Join(dir, name), withoutAddress(err))
	}
	return conn.(*net.UnixConn), nil
}

// Listen makes the socket path with that mode and owner and listens on it. Nobody can connect before mode and owner are
// set. A socket left there by an earlier process is replaced; anything else is an error. Closing the listener leaves the
// file: the next Listen, or whoever owns the directory, takes it away.
func Listen(network, path string, mode fs.FileMode, uid, gid int) (*net.UnixListener, error) {
	listener, err := listen(network, path, mode, uid, gid)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return listener, nil
}

// PeerUID is the user at the other end, as the kernel recorded it when the connection was made.
func PeerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("asking for the peer's user: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("asking for the peer's user: %w", err)
	}
	if credErr != nil {
		return 0, fmt.Errorf("asking for the peer's user: %w", credErr)
	}
	return cred.Uid, nil
}

// open holds the socket itself, without connecting to it.
func open(dir, name string) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is no name of a file: %w", name, ErrUnsafe)
	}
	parent, owner, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		file.Close()
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Uid != owner {
		file.Close()
		return nil, fmt.Errorf("mode %#o, owner %d: %w", st.Mode, st.Uid, ErrUnsafe)
	}
	return file, nil
}

func openDir(dir string) (*os.File, uint32, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("opening its directory: %w", err)
	}
	file := os.NewFile(uintptr(fd), dir)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("opening its directory: %w", err)
	}
	return file, st.Uid, nil
}

func listen(network, path string, mode fs.FileMode, uid, gid int) (*net.UnixListener, error) {
	kind, err := socketType(network)
	if err != nil {
		return nil, err
	}
	dir, _, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	name := filepath.Base(path)
	if err := removeStale(dir, name); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	at := filepath.Join(procPath(dir), name)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: at}); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Lchown(at, uid, gid), os.Chmod(at, mode)); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, err
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	return listener.(*net.UnixListener), nil
}

func removeStale(dir *os.File, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("something that is no socket lies there (mode %#o): remove it first", st.Mode)
	}
	return unix.Unlinkat(int(dir.Fd()), name, 0)
}

// procPath names an open file by its descriptor, so that no name is looked up a second time.
func procPath(f *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd())
}

func socketType(network string) (int, error) {
	switch network {
	case Stream:
		return unix.SOCK_STREAM, nil
	case SeqPacket:
		return unix.SOCK_SEQPACKET, nil
	}
	return 0, fmt.Errorf("unknown kind of unix socket %q: use %q or %q", network, Stream, SeqPacket)
}

// withoutAddress drops net's mention of the descriptor path, which says nothing to a reader.
func withoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

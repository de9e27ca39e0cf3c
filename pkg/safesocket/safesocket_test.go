package safesocket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func serve(t *testing.T, network, path, says string) {
	t.Helper()
	l, err := Listen(network, path, 0o666, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(says))
			conn.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		done.Wait()
	})
}

func heard(t *testing.T, network, dir, name string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := Dial(ctx, network, dir, name)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n]), nil
}

func TestDialReachesTheSocketInTheDirectory(t *testing.T) {
	for _, network := range []string{Stream, SeqPacket} {
		t.Run(network, func(t *testing.T) {
			dir := t.TempDir()
			serve(t, network, filepath.Join(dir, "a.sock"), "hello")
			got, err := heard(t, network, dir, "a.sock")
			if err != nil || got != "hello" {
				t.Fatalf("got %q, %v", got, err)
			}
		})
	}
}

func TestPathsLongerThanASocketAddressWork(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	serve(t, Stream, filepath.Join(dir, "a.sock"), "far")
	if got, err := heard(t, Stream, dir, "a.sock"); err != nil || got != "far" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestDialRefusesWhatIsNotASocketOfTheOwner(t *testing.T) {
	host := t.TempDir()
	serve(t, Stream, filepath.Join(host, "host.sock"), "secret")
	cases := map[string]func(dir string) error{
		"link to another socket": func(dir string) error {
			return os.Symlink(filepath.Join(host, "host.sock"), filepath.Join(dir, "a.sock"))
		},
		"FIFO":         func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "a.sock"), 0o666) },
		"regular file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.sock"), []byte("x"), 0o666) },
		"directory":    func(dir string) error { return os.Mkdir(filepath.Join(dir, "a.sock"), 0o777) },
		"hard link of another owner's socket": func(dir string) error {
			if err := os.Link(filepath.Join(host, "host.sock"), filepath.Join(dir, "a.sock")); err != nil {
				return err
			}
			return os.Chown(dir, 12345, 12345)
		},
	}
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(filepath.Dir(host), "hostile-"+strings.ReplaceAll(name, " ", "-"))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Dial(t.Context(), Stream, dir, "a.sock")
			if err == nil {
				t.Fatal("connected")
			}
			if !errors.Is(err, ErrUnsafe) && !errors.Is(err, unix.ELOOP) {
				t.Fatalf("refused for another reason: %v", err)
			}
		})
	}
}

func TestDialRefusesALinkInPlaceOfTheDirectoryAndNamesWithASlash(t *testing.T) {
	host := t.TempDir()
	serve(t, Stream, filepath.Join(host, "host.sock"), "secret")
	link := filepath.Join(t.TempDir(), "edge")
	if err := os.Symlink(host, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), Stream, link, "host.sock"); err == nil {
		t.Error("a link to a directory was followed")
	}
	for _, name := range []string{"", ".", "..", "../x/host.sock", "/etc/passwd"} {
		if _, err := Dial(t.Context(), Stream, host, name); !errors.Is(err, ErrUnsafe) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

// A peer that swaps its socket for a link to a host's as fast as it can must never get the host's.
func TestSwappedLinkIsNeverFollowed(t *testing.T) {
	host, dir := t.TempDir(), t.TempDir()
	serve(t, Stream, filepath.Join(host, "host.sock"), "secret")
	serve(t, Stream, filepath.Join(dir, "real"), "own")
	if err := os.Symlink(filepath.Join(host, "host.sock"), filepath.Join(dir, "evil")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var swapper sync.WaitGroup
	swapper.Go(func() {
		tmp, at := filepath.Join(dir, "tmp"), filepath.Join(dir, "a.sock")
		for ctx.Err() == nil {
			for _, from := range []string{"real", "evil"} {
				_ = os.Link(filepath.Join(dir, from), tmp)
				_ = os.Rename(tmp, at)
				_ = os.Remove(tmp)
			}
		}
	})
	defer swapper.Wait()
	defer cancel()
	own := 0
	for range 500 {
		got, err := heard(t, Stream, dir, "a.sock")
		if got == "secret" {
			t.Fatal("followed the link to the host's socket")
		}
		if err == nil {
			own++
		}
	}
	if own == 0 {
		t.Error("never reached the real socket: the test proved nothing")
	}
}

func TestListenSetsModeAndOwnerAndReplacesOnlyASocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	for range 2 {
		l, err := Listen(Stream, path, 0o640, 1234, 4321)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFSOCK|0o640 || st.Uid != 1234 || st.Gid != 4321 {
		t.Errorf("mode %#o owner %d:%d", st.Mode, st.Uid, st.Gid)
	}
	other := filepath.Join(dir, "file")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Stream, other, 0o600, 0, 0); err == nil {
		t.Error("took the place of a regular file")
	}
}

func TestPeerUIDIsTheOtherEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := Listen(Stream, path, 0o600, os.Getuid(), os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial(Stream, path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	uid, err := PeerUID(conn.(*net.UnixConn))
	if err != nil || uid != uint32(os.Getuid()) {
		t.Errorf("uid %d, %v", uid, err)
	}
}

func TestUnknownNetworkIsRefused(t *testing.T) {
	if _, err := Dial(t.Context(), "unixgram", t.TempDir(), "a"); err == nil {
		t.Error("dialled a datagram socket")
	}
	if _, err := Listen("tcp", filepath.Join(t.TempDir(), "a"), 0o600, 0, 0); err == nil {
		t.Error("listened on tcp")
	}
}

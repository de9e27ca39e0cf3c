package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSocketIsReadyOnceSomethingListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnc.sock")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- listens(path)(ctx, command{}) }()

	// A name without a listener is not enough.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-result:
		t.Fatalf("ready before anything listens (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func TestWaitForASocketIsNoClientOfIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vnc.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := listens(path)(t.Context(), command{}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("somebody connected (%v)", err)
	}
}

func TestWaitForASocketEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := listens(filepath.Join(t.TempDir(), "never"))(ctx, command{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := listens("/nonexistent/dir/sock")(t.Context(), command{}); err == nil {
		t.Error("a directory that is not there was watched")
	}
}

func TestLineInThePipeMeansReady(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		says string // in the error; empty: ready
	}{
		"line": {"0\n", ""}, "closed": {"", "closed its pipe"}, "half a line": {"0", "closed its pipe"}, "endless line": {strings.Repeat("0", 5000), "closed its pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			if _, err := write.WriteString(c.text); err != nil {
				t.Fatal(err)
			}
			write.Close()
			err = saidSomething(t.Context(), command{read: read})
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestSilentPipeEndsWithItsContext(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := saidSomething(ctx, command{read: read}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// saidSomething returns when the program has written a line to the pipe that it was given.
func saidSomething(ctx context.Context, c command) error {
	stop := context.AfterFunc(ctx, func() { _ = c.read.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(c.read, 4096)).ReadString('\n')
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("it closed its pipe after %q: %w", line, err)
	}
	return nil
}

// listens returns a ready that waits until something listens at the unix socket path. It does not connect: a server would take that for a client.
func listens(path string) func(context.Context, command) error {
	return func(ctx context.Context, _ command) error {
		appeared, err := watchDir(ctx, filepath.Dir(path))
		if err != nil {
			return err
		}
		for {
			on, err := isListening(path)
			if err != nil {
				return err
			}
			if on {
				return nil
			}
			// A socket has its name before it listens, and no event tells of the second: hence the short wait.
			var soon <-chan time.Time
			if _, err := os.Stat(path); err == nil {
				soon = time.After(2 * time.Millisecond)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("nothing listens at %s: %w", path, ctx.Err())
			case <-appeared:
			case <-soon:
			}
		}
	}
}

// isListening looks the socket up in the kernel's list (proc_net_unix: flags are the fourth field, 0x10000 is __SO_ACCEPTCON).
func isListening(path string) (bool, error) {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false, fmt.Errorf("look for listening sockets: %w", err)
	}
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) == 8 && f[7] == path && f[3] == "00010000" {
			return true, nil
		}
	}
	return false, nil
}

// watchDir gives a token whenever an entry appears in dir, until ctx ends.
func watchDir(ctx context.Context, dir string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { f.Close() }) // which ends the goroutine below
	appeared := make(chan struct{}, 1)
	go func() {
		events := make([]byte, 4096)
		for {
			if _, err := f.Read(events); err != nil {
				return
			}
			select {
			case appeared <- struct{}{}:
			default:
			}
		}
	}()
	return appeared, nil
}

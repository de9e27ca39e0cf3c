package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// How far a warm container gets before its artist has come: to GIMP with the image's profile, or to all but GIMP.
const (
	warmReady   = "ready"
	warmDesktop = "desktop"
)

// mostCarried bounds a file that goes along into the artist's home, in bytes. What is larger is GIMP's swap, which it has open.
const mostCarried = 4 << 20

// arrival is the artist's coming to a container that was started before: the home is mounted over the one that it began in, and SIGUSR1 says so.
type arrival struct {
	warm   string
	home   string
	before *os.Root // the home that it began in
	signal chan os.Signal
	came   chan struct{} // closed when the home is the artist's and fit to work in
}

// expectArtist must come before anything says that the container is up: a signal that nobody expects is lost.
func expectArtist(warm, home string) (*arrival, error) {
	switch warm {
	case "", warmReady, warmDesktop:
	default:
		return nil, fmt.Errorf("EASEL_WARM is %q: must be empty, %q or %q", warm, warmReady, warmDesktop)
	}
	a := &arrival{warm: warm, home: home, came: make(chan struct{})}
	if warm == "" {
		close(a.came)
		return a, nil
	}
	var err error
	if a.before, err = os.OpenRoot(home); err != nil {
		return nil, fmt.Errorf("open the home that the session begins in: %w", err)
	}
	a.signal = make(chan os.Signal, 1)
	signal.Notify(a.signal, unix.SIGUSR1)
	return a, nil
}

// wait returns when the artist has come, or ctx ends.
func (a *arrival) wait(ctx context.Context, moveIn func() error) error {
	if a.warm == "" {
		return nil
	}
	defer a.before.Close()
	defer signal.Stop(a.signal)
	select {
	case <-ctx.Done():
		return nil
	case <-a.signal:
	}
	defer close(a.came) // with a home that is not all as it should be GIMP still serves
	return moveIn()
}

// moveIn makes the artist's home fit for what runs already.
func (s *session) moveIn() error {
	if s.arrival.warm != warmReady {
		return nil
	}
	profile := s.profile()
	if _, err := os.Stat(profile); err == nil {
		// The node took the artist for one without a profile. GIMP would go on with settings that are not theirs, and write them over
		// theirs at its end: so it ends without a word, and starts again with theirs.
		s.log.Warn("the artist has a profile after all: GIMP is started again with it")
		return s.killGIMP()
	}
	if err := furnish(s.paths.profile, profile); err != nil {
		return err
	}
	return carry(s.arrival.before.FS(), s.arrival.home)
}

func (s *session) killGIMP() error {
	r, _ := s.board.snapshot()
	if r.GIMP.Pid <= 0 {
		return nil // it does not run: its next start finds the profile
	}
	if err := unix.Kill(-r.GIMP.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end GIMP: %w", err)
	}
	return nil
}

// carry copies into home what is not there of what the session's programs have made in the home that they began in: they know their
// directories by name and expect them to stay.
func carry(from fs.FS, home string) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("carry %s into the home: %w", name, err)
		}
		target := filepath.Join(home, name)
		if d.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else {
			err = carryFile(from, name, target, d)
		}
		if err != nil {
			return fmt.Errorf("carry %s into the home: %w", name, err)
		}
		return nil
	})
}

func carryFile(from fs.FS, name, target string, d fs.DirEntry) error {
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > mostCarried) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := fs.ReadFile(from, name)
	if err != nil {
		return err
	}
	return replaceFile(target, text)
}

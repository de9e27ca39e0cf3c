package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// endDeadline bounds how long a running stack may take to end when End asks it.
const endDeadline = 90 * time.Second

// End ends the stack on a containerd root, whether it runs now or was killed, and says each thing it does. program is the
// base name of the executable that it may ask to end: a test's stack is left to its test. What is not there is no error.
func End(ctx context.Context, root, program string, say func(string)) error {
	if _, err := os.Stat(root + ".lock"); errors.Is(err, os.ErrNotExist) {
		say("no Easel has been started on " + root)
		return nil
	}
	l, previous, err := acquire(root + ".lock")
	if errors.Is(err, ErrInUse) {
		if err := askToEnd(previous, program, say); err != nil {
			return err
		}
		l, previous, err = awaitLock(ctx, root+".lock")
	}
	if err != nil {
		return err
	}
	return errors.Join(sweep(ctx, l, previous, say), l.release())
}

// sweep removes what a killed stack left, and clears its record.
func sweep(ctx context.Context, l *lock, rec record, say func(string)) error {
	if rec.Dir == "" {
		say("nothing of Easel runs on this machine")
		return nil
	}
	left, err := findLeftovers(rec)
	if err != nil {
		return err
	}
	for _, what := range left.list(true) {
		say("removing " + what)
	}
	if err := left.remove(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(rec.RunDir); err != nil {
		return err
	}
	say("removed the run directory " + rec.RunDir)
	return l.write(record{})
}

func askToEnd(rec record, program string, say func(string)) error {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", rec.Owner))
	if err != nil {
		// It has ended between the two looks.
		return nil
	}
	if name := filepath.Base(exe); name != program && name != program+" (deleted)" {
		return fmt.Errorf("%w: process %d (%s) runs the stack in %s; end that one by its own means", ErrInUse, rec.Owner, exe, rec.Dir)
	}
	say(fmt.Sprintf("asking process %d to end its sessions and daemons (%s)", rec.Owner, rec.Dir))
	if err := syscall.Kill(rec.Owner, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ask process %d to end: %w", rec.Owner, err)
	}
	return nil
}

// awaitLock takes the lock when its holder has gone. flock(2) cannot wait with a deadline, so this asks again.
func awaitLock(ctx context.Context, path string) (*lock, record, error) {
	ctx, cancel := context.WithTimeout(ctx, endDeadline)
	defer cancel()
	for {
		l, previous, err := acquire(path)
		if !errors.Is(err, ErrInUse) {
			return l, previous, err
		}
		select {
		case <-ctx.Done():
			return nil, previous, fmt.Errorf("it has not ended within %s: %w", endDeadline, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

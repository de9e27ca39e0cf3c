package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Errand is a short run of a program of ours, which holds nothing of any session: as nobody, and confined as a worker is.
type Errand struct {
	Path string
	Args []string // without the program's name
	Most int      // bytes of its output that are kept
}

const (
	nobody = 65534
	// errandDrain is how long the end of a killed errand's output is waited for.
	errandDrain = 2 * time.Second
	errandSays  = 500 // bytes of what it complains of
)

// RunErrand runs it to its end, and kills it when ctx ends before or we die. What it printed is returned also when it failed.
func RunErrand(ctx context.Context, e Errand) ([]byte, error) {
	argv := append(append(slices.Clone(limited), e.Path), e.Args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, complaint := &head{most: e.Most}, &head{most: errandSays}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = "/", workerEnvironment(), out, complaint, errandDrain
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	var err error
	onOwnThread(func() { // which is confined for good, and which must live as long as the errand: Pdeathsig is of the thread
		if err = confineThread(); err != nil {
			return
		}
		if err = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
			err = fmt.Errorf("keeping open files from it: %w", err)
			return
		}
		err = cmd.Run()
	})
	switch {
	case err == nil:
		return out.kept, nil
	case ctx.Err() != nil:
		err = fmt.Errorf("it did not end in time: %w", context.Cause(ctx))
	case len(complaint.kept) > 0:
		err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.kept))
	}
	return out.kept, fmt.Errorf("running %s: %w", e.Path, err)
}

// head keeps the first bytes of what is written, and takes the rest.
type head struct {
	kept []byte
	most int
}

func (h *head) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b[:min(len(b), h.most-len(h.kept))]...)
	return len(b), nil
}

// Failed tells whether the program itself ended badly, of a fault or by its own will, and was not only too slow or never begun.
func Failed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

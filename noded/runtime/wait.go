package runtime

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// Exit is the end of a container's init.
type Exit struct {
	Code uint32
	At   time.Time
	OOM  bool // something in the container was killed for memory
	Gone bool // neither task nor exit code were left to ask
}

// Wait gives the end of the session's init, once, and closes the channel; it closes it without one when ctx ends or the
// Runtime is closed. A restart of containerd is waited through. A container that is absent, or never started, is an Exit with Gone.
func (r *Runtime) Wait(ctx context.Context, id string) (<-chan Exit, error) {
	if _, err := r.Task(ctx, id); err != nil {
		return nil, err
	}
	exits := make(chan Exit, 1)
	r.watchers.Go(func() {
		defer close(exits)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(r.stop, cancel)()
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			exit, err := r.waitOnce(ctx, id)
			if err == nil {
				exits <- exit
				return
			}
			if ctx.Err() != nil {
				return
			}
			r.log.Warn("watching a session's container was interrupted; trying again", "session", id, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	})
	return exits, nil
}

// waitOnce ends with an error when containerd does, or when ctx does.
func (r *Runtime) waitOnce(ctx context.Context, id string) (Exit, error) {
	container, err := r.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return Exit{Gone: true, At: time.Now()}, nil
	}
	if err != nil {
		return Exit{}, fmt.Errorf("loading the container: %w", err)
	}
	task, err := container.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return Exit{Gone: true, At: time.Now(), OOM: r.oomKilled(ctx, container)}, nil
	}
	if err != nil {
		return Exit{}, fmt.Errorf("loading the task: %w", err)
	}
	ended, err := task.Wait(ctx)
	if errdefs.IsNotFound(err) {
		return Exit{Gone: true, At: time.Now(), OOM: r.oomKilled(ctx, container)}, nil
	}
	if err != nil {
		return Exit{}, fmt.Errorf("watching the task: %w", err)
	}
	select {
	case <-ctx.Done():
		return Exit{}, context.Cause(ctx)
	case status := <-ended:
		code, at, err := status.Result()
		if errdefs.IsNotFound(err) {
			return Exit{Gone: true, At: time.Now(), OOM: r.oomKilled(ctx, container)}, nil
		}
		if err != nil {
			return Exit{}, fmt.Errorf("watching the task: %w", err)
		}
		return Exit{Code: code, At: at, OOM: r.oomKilled(ctx, container)}, nil
	}
}

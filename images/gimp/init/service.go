package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// service is one program that belongs to the session for as long as the session lives.
type service struct {
	name  string
	after []string // services that must be running before it can start
	// await returns when it may start, or ctx ends; fails is how often in a row it has ended. Nil when it need not wait.
	await func(ctx context.Context, fails int)

	// prepare readies what the program needs and says what to run. It is called before each start; the files are closed after it.
	prepare func() (command, error)

	// ready returns when the program can be used; its context ends when the program does.
	ready    func(ctx context.Context, c command) error
	patience time.Duration // how long ready may take

	// ask asks the program to end in its own way; nil when it has no way but SIGTERM.
	ask   func() error
	asked time.Duration // how long it may take over that
	grace time.Duration // how long between SIGTERM and SIGKILL
}

// command is a program with its arguments and what it inherits.
type command struct {
	path  string
	args  []string
	env   []string
	files []*os.File // descriptors 3 and up
	read  *os.File   // our end of a pipe among files; nil when there is none
}

func (c command) close() {
	for _, f := range c.files {
		f.Close()
	}
}

// limits of restarting. A program that ran for steady is well again; one that dies mostFails times without that is given up.
type limits struct {
	firstWait, longestWait time.Duration
	steady                 time.Duration
	mostFails              int
}

var usualLimits = limits{firstWait: 100 * time.Millisecond, longestWait: 5 * time.Second, steady: 20 * time.Second, mostFails: 10}

// quitByHand is what a program that ends well must have lasted for that to be somebody's wish.
const quitByHand = time.Second

// wait is the time before the next start after so many failures in a row.
func (l limits) wait(fails int) time.Duration {
	d := l.firstWait
	for range fails - 1 {
		if d *= 2; d >= l.longestWait {
			return l.longestWait
		}
	}
	return d
}

// keeper keeps one service running until its context ends, then ends it.
type keeper struct {
	service
	reaper *reaper
	board  *board
	limits limits
	log    *slog.Logger
}

func (k *keeper) run(ctx context.Context) {
	for fails := 0; ; {
		if err := k.board.waitRunning(ctx, k.after); err != nil {
			return
		}
		if k.await != nil {
			k.await(ctx, fails)
			if ctx.Err() != nil {
				return
			}
		}
		k.board.update(k.name, func(r *serviceReport) { r.State = starting })
		lasted, err := k.live(ctx)
		if ctx.Err() != nil {
			return
		}
		if lasted >= k.limits.steady || err == nil && lasted >= quitByHand {
			fails = 0
		}
		fails++
		if fails > k.limits.mostFails {
			k.log.Error("service given up", "service", k.name, "fails", fails, "error", err)
			k.board.update(k.name, func(r *serviceReport) { r.State, r.Pid = failed, 0 })
			return
		}
		k.log.Warn("service ended, starting it again", "service", k.name, "lasted", lasted.Round(time.Millisecond), "error", err)
		k.board.update(k.name, func(r *serviceReport) { r.State, r.Pid, r.Restarts = backoff, 0, r.Restarts+1 })
		select {
		case <-ctx.Done():
			return
		case <-time.After(k.limits.wait(fails)):
		}
	}
}

// live is one life of the service: from its start to its end, which comes by itself or because ctx ended. It returns how long it
// was of use, and nil when it ended well after that (a GIMP that was quit).
func (k *keeper) live(ctx context.Context) (time.Duration, error) {
	c, err := k.prepare()
	if err != nil {
		return 0, err
	}
	p, err := k.reaper.start(c.path, c.args, c.env, c.files...)
	c.close()
	if c.read != nil {
		defer c.read.Close()
	}
	if err != nil {
		return 0, err
	}
	k.board.update(k.name, func(r *serviceReport) { r.Pid = p.pid })
	if err := k.becomeReady(ctx, p, c); err != nil {
		k.end(p)
		return 0, err
	}
	began := time.Now()
	k.board.update(k.name, func(r *serviceReport) { r.State = running })
	select {
	case <-p.done:
	case <-ctx.Done():
		k.end(p)
	}
	if !p.status.Exited() || p.status.ExitStatus() != 0 {
		return time.Since(began), fmt.Errorf("%s: %s", k.name, p.ending())
	}
	return time.Since(began), nil
}

// becomeReady waits until the program can be used, has ended, or takes too long.
func (k *keeper) becomeReady(ctx context.Context, p *process, c command) error {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	// Not waited for once ctx has ended: it may be asking an X server that has hung, and returns when that server is killed.
	result := make(chan error, 1)
	go func() { result <- k.ready(ctx, c) }()
	var err error
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.done:
		return fmt.Errorf("%s ended before it was ready: %s", k.name, p.ending())
	}
	if err != nil {
		return fmt.Errorf("%s does not become ready: %w", k.name, err)
	}
	return nil
}

// end ends the program and all that it started: by asking, by SIGTERM, by SIGKILL.
func (k *keeper) end(p *process) {
	if k.ask != nil {
		k.askToEnd(p)
	}
	p.signal(unix.SIGTERM, false)
	if p.endsWithin(k.grace) {
		return
	}
	p.signal(unix.SIGKILL, true)
	<-p.done // the kernel sees to it
}

// askToEnd asks, and waits; both together no longer than the service is given for it.
func (k *keeper) askToEnd(p *process) {
	ctx, cancel := context.WithTimeout(context.Background(), k.asked)
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		if err := k.ask(); err != nil {
			refused <- err
		}
	}()
	select {
	case <-p.done:
	case err := <-refused:
		k.log.Warn("cannot ask a service to end", "service", k.name, "error", err)
	case <-ctx.Done():
	}
}

func (p *process) endsWithin(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	easelv1 "easel/pkg/api/easel/v1"
)

// openEasel starts a whole Easel, signs in, opens a session and looks at it in the browser.
func openEasel(ctx context.Context, log *slog.Logger, b *browser.Chromium, plan Plan) (_ *Target, err error) {
	dir, err := os.MkdirTemp("", "easel-bench-")
	if err != nil {
		return nil, err
	}
	e := &easel{log: log, dir: dir}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	begin := time.Now()
	e.stack, err = devstack.Start(ctx, devstack.Options{
		Dir: dir, Log: log, LogLevel: "warn",
		Progress: func(p devstack.Progress) {
			if p.Line != "" {
				log.Info(p.Step, "says", p.Line)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	up := time.Since(begin)
	if e.artist, err = artist.SignIn(ctx, e.stack, b); err != nil {
		return nil, err
	}
	var warmth []Start
	if plan.Starts > 0 && plan.wants("starts") {
		e.artist.Close()
		if warmth, err = measureStarts(ctx, log, e.stack, b, plan.Starts); err != nil {
			return nil, err
		}
		if e.artist, err = artist.SignIn(ctx, e.stack, b); err != nil { // others were signed in meanwhile
			return nil, err
		}
	}
	t, err := e.openSession(ctx, up)
	if err != nil {
		return nil, err
	}
	t.Warmth = warmth
	return t, nil
}

type easel struct {
	dir    string
	log    *slog.Logger
	stack  *devstack.Stack
	artist *artist.Artist
	page   *browser.Page
	id     string
}

// openSession creates a session twice: the first warms the machine's caches as a node's first session does, the second is
// measured.
func (e *easel) openSession(ctx context.Context, up time.Duration) (*Target, error) {
	first, err := e.start(ctx, "bench-first")
	if err != nil {
		return nil, err
	}
	if err := e.artist.End(first.GetId()); err != nil {
		return nil, err
	}
	if _, err := artist.Await(ctx, artist.Node(e.stack), first.GetId(), 30*time.Second, easelv1.State_STATE_STOPPED); err != nil {
		return nil, err
	}
	begin := time.Now()
	created, err := e.artist.Create("bench")
	if err != nil {
		return nil, err
	}
	e.id = created.ID
	e.page, err = e.artist.View(created.ID, "scale=1&chrome=0&size=1920x1080", browser.PageOptions{Width: screenWidth, Height: screenHeight})
	if err != nil {
		return nil, err
	}
	if err := artist.AwaitPicture(e.page, 60*time.Second); err != nil {
		return nil, err
	}
	picture := time.Since(begin)
	if err := e.page.Until(20*time.Second, "__probe.size().width === 1920 && __probe.size().height === 1080"); err != nil {
		return nil, fmt.Errorf("remote size 1920×1080: %w", err)
	}
	s, err := artist.Inspect(ctx, e.stack, created.ID)
	if err != nil {
		return nil, err
	}
	return &Target{
		Name: easelName, XSocket: s.GetXSocket(), XCookie: s.GetXCookie(), Page: e.page, HasGIMP: true, Groups: e.groups, Overhead: e.daemons, Close: e.close,
		Starts: map[string]time.Duration{
			"stack":          up,
			"first window":   time.Duration(first.GetWindowMs()) * time.Millisecond,
			"window":         time.Duration(s.GetWindowMs()) * time.Millisecond,
			"create→picture": picture,
		},
	}, nil
}

// start creates a session and waits until it is ready.
func (e *easel) start(ctx context.Context, key string) (*easelv1.Session, error) {
	s, err := e.artist.Create(key)
	if err != nil {
		return nil, err
	}
	return artist.Await(ctx, artist.Node(e.stack), s.ID, 60*time.Second, easelv1.State_STATE_READY)
}

// groups are all processes of the session: container, streamer and the container's shim.
func (e *easel) groups() (Groups, error) {
	s, err := artist.Inspect(context.Background(), e.stack, e.id)
	if err != nil {
		return nil, err
	}
	pids, err := cgroupPIDs(s.GetCgroup())
	if err != nil {
		return nil, err
	}
	g := Groups{}
	for _, pid := range pids {
		g[command(pid)] = append(g[command(pid)], pid)
	}
	if init := int(s.GetPids().GetInit()); init > 0 {
		if shim := parent(init); shim > 1 {
			g["shim"] = append(g["shim"], shim)
		}
	}
	if len(g) == 0 {
		return nil, errors.New("the session has no processes")
	}
	return g, nil
}

// daemons are what a node runs for all its sessions.
func (e *easel) daemons() (Groups, error) {
	return Groups{"noded": {e.stack.Noded.PID()}, "containerd": {e.stack.Containerd.PID()}, "coordinator": {e.stack.Coordinator.PID()}}, nil
}

func (e *easel) close() {
	if e.page != nil {
		e.page.Close()
	}
	if e.artist != nil {
		e.artist.Close()
	}
	if e.stack != nil {
		// Its own context: the run's may have ended by Ctrl-C, which is no reason to leave a session behind.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := e.stack.Stop(ctx); err != nil {
			e.log.Error("stop the stack", "err", err)
			return
		}
	}
	if err := os.RemoveAll(e.dir); err != nil {
		e.log.Warn("remove the stack's directory", "err", err)
	}
}

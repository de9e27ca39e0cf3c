package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/term"

	"easel/integration/devstack"
)

// Where the development machine keeps its state and its sockets.
const (
	defaultDir    = "/var/lib/easel/dev"
	defaultRunDir = "/run/easel/dev"
)

func cacheDir() string { return cmp.Or(os.Getenv("EASEL_CACHE"), "/var/cache/easel") }

func runStack(ctx context.Context, args []string, out io.Writer) error {
	opts := devstack.Options{Cache: cacheDir(), Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	opts.NodeConfig = func(c map[string]any) { delete(c, "pool") } // a node as it is by default: with warm sessions
	set := flag.NewFlagSet("easel-dev run", flag.ContinueOnError)
	set.StringVar(&opts.Dir, "dir", defaultDir, "state: configuration, databases, homes, logs")
	set.StringVar(&opts.RunDir, "run-dir", defaultRunDir, "sockets and run directories")
	set.StringVar(&opts.CoordinatorAddr, "listen", "127.0.0.1:8080", "the coordinator's address")
	set.StringVar(&opts.NodeAddr, "node-listen", "127.0.0.1:8443", "the node's address")
	set.StringVar(&opts.RelayAddr, "relay-listen", "127.0.0.1:3478", "the relay's address, UDP and TCP")
	media := set.String("media-ports", "50000-50999", "UDP ports of the streams")
	set.StringVar(&opts.LogLevel, "log-level", "info", "the daemons' log level")
	if err := parse(set, args); err != nil {
		return err
	}
	var err error
	if opts.MediaPorts, err = parsePorts(*media); err != nil {
		return fmt.Errorf("%w: --media-ports: %w", errUsage, err)
	}
	if exe, err := os.Executable(); err == nil {
		opts.BinDir = filepath.Dir(exe)
		opts.Checkout = filepath.Dir(opts.BinDir)
	}
	display := newDisplay(out, term.IsTerminal(int(os.Stdout.Fd())))
	opts.Progress = display.show
	return serve(ctx, opts, out)
}

// serve starts the stack, prints the way in, and stays until ctx ends or a daemon does.
func serve(ctx context.Context, opts devstack.Options, out io.Writer) error {
	stack, err := devstack.Start(ctx, opts)
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted while starting; everything is stopped again")
		}
		if errors.Is(err, devstack.ErrPortTaken) {
			return fmt.Errorf("%w; end what listens there, or choose another address: make run RUN_FLAGS='--listen 127.0.0.1:PORT --node-listen 127.0.0.1:PORT'", err)
		}
		return err
	}
	url, err := stack.SigninURL(ctx)
	if err != nil {
		return errors.Join(err, stack.Stop(context.WithoutCancel(ctx)))
	}
	fmt.Fprintf(out, "\nEasel runs; Ctrl-C ends it. Logs: %s. The link signs in once, as the administrator.\nOpen %s\n", filepath.Join(opts.Dir, "log"), url)
	var ended error
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nStopping…")
	case <-stack.Containerd.Exited():
		ended = fmt.Errorf("containerd ended by itself; the end of its log:\n%s", stack.Containerd.LogTail(15))
	case <-stack.Noded.Exited():
		ended = fmt.Errorf("noded ended by itself; the end of its log:\n%s", stack.Noded.LogTail(15))
	case <-stack.Coordinator.Exited():
		ended = fmt.Errorf("the coordinator ended by itself; the end of its log:\n%s", stack.Coordinator.LogTail(15))
	}
	if err := errors.Join(ended, stack.Stop(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopped: no process, mount, loop device or cgroup of Easel is left. State and homes stay in", opts.Dir)
	return nil
}

func parsePorts(s string) (ports [2]int, err error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return ports, fmt.Errorf("%q is not FIRST-LAST", s)
	}
	for i, text := range []string{first, last} {
		if ports[i], err = strconv.Atoi(text); err != nil || ports[i] < 1 || ports[i] > 65535 {
			return ports, fmt.Errorf("%q is not a port from 1 to 65535", text)
		}
	}
	if ports[0] > ports[1] {
		return ports, fmt.Errorf("%q ends before it begins", s)
	}
	return ports, nil
}

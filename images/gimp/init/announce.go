package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

const (
	mostListeners = 8
	writePatience = 5 * time.Second
)

// announcer tells the board's state to whoever connects to the init socket: one JSON line at once, and one after each change. It
// reads nothing.
type announcer struct {
	listener net.Listener
	board    *board
	log      *slog.Logger
}

// announceAt listens at path, in place of what lies there. The directory is the gate; the streamer is another user.
func announceAt(path string, b *board, log *slog.Logger) (*announcer, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open init socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open init socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("open init socket: %w", err)
	}
	return &announcer{listener: l, board: b, log: log}, nil
}

// run serves until ctx ends, and returns when the last listener has been let go.
func (a *announcer) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { a.listener.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, mostListeners)
	for {
		conn, err := a.listener.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.log.Warn("accept on init socket", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors: it passes
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		all.Go(func() {
			defer func() { <-room }()
			a.tell(ctx, conn)
		})
	}
}

// tell writes reports to one listener until it goes or ctx ends.
func (a *announcer) tell(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var one [1]byte
		_, _ = conn.Read(one[:]) // a listener says nothing: this returns when it has gone, or ought to
	}()
	for {
		r, changed := a.board.snapshot()
		line, err := json.Marshal(r)
		if err != nil {
			a.log.Error("write report", "error", err)
			return
		}
		if err := conn.SetWriteDeadline(time.Now().Add(writePatience)); err != nil {
			return
		}
		if _, err := conn.Write(append(line, '\n')); err != nil {
			return
		}
		select {
		case <-changed:
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

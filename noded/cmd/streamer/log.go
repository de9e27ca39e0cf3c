package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"easel/noded/stream/contract"

	"golang.org/x/time/rate"
)

// Lines that may be logged a second, and at once: the file is noded's, and what is logged may be the session's doing.
const (
	logRate  = 2
	logBurst = 200
)

// newLog logs to w at the configured level, and no more than logRate lines a second.
func newLog(w io.Writer, cfg contract.Config) (*slog.Logger, error) {
	level := slog.LevelInfo
	if cfg.LogLevel != "" {
		if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
			return nil, fmt.Errorf("streamer configuration: log_level: %w", err)
		}
	}
	h := &limited{Handler: slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}), limit: rate.NewLimiter(logRate, logBurst)}
	return slog.New(h).With("session", cfg.Session), nil
}

// limited drops what is logged too fast.
type limited struct {
	slog.Handler
	limit *rate.Limiter
}

func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	if !l.limit.Allow() {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

func (l *limited) WithAttrs(a []slog.Attr) slog.Handler {
	return &limited{l.Handler.WithAttrs(a), l.limit}
}

func (l *limited) WithGroup(name string) slog.Handler {
	return &limited{l.Handler.WithGroup(name), l.limit}
}

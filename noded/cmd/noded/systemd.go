package main

import (
	"context"
	"log/slog"
	"time"

	"easel/noded/session"
	"easel/pkg/sdnotify"
)

// tellSystemd tells the service manager, if there is one, when the daemon is ready and, while it is well,
// that it lives.
func tellSystemd(ctx context.Context, log *slog.Logger, manager *session.Manager) error {
	for !manager.Settled() {
		select {
		case <-manager.Changed():
		case <-time.After(100 * time.Millisecond): // settled between the question and the wait
		case <-ctx.Done():
			return nil
		}
	}
	sdnotify.Run(ctx, log, func() bool {
		_, err := manager.List("", false)
		if err != nil {
			log.Error("the daemon is not well; the watchdog is not told that it lives", "error", err)
		}
		return err == nil
	})
	return nil
}

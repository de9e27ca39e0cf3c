package main

import (
	"context"
	"log/slog"

	"easel/coordinator/auth"
	"easel/pkg/sdnotify"
)

// tellSystemd tells the service manager, if there is one, that the daemon is ready and, while its database
// answers, that it lives.
func tellSystemd(ctx context.Context, log *slog.Logger, store *auth.Store) error {
	sdnotify.Run(ctx, log, func() bool {
		err := store.Ping()
		if err != nil {
			log.Error("the database does not answer; the watchdog is not told that the daemon lives", "error", err)
		}
		return err == nil
	})
	return nil
}

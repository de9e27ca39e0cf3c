package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"easel/coordinator/auth"
)

// tellSystemd tells the service manager, if there is one, that the daemon is ready and, while its database
// answers, that it lives (sd_notify(3)).
func tellSystemd(ctx context.Context, log *slog.Logger, store *auth.Store) error {
	notify(log, "READY=1\nSTATUS=serving")
	defer notify(log, "STOPPING=1")
	interval, ok := watchdog()
	if !ok {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		if err := store.Ping(); err != nil {
			log.Error("the database does not answer; the watchdog is not told that the daemon lives", "error", err)
			continue
		}
		notify(log, "WATCHDOG=1")
	}
}

// watchdog is how often the service manager wants to hear of us.
func watchdog() (time.Duration, bool) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec < 1000 {
		return 0, false
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, false
	}
	return time.Duration(usec) * time.Microsecond, true
}

func notify(log *slog.Logger, state string) {
	if err := sendNotify(os.Getenv("NOTIFY_SOCKET"), state); err != nil {
		log.Warn("cannot tell systemd", "error", err)
	}
}

// sendNotify sends one state to the socket; "" means that nobody wants to know.
func sendNotify(socket, state string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("open NOTIFY_SOCKET: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("write to NOTIFY_SOCKET: %w", err)
	}
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("write to NOTIFY_SOCKET: %w", err)
	}
	return nil
}

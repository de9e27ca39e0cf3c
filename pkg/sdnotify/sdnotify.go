// Package sdnotify tells the service manager, if there is one, that a daemon is ready, that it lives and that
// it stops (sd_notify(3)). It is written out here because the protocol is one datagram, and both daemons
// must keep the same promise by it: the watchdog hears of a daemon only while that daemon is well.
package sdnotify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// Run says that the daemon is ready; then, as often as the watchdog wants and while well says so, that it
// lives; and, when ctx ends, that it stops. A manager that cannot be told is logged, and ends nothing.
func Run(ctx context.Context, log *slog.Logger, well func() bool) {
	notify(log, "READY=1\nSTATUS=serving")
	defer notify(log, "STOPPING=1")
	interval, ok := watchdog()
	if !ok {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if well() {
			notify(log, "WATCHDOG=1")
		}
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

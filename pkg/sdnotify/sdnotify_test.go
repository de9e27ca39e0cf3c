package sdnotify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestNotifyReachesItsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sendNotify(path, "READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if err := sendNotify("", "READY=1"); err != nil {
		t.Fatal(err)
	}
	if err := sendNotify(path+".absent", "READY=1"); err == nil {
		t.Fatal("a socket that is not there took it")
	}
}

func TestWatchdogReadsItsEnvironment(t *testing.T) {
	for name, tc := range map[string]struct {
		usec, pid string
		want      time.Duration
	}{"none": {"", "", 0}, "ours": {"30000000", fmt.Sprint(os.Getpid()), 30 * time.Second}, "anybody's": {"2000000", "", 2 * time.Second}, "another's": {"2000000", "1", 0}, "nonsense": {"soon", "", 0}, "zero": {"0", "", 0}} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		if got, ok := watchdog(); got != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: %s, %v", name, got, ok)
		}
	}
}

func TestWatchdogIsNotFedWhileTheDaemonIsUnwell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	asked, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, slog.New(slog.DiscardHandler), func() bool {
			asked++
			if asked == 4 {
				cancel()
			}
			return asked == 3 // well once, after two times unwell
		})
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it runs on after its context ended")
	}
	cancel()
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1\nSTATUS=serving", "WATCHDOG=1", "STOPPING=1"} {
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v; want %q", buf[:n], err, want)
		}
	}
}

// Command standin is every program of the small test image but the X server and easel-init: it plays the part of the name that it
// is started by, as far as easel-init and the streamer can see. What it plays as GIMP is a real X client with a picture that moves.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	name := filepath.Base(os.Args[0])
	play, ok := map[string]func() error{
		"dbus-daemon": dbus, "openbox": openbox, "pulseaudio": pulseaudio, "X0tigervnc": vnc, "gimp-3.0": gimp,
	}[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "standin: no part is called %q\n", name)
		os.Exit(2)
	}
	if err := play(); err != nil {
		fmt.Fprintf(os.Stderr, "standin as %s: %v\n", name, err)
		os.Exit(1)
	}
}

// dbus says where it listens, as --print-address=3 has it, and waits for its end.
func dbus() error {
	if _, err := fmt.Fprintln(os.NewFile(3, "address"), argument("--address=")); err != nil {
		return err
	}
	untilTerm()
	return nil
}

func pulseaudio() error { return listen(os.Getenv("PULSE_SERVER")[len("unix:"):]) }

func vnc() error {
	at := slices.Index(os.Args, "-rfbunixpath")
	if at < 0 || at+1 == len(os.Args) {
		return fmt.Errorf("no -rfbunixpath among %q", os.Args)
	}
	return listen(os.Args[at+1])
}

// listen takes connections on a unix socket and ends them at once.
func listen(path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	untilTerm()
	return l.Close()
}

func argument(prefix string) string {
	for _, a := range os.Args[1:] {
		if rest, ok := strings.CutPrefix(a, prefix); ok {
			return rest
		}
	}
	return ""
}

func untilTerm() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	<-ends
}

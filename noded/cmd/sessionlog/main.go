// Command sessionlog keeps what a session container prints: containerd's shim runs it with the container's stdout and
// stderr, and it appends both to a file. A container is hostile, so file and rate are bounded: the file is rolled over at
// one megabyte, the one before it kept, and who prints faster than the rate is made to wait. It keeps reading whatever
// happens, for a program whose output nobody reads would hang.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// The shim's ends of the container's output, and the pipe by which it waits for us (containerd's binary logging protocol).
const (
	fdStdout = 3
	fdStderr = 4
	fdReady  = 5
)

func main() {
	path := flag.String("file", "", "append to this `file`")
	flag.Parse()
	if *path == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "sessionlog: run by containerd's shim, as sessionlog -file PATH")
		os.Exit(2)
	}
	if err := run(*path); err != nil {
		fmt.Fprintf(os.Stderr, "sessionlog: %v\n", err)
		os.Exit(1)
	}
}

func run(path string) error {
	debug.SetGCPercent(25) // one of these for each session: small before quick
	// The container's end is the end of this program, and nothing else is.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	out := newRoll(path, maxFile)
	defer out.Close()
	sink := &paced{to: out, rate: rate, burst: burst, now: time.Now, sleep: time.Sleep}
	if err := sayReady(); err != nil {
		return err
	}
	var streams sync.WaitGroup
	for _, fd := range []uintptr{fdStdout, fdStderr} {
		streams.Go(func() {
			// os.File would offer its own copy; the buffer is ours, so that a read is bounded.
			_, _ = io.CopyBuffer(struct{ io.Writer }{sink}, struct{ io.Reader }{os.NewFile(fd, "stream")}, make([]byte, 16<<10))
		})
	}
	streams.Wait()
	return nil
}

func sayReady() error {
	ready := os.NewFile(fdReady, "ready")
	if ready == nil {
		return errors.New("started without the shim's descriptors")
	}
	_, err := ready.Write([]byte{0})
	if err := errors.Join(err, ready.Close()); err != nil {
		return fmt.Errorf("telling the shim that we are ready: %w", err)
	}
	return nil
}

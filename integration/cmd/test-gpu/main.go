// Command test-gpu tries the NVIDIA cards of this machine (make test-gpu). Its status is 0 when all is well, 1 when something is not, and 77
// when there is no card: then nothing was tested.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"easel/integration/gpucard"
)

const (
	exitFailed = 1
	exitUsage  = 2
	exitNoCard = 77 // as other test programs say that they could not test
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == gpucard.JailCommand:
		end(gpucard.Jail(os.Stdin))
	case len(os.Args) == 3 && os.Args[1] == gpucard.EncodeCommand:
		end(gpucard.Encode(os.Args[2], os.Stdout))
	}
	var o gpucard.Options
	flag.StringVar(&o.Library, "library", "", "libnvidia-ml.so.1's `path` (default: where the loader finds it)")
	flag.StringVar(&o.DriverRoot, "driver-root", "/", "where the driver's files and devices lie")
	flag.StringVar(&o.Compute, "compute", "bin/gpu-compute", "the `program` that computes on the card")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "test-gpu takes no arguments, not %q\n", flag.Args())
		os.Exit(exitUsage)
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(gpucard.Test(ctx, o, os.Stdout))
}

func end(err error) {
	switch {
	case err == nil:
		os.Exit(0)
	case errors.Is(err, gpucard.ErrNoCard):
		fmt.Fprintf(os.Stderr, "NOT TESTED: %v\n", err)
		os.Exit(exitNoCard)
	}
	fmt.Fprintf(os.Stderr, "test-gpu: %v\n", err)
	os.Exit(exitFailed)
}

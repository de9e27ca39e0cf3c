// Command streamer is the stream worker of one session: noded starts it beside the session's container, unprivileged, and writes its
// configuration to its stdin. "streamer probe" proves encoders by pictures.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"easel/noded/stream"
	"easel/noded/stream/contract"

	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitFailed   = 1
	exitWrongUse = 2
)

var errUsage = errors.New("usage: streamer < configuration.json, or: streamer probe [--encoder x264|nvenc --device GPU-… [--libraries FOLDER]] [--format FORMAT]")

func main() {
	err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitWrongUse)
	default:
		fmt.Fprintln(os.Stderr, "streamer:", err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "probe":
		return probe(ctx, args[1:], stdout)
	case len(args) > 0:
		return errUsage
	}
	if err := harden(); err != nil {
		return err
	}
	cfg, err := contract.ReadConfig(stdin)
	if errors.Is(err, contract.ErrNoConfig) {
		return nil
	}
	if err != nil {
		return err
	}
	log, err := newLog(stderr, cfg)
	if err != nil {
		return err
	}
	slog.SetDefault(log)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log.Info("streaming", "socket", cfg.Socket)
	codecs := []stream.Codec{newSoftware(encoderThreads(), cfg.Failed)}
	if cfg.Encoder.Kind == contract.NVENC {
		hardware := startNVENC(cfg.Encoder, cfg.Failed)
		defer hardware.close()
		codecs = []stream.Codec{hardware, codecs[0]}
	}
	return stream.Run(ctx, cfg, stream.Encoding{Codecs: codecs, Room: stream.UsualRoom()}, opusSound, log)
}

// harden gives up what a streamer never needs: new privileges, core dumps and being traced, for the X cookie is in its memory.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("give up core dumps: %w", err)
	}
	// Frames need no heap; a small one keeps the session's memory down.
	debug.SetGCPercent(50)
	return nil
}

// encoderThreads is how many threads encode one frame: half the machine, as other sessions want the rest.
func encoderThreads() int { return min(max(runtime.NumCPU()/2, 2), 4) }

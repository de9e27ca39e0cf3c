// Command linkbench measures how the picture comes over emulated links: the real streamer, the real viewer in headless Chromium, and between them a UDP
// link that is slow, late, lossy or dark, drawn from a seed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"easel/integration/xclient"
)

// usage is the exit code of a wrong call; 1 is a measurement that failed.
const usage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

var errLink = errors.New("no such link; --list names all")

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("linkbench", flag.ContinueOnError)
	fs.SetOutput(errOut)
	only := fs.String("only", "", "measure just these links, by words of their names: loss,300 ms,…")
	kind := fs.String("play", string(xclient.Scroll), "what moves on the screen: paint, scroll, noise or turn")
	lasts := fs.Duration("for", 8*time.Second, "how long to watch each phase of a link")
	seed := fs.Uint64("seed", 1, "of the packets that are lost")
	list := fs.Bool("list", false, "name the links and end")
	if err := fs.Parse(args); err != nil {
		return usage
	}
	chosen := choose(links(*lasts), *only)
	switch {
	case *list:
		for _, l := range chosen {
			fmt.Fprintln(out, l.name)
		}
		return 0
	case len(chosen) == 0:
		fmt.Fprintf(errOut, "linkbench: %q: %v\n", *only, errLink)
		return usage
	}
	log := slog.New(slog.NewTextHandler(errOut, nil))
	if err := measureAll(ctx, log, chosen, xclient.Kind(*kind), *seed, out); err != nil {
		fmt.Fprintln(errOut, "linkbench:", err)
		return 1
	}
	return 0
}

// choose keeps the links whose name holds one of the words, which commas part.
func choose(all []emulated, only string) []emulated {
	words := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	return slices.DeleteFunc(all, func(l emulated) bool {
		return len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l.name, w) })
	})
}

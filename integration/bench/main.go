// Command bench measures what an artist feels — click to photon, frames a second, age of the picture — and what it costs
// the server, for Easel and for TigerVNC with noVNC in the same browser, with the same X client, in the same run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"easel/integration/browser"
)

// The names of what is measured, as the tables show them.
const (
	easelName = "Easel"
	novncName = "TigerVNC + noVNC"
	floorName = "local canvas (floor)"
)

// usage is the exit code of a wrong call; 1 is a measurement that failed.
const usage = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(errOut)
	targets := fs.String("targets", "easel,novnc,floor", "what to measure, in this order: easel, novnc, floor (a local canvas, nothing remote), page (a viewer that runs already)")
	var page attachment
	fs.StringVar(&page.url, "url", "", "target page: the viewer's address")
	fs.StringVar(&page.xSocket, "x-socket", "", "target page: the X server's unix socket")
	fs.StringVar(&page.xCookie, "x-cookie", "", "target page: the X server's Xauthority file")
	fs.StringVar(&page.pids, "pids", "", "target page: the server's processes, as NAME=PID,…")
	clicks := fs.Int("clicks", 30, "clicks of each kind")
	playFor := fs.Duration("play", 8*time.Second, "how long to watch each moving picture")
	idleFor := fs.Duration("idle", 15*time.Second, "how long to watch the idle session")
	startsOf := fs.Int("starts", 5, "starts of each kind: cold, and claimed from a warm desktop or ready session")
	only := fs.String("only", "", "measure just these, by words of their names: click,scroll,…")
	asJSON := fs.String("json", "", "also write the results to this file as JSON")
	strict := fs.Bool("strict", false, "exit with 1 when a goal is missed")
	if err := fs.Parse(args); err != nil {
		return usage
	}
	log := slog.New(slog.NewTextHandler(errOut, nil))
	plan := Plan{Clicks: *clicks, Play: *playFor, Idle: *idleFor, Starts: *startsOf, Only: split(*only)}
	results, err := measureAll(ctx, log, split(*targets), page, plan)
	if errors.Is(err, errTarget) {
		fmt.Fprintln(errOut, "bench:", err)
		return usage
	}
	if err == nil {
		err = report(out, results)
	}
	if err == nil && *asJSON != "" {
		err = writeJSON(*asJSON, results)
	}
	if err != nil {
		fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	if *strict && !allReached(results) {
		return 1
	}
	return 0
}

// split reads a list with commas; "" is the empty list.
func split(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }

var errTarget = errors.New("no such target; try easel, novnc, floor or page")

// measureAll measures one target after the other, each in a browser of its own, so that none warms another's caches.
func measureAll(ctx context.Context, log *slog.Logger, names []string, page attachment, plan Plan) ([]*Result, error) {
	openers := map[string]opener{
		"page":  page.open,
		"floor": openFloor,
		"novnc": func(ctx context.Context, b *browser.Chromium) (*Target, error) { return openNoVNC(ctx, log, b) },
		"easel": func(ctx context.Context, b *browser.Chromium) (*Target, error) { return openEasel(ctx, log, b, plan) },
	}
	for _, n := range names {
		if openers[n] == nil {
			return nil, fmt.Errorf("%q: %w", n, errTarget)
		}
	}
	var results []*Result
	for _, n := range names {
		r, err := measureOne(ctx, log, openers[n], plan)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func measureOne(ctx context.Context, log *slog.Logger, open opener, plan Plan) (*Result, error) {
	b, err := browser.StartChromium(ctx, log)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	t, err := open(ctx, b)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return measure(ctx, log, t, plan)
}

// named is the result of a target, nil when it was not measured.
func named(results []*Result, name string) *Result {
	for _, r := range results {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func allReached(results []*Result) bool {
	e, other := named(results, easelName), named(results, novncName)
	if e == nil {
		return true
	}
	for _, g := range goals(e, other) {
		if !g.ok() {
			return false
		}
	}
	return true
}

func writeJSON(path string, results []*Result) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("write results as JSON: %w", err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

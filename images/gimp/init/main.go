// Command easel-init is PID 1 of a session container: it starts the session's programs in order, each as soon as what it needs is ready, starts
// again what dies, reaps what nobody waits for, tells the streamer how things stand, and ends it all within five seconds of a SIGTERM.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jezek/xgb"

	"easel/images/gimp/files"
)

func main() {
	began := time.Now()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	work := func() error { return run(began, log) }
	if len(os.Args) == 2 && os.Args[1] == filesName {
		work = func() error { return serveFiles(log) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "easel-init:", err)
		os.Exit(1)
	}
}

func run(began time.Time, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	home := os.Getenv("HOME")
	if home == "" {
		return errors.New("HOME is not set: the container must name the artist's home")
	}
	width, widthErr := side("EASEL_WIDTH", os.Getenv("EASEL_WIDTH"), usualWidth)
	height, heightErr := side("EASEL_HEIGHT", os.Getenv("EASEL_HEIGHT"), usualHeight)
	gimprc, gimprcErr := systemGimprc(os.Getenv("EASEL_MEMORY"), os.Getenv("EASEL_CPUS"))
	kind, patience, openCLErr := kindOfOpenCL(os.Getenv("EASEL_OPENCL"))
	artist, warmErr := expectArtist(os.Getenv("EASEL_WARM"), home)
	if err := errors.Join(widthErr, heightErr, gimprcErr, openCLErr, warmErr); err != nil {
		return err
	}
	p := containerPaths(home)
	if err := os.MkdirAll(p.runtime, 0o700); err != nil {
		return fmt.Errorf("make the session's runtime directory: %w", err)
	}
	// GIMP's dialogs begin in the folder that it was started in. By its name, that is the artist's home too where that comes later.
	if err := os.Chdir(home); err != nil {
		return fmt.Errorf("go to the artist's home: %w", err)
	}
	// For our own connection to X: its library looks nowhere else.
	if err := os.Setenv("XAUTHORITY", p.authority); err != nil {
		return err
	}
	xgb.Logger.SetOutput(io.Discard)

	s := &session{paths: p, width: width, height: height, gimprc: gimprc, env: environment(os.Environ(), p), began: began, arrival: artist, log: log}
	services := s.services()
	var names []string
	for _, service := range services {
		names = append(names, service.name)
	}
	s.board = newBoard(names)
	reaper := newReaper()
	s.opencl = &openCL{kind: kind, patience: patience, program: s.proof, reaper: reaper, board: s.board, log: log, first: make(chan struct{})}
	announcer, err := announceAt(p.edge+"/init.sock", s.board, log)
	if err != nil {
		return err
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := artist.wait(ctx, s.moveIn); err != nil {
			log.Error("the artist's home is not as it should be", "error", err)
		}
	})
	waiting.Go(func() { s.opencl.begin(ctx) })
	defer waiting.Wait()
	return supervise(ctx, services, reaper, s.board, announcer, usualLimits, log)
}

// serveFiles is the life of the file server, which PID 1 starts from its own program.
func serveFiles(log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	home := os.Getenv("HOME")
	if home == "" {
		return errors.New("HOME is not set: easel-init sets it")
	}
	p := containerPaths(home)
	return files.Run(ctx, p.edge+"/files.sock", p.home, log)
}

// supervise keeps all services until ctx ends, then ends them: GIMP first, while it still has a screen to end on, and X and D-Bus last.
func supervise(ctx context.Context, services []service, reaper *reaper, b *board, a *announcer, l limits, log *slog.Logger) error {
	reaped := make(chan struct{})
	stopReaping := make(chan struct{})
	go func() { defer close(reaped); reaper.run(stopReaping) }()
	defer func() { close(stopReaping); <-reaped }()

	announcing, stopAnnouncing := context.WithCancel(context.Background())
	var announcements sync.WaitGroup
	announcements.Go(func() { a.run(announcing) })
	defer func() { stopAnnouncing(); announcements.Wait() }()

	stages := []*stage{newStage(), newStage(), newStage()}
	for _, s := range services {
		k := &keeper{service: s, reaper: reaper, board: b, limits: l, log: log}
		stage := stages[endsInStage(s)]
		stage.group.Go(func() { k.run(stage.ctx) })
	}
	<-ctx.Done()
	log.Info("ending the session")
	for _, s := range stages {
		s.end()
	}
	return nil
}

// stage is services that end together.
type stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func newStage() *stage {
	s := &stage{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *stage) end() {
	s.cancel()
	s.group.Wait()
}

// endsInStage says when a service ends: what can be asked first, what others need last.
func endsInStage(s service) int {
	switch {
	case s.ask != nil:
		return 0
	case len(s.after) > 0:
		return 1
	default:
		return 2
	}
}

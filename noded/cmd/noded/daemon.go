package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"easel/noded/gateway"
	"easel/noded/gpu"
	"easel/noded/gpu/partition"
	"easel/noded/pool"
	"easel/noded/runtime"
	"easel/noded/session"
	"easel/noded/volume"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/boltfile"
	"easel/pkg/failpoint"
	"easel/pkg/identity"
	"easel/pkg/reload"
	"easel/pkg/telemetry"
	"easel/pkg/viewer"
)

// Bounds of the daemon's start.
const (
	containerdPatience = time.Minute     // it may be starting beside us
	databasePatience   = 5 * time.Second // an earlier noded may be ending
)

// daemon is "noded run": it serves until ctx ends, and leaves the sessions running.
func daemon(ctx context.Context, args []string, stderr io.Writer) error {
	c := newCommand("run", true)
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log, level, err := telemetry.AdjustableLogger(stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("noded makes containers and mounts, which needs root: run it as root")
	}
	return serve(ctx, cfg, log, level, reading{again: c.load, hangups: hangups})
}

func openDatabase(path string) (*bbolt.DB, error) {
	db, err := boltfile.Open(path, &bbolt.Options{Timeout: databasePatience})
	switch {
	case errors.Is(err, boltfile.ErrDamaged):
		err = fmt.Errorf("open %s: %w; put back a copy of it that is whole, or move it away: the sessions that are up are ended then, the artists' homes stay", path, err)
	case err != nil:
		err = fmt.Errorf("open %s: %w; does another noded use it?", path, err)
	}
	return db, err
}

// serve wires the parts together and runs them.
func serve(ctx context.Context, cfg Config, log *slog.Logger, level *slog.LevelVar, reading reading) error {
	if err := makeDirs(cfg); err != nil {
		return err
	}
	db, err := openDatabase(filepath.Join(cfg.StateDir, "noded.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	member, err := loadMember(cfg)
	if err != nil {
		return err
	}
	points, err := armed(log)
	if err != nil {
		return err
	}
	rt, err := dialContainerd(ctx, runtime.Options{
		Address: cfg.Containerd.Address, Namespace: cfg.Containerd.Namespace, Cgroup: cfg.Cgroup, Log: log,
	}, containerdPatience)
	if err != nil {
		return err
	}
	defer rt.Close()
	registry := telemetry.Registry(telemetry.Version(version))
	member.Register(registry)
	cards := gpu.Open(gpu.Library(cfg.GPU.Library), log, time.Now)
	defer cards.Close()
	cards.Register(registry)
	layout, err := newLayout(ctx, log, db, cards, points)
	if err != nil {
		return err
	}
	lender, err := newLender(cfg, log, cards, layout.Slices)
	if err != nil {
		return err
	}
	encoders := newProver(cfg, log, cards)
	registry.MustRegister(encoders)
	manager, err := newManager(cfg, log, db, rt, points, session.NewMetrics(registry), lender, encoders)
	if err != nil {
		return err
	}
	turn, err := newRelay(cfg, log, db, manager, registry)
	if err != nil {
		return err
	}
	options, err := gatewayOptions(cfg, log, db, manager, member)
	if err != nil {
		return err
	}
	if turn != nil {
		options.Relay = turn
	}
	warm, err := pool.New(pool.Options{
		Sessions: manager, DB: db, Own: cfg.warm(), MaxAge: cfg.Pool.MaxAge, CPU: cfg.Pool.CPU, Busy: (&cpuMeter{stat: "/proc/stat"}).Busy,
		Metrics: pool.NewMetrics(registry), Log: log,
	})
	if err != nil {
		return err
	}
	options.Pool = warm
	options.Registry, options.Metrics = registry, telemetry.MetricsHandler(registry, log)
	gate, err := gateway.New(options)
	if err != nil {
		return err
	}
	parts := running{level: level, manager: manager, gate: gate, relay: turn, pool: warm, cards: cards, layout: layout, lender: lender, encoders: encoders, registry: registry}
	reloader := reload.New(cfg, reloads, reading.again, parts.apply, log)
	return runAll(ctx, cfg, log, member, parts, reloader, reading.hangups)
}

func makeDirs(cfg Config) error {
	unix.Umask(0o022)
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{cfg.StateDir, 0o700}, {cfg.RunDir, 0o711}, {filepath.Join(cfg.RunDir, "s"), 0o711}} {
		if err := os.MkdirAll(d.path, d.mode); err != nil {
			return fmt.Errorf("make %s: %w", d.path, err)
		}
		if err := os.Chmod(d.path, d.mode); err != nil {
			return fmt.Errorf("make %s: %w", d.path, err)
		}
	}
	return nil
}

// armed is the daemon's failpoints, as the environment sets them.
func armed(log *slog.Logger) (*failpoint.Set, error) {
	points := failpoint.New(append(session.Failpoints(), partition.Failpoints()...))
	spec := os.Getenv(failpoint.Environment)
	if err := points.Arm(spec); err != nil {
		return nil, fmt.Errorf("%s: %w; \"noded failpoints\" lists them", failpoint.Environment, err)
	}
	if spec != "" {
		log.Warn("failpoints are armed: this daemon is being tested", "points", spec)
	}
	return points, nil
}

func newManager(cfg Config, log *slog.Logger, db *bbolt.DB, rt *runtime.Runtime, points *failpoint.Set, metrics *session.Metrics, gpus session.GPUs, encoders session.Encoders) (*session.Manager, error) {
	store, err := session.NewStore(db, log)
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	parts := &outside{Runtime: rt, streamer: cfg.Streamer, device: runtime.DeviceOf(cfg.StateDir), cdi: cfg.deviceDir()}
	return session.New(session.Options{
		Name: cfg.Name, Version: telemetry.Version(version), RunDir: cfg.RunDir, Cgroup: cfg.Cgroup, Image: cfg.Image, Boot: boot,
		Admission: cfg.admission(), Grace: cfg.Sessions.Grace, StartTimeout: cfg.Sessions.StartTimeout,
		Media: cfg.Media.Addresses, RelayPorts: cfg.relayPorts(), Driver: cfg.driver(), LogLevel: cfg.Log.Level, Policy: cfg.policy(),
		Store: store, Containers: parts, Workers: parts, GPUs: gpus, Encoders: encoders, Streamers: session.StreamerClient{}, Points: points,
		Homes: &volume.Homes{StateDir: cfg.StateDir, RunDir: cfg.RunDir, Size: int64(cfg.Sessions.HomeSize), Log: log},
		Host:  machine{stateDir: cfg.StateDir, media: cfg.Media.Addresses}, Metrics: metrics, Log: log,
	}), nil
}

func gatewayOptions(cfg Config, log *slog.Logger, db *bbolt.DB, manager *session.Manager, member *identity.Member) (gateway.Options, error) {
	memory, err := gateway.NewMemory(db)
	if err != nil {
		return gateway.Options{}, err
	}
	page, err := viewer.Assets()
	if err != nil {
		return gateway.Options{}, err
	}
	o := gateway.Options{
		PublicURL: cfg.PublicURL, PortalURL: cfg.PortalURL, Viewer: page, ViewerCSP: viewer.ContentSecurityPolicy,
		Sessions: manager, Memory: memory, Verifier: member, Log: log, Files: cfg.files(), Guests: cfg.Sessions.Guests,
		Ready: func() error {
			if !manager.Settled() {
				return errors.New("it is still taking up the sessions of before")
			}
			return nil
		},
	}
	return o, nil
}

// runAll runs the daemon's parts until ctx ends or one of them fails; each is waited for.
func runAll(
	ctx context.Context, cfg Config, log *slog.Logger, member *identity.Member, parts running, reloader *reload.Reloader[Config], hangups <-chan os.Signal,
) error {
	operator := http.NewServeMux()
	operator.Handle("/", parts.gate.NodeService())
	operator.Handle(easelv1connect.NewGPUServiceHandler(&gpuService{host: parts.cards, keeper: parts.layout, sessions: holders{parts.manager}}))
	operator.Handle(reload.Path, reloader.Handler())
	servers, err := openDoors(cfg, log, member, behind{browsers: parts.gate, coordinators: parts.gate.NodeService(), operator: operator})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return parts.cards.Run(ctx) })
	group.Go(func() error { return parts.layout.Run(ctx) })
	group.Go(func() error {
		compareLayout(ctx, cfg.GPU.Layout, parts.layout, holders{parts.manager}, log)
		return nil
	})
	group.Go(func() error { return parts.lender.Run(ctx) })
	group.Go(func() error { return parts.encoders.Run(ctx) })
	group.Go(func() error { return parts.manager.Run(ctx) })
	for _, s := range servers {
		group.Go(func() error { return s.Run(ctx) })
	}
	if parts.relay != nil {
		group.Go(func() error { return parts.relay.Run(ctx) })
	}
	group.Go(func() error { return parts.pool.Run(ctx) })
	group.Go(func() error { return parts.gate.KeepShares(ctx) })
	group.Go(func() error {
		return announce(ctx, cfg, log, member, parts.manager, parts.pool, parts.cards, parts.registry)
	})
	group.Go(func() error { reloader.OnSignal(ctx, hangups); return nil })
	group.Go(func() error { return tellSystemd(ctx, log, parts.manager) })
	log.Info("noded runs", "version", telemetry.Version(version), "listen", cfg.Listen, "url", cfg.PublicURL, "api", cfg.API.URL)
	err = group.Wait()
	log.Info("noded ends; its sessions run on")
	return err
}

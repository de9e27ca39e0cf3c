package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"easel/coordinator/admin"
	"easel/coordinator/api"
	"easel/coordinator/auth"
	"easel/coordinator/authority"
	"easel/coordinator/directory"
	"easel/coordinator/events"
	"easel/coordinator/placement"
	"easel/coordinator/placement/geoip"
	"easel/coordinator/portal"
	"easel/coordinator/state"
	"easel/coordinator/warmth"
	"easel/coordinator/webhook"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/listen"
	"easel/pkg/reload"
	"easel/pkg/telemetry"
)

// lockPatience is how long the daemon waits for a command to let go of the database.
const lockPatience = 2 * time.Second

// sweepEvery is how often expired sign-ins are removed from the database.
const sweepEvery = time.Hour

// keptEvents is how many events are kept for the operator's eyes.
const keptEvents = 1000

func daemon(ctx context.Context, args []string, p process) error {
	c := newCommand("run", p)
	shown := defaults()
	c.apply = shown.flags(c.set)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	log, level, err := telemetry.AdjustableLogger(p.stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	return serve(ctx, cfg, log, reading{level: level, again: c.load, hangups: hangups})
}

// serve is the daemon: it owns everything that it starts and returns when ctx ends or a part fails.
func serve(ctx context.Context, cfg Config, log *slog.Logger, reading reading) (err error) {
	for _, dir := range []string{cfg.StateDir, cfg.RunDir} {
		if err := makeDir(dir); err != nil {
			return err
		}
	}
	member, err := loadMember(cfg)
	if err != nil {
		return err
	}
	signer, err := loadSigner(cfg)
	if err != nil {
		return err
	}
	registry := telemetry.Registry(telemetry.Version(version))
	member.Register(registry)
	db, err := openState(cfg, member, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store, err := auth.New(db, auth.Options{})
	if err != nil {
		return err
	}
	belongs := authority.New(db)
	if err := belongs.Tell(member); err != nil {
		return err
	}
	members, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.Name, Role: cluster.RoleCoordinator, Bind: cfg.Cluster.Bind, Join: cfg.Cluster.Join,
		Keys: member.Trust().GetGossipKeys(), Admit: func(m cluster.Meta) error { return member.Admits(m.Role, m.Name) }, Log: log,
		Meta: cluster.Meta{
			URL: cfg.PublicURL, API: cfg.API.URL, Place: cfg.place(), Trust: member.Trust().GetVersion(), Version: telemetry.Version(version),
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, members.Close()) }()
	nodes := directory.New(directory.Options{Members: members, Peers: member, Signer: signer, Index: directory.NewIndex(db), Log: log})
	defer nodes.Close()
	geo, err := geoip.Open(cfg.GeoIP, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, geo.Close()) }()
	router := placement.NewRouter(placement.RouterOptions{
		Config: cfg.Placement, Members: members, Place: cfg.place(), Own: members.Coordinate,
	})
	seen := events.New(keptEvents)
	if err := registry.Register(members); err != nil {
		return fmt.Errorf("publish the metrics of the gossip: %w", err)
	}
	hooks := webhook.New(webhook.Options{Name: cfg.Name, Nodes: members, State: db, Events: seen, Registry: registry, Log: log}, cfg.Webhooks)
	book := warmth.NewBook(db)
	warm := &warmth.Keeper{Book: book, Fleet: nodes, Leads: db.Leader, Log: log, Wanted: warmth.NewWanted(registry)}
	handler, backend, err := front(cfg, log, store, nodes, router, geo, registry, seen, book)
	if err != nil {
		return err
	}
	commands := http.NewServeMux()
	commands.Handle("/do", admin.Handler(admin.Parts{Accounts: store, Cluster: belongs, State: db, Warmth: book, Sessions: nodes}, log))
	commands.Handle("/api/", backend.Operator())
	reloader := reload.New(cfg, reloads, reading.again, running{level: reading.level, router: router, hooks: hooks}.apply, log)
	commands.Handle(reload.Path, reloader.Handler())
	forMembers := http.NewServeMux()
	belongs.Handle(forMembers, member, log)
	servers, err := openDoors(cfg, log, member, doors{
		browsers: handler, members: forMembers, raft: db.Handle(forMembers, member), operators: commands,
	})
	if err != nil {
		return err
	}
	// The socket's file goes before the database's lock, so never a later daemon's.
	defer func() { err = errors.Join(err, removeSocket(cfg.adminSocket())) }()
	log.Info("coordinator runs", "url", cfg.PublicURL, "listen", cfg.Listen, "api", cfg.API.URL, "cluster", member.Cluster())
	all := parts{
		servers: servers, db: db, store: store, belongs: belongs, member: member, members: members, nodes: nodes, seen: seen, hooks: hooks, warm: warm,
		reloader: reloader, hangups: reading.hangups,
		register: func(ctx context.Context) error {
			return belongs.KeepRegistered(ctx, cfg.Name, cfg.API.URL, signer.Public(), log)
		},
	}
	err = all.run(ctx, log)
	log.Info("coordinator ended")
	return err
}

// parts are what of the daemon runs beside each other.
type parts struct {
	servers  []*listen.Server // browsers', the cluster's, the operator's
	db       *state.Store
	store    *auth.Store
	belongs  *authority.Authority
	member   *identity.Member
	members  *cluster.Cluster
	nodes    *directory.Directory
	seen     *events.Log
	hooks    *webhook.Caller
	warm     *warmth.Keeper
	reloader *reload.Reloader[Config]
	hangups  <-chan os.Signal
	register func(context.Context) error // keeps this coordinator's address and key in the trust
}

// run ends with ctx, or when one of them fails.
func (p parts) run(ctx context.Context, log *slog.Logger) error {
	all, ctx := errgroup.WithContext(ctx)
	// Requests that are under way need the other coordinators to their end.
	inside, endInside := context.WithCancel(context.WithoutCancel(ctx))
	defer endInside()
	forBrowsers, inCluster, socket := p.servers[0], p.servers[1], p.servers[2]
	all.Go(func() error { defer endInside(); return forBrowsers.Run(ctx) })
	all.Go(func() error { return inCluster.Run(inside) })
	all.Go(func() error { return socket.Run(ctx) })
	all.Go(func() error { <-ctx.Done(); p.db.Resign(); <-inside.Done(); p.db.EndStreams(); return nil })
	all.Go(func() error { return p.belongs.Run(ctx, p.member, p.members, log) })
	all.Go(func() error { return p.register(ctx) })
	all.Go(func() error { p.members.FollowTrust(ctx, p.member); return nil })
	all.Go(func() error { return p.nodes.Run(ctx) })
	all.Go(func() error { events.Watch(ctx, p.seen, p.members); return nil })
	all.Go(func() error { return p.hooks.Run(ctx) })
	all.Go(func() error { return p.warm.Run(ctx) })
	all.Go(func() error { p.reloader.OnSignal(ctx, p.hangups); return nil })
	all.Go(func() error { return sweep(ctx, p.store, log) })
	all.Go(func() error { return tellSystemd(ctx, log, p.store) })
	return all.Wait()
}

func removeSocket(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the admin socket: %w", err)
	}
	return nil
}

// front is everything that the network's address answers.
func front(
	cfg Config, log *slog.Logger, store *auth.Store, nodes *directory.Directory, router *placement.Router, geo *geoip.Database,
	registry *prometheus.Registry, seen *events.Log, book *warmth.Book,
) (http.Handler, *api.API, error) {
	public, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, nil, fmt.Errorf("public_url: %w", err)
	}
	guard := &auth.Guard{Store: store, Public: public}
	clients := placement.NewClients(geo, nil)
	placer := placement.New(placement.Options{Router: router, Fleet: nodes, Index: nodes.Index, Log: log, Registry: registry})
	backend := api.New(api.Config{
		Guard: guard, Nodes: nodes, Placer: placer, Clients: clients, Events: seen, Arrivals: book, Log: log, Registry: registry, Version: telemetry.Version(version),
	})
	pages, err := portal.New(portal.Config{Guard: guard, Backend: backend, Nodes: nodes, Log: log})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	backend.Register(mux)
	pages.Register(mux)
	return api.Harden(backend.Count(mux), public, cfg.Listen, log), backend, nil
}

// sweep removes expired sign-ins now and then, until ctx ends.
func sweep(ctx context.Context, store *auth.Store, log *slog.Logger) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := store.Sweep(ctx); err != nil && ctx.Err() == nil {
			log.Error("expired sign-ins stay in the database", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

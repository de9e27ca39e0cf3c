package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/gpu"
	"easel/noded/pool"
	"easel/noded/session"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/telemetry"
)

// announceEvery bounds how old the published capacity may be when nothing tells of a change: memory and
// disk are others' too.
const announceEvery = 10 * time.Second

// announce joins the cluster and keeps it told of the node's room.
func announce(ctx context.Context, cfg Config, log *slog.Logger, member *identity.Member, manager *session.Manager, warm *pool.Pool, cards *gpu.Host, registry prometheus.Registerer) error {
	c, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.Name, Role: cluster.RoleNode, Bind: cfg.Cluster.Bind, Join: cfg.Cluster.Join,
		Keys: member.Trust().GetGossipKeys(), Admit: func(m cluster.Meta) error { return member.Admits(m.Role, m.Name) }, Log: log,
		Meta: cluster.Meta{
			URL: cfg.PublicURL, API: cfg.API.URL, Place: cfg.place(), Relay: cfg.relayAddress(), Trust: member.Trust().GetVersion(),
			Version: telemetry.Version(version),
		},
	})
	if err != nil {
		return err
	}
	if err := registry.Register(c); err != nil {
		return errors.Join(fmt.Errorf("publish the metrics of the gossip: %w", err), c.Close())
	}
	var watching sync.WaitGroup
	watching.Go(func() { watchIsolation(ctx, c, manager.SetIsolated, log) })
	watching.Go(func() { c.FollowTrust(ctx, member) })
	watching.Go(func() { member.Follow(ctx, log, c.Coordinators) })
	meter := &cpuMeter{stat: "/proc/stat"}
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		changed, cardsChanged := manager.Changed(), cards.Changed()
		if err := publish(ctx, c, manager, warm, meter); err != nil && ctx.Err() == nil {
			log.Warn("cannot tell the cluster of this node's room", "error", err)
		}
		select {
		case <-changed:
		case <-cardsChanged:
		case <-ticker.C:
		case <-ctx.Done():
			watching.Wait()
			return c.Close()
		}
	}
}

func publish(ctx context.Context, c *cluster.Cluster, manager *session.Manager, warm *pool.Pool, meter *cpuMeter) error {
	s, err := manager.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask for the node's room: %w", err)
	}
	states, err := warm.States()
	if err != nil {
		return err
	}
	rec := cluster.Capacity{
		Total: s.Capacity, Used: s.Used, Draining: s.Draining || !manager.Settled(), Full: s.Full, Images: s.Images,
		Classes: []cluster.Room{{Class: "none", Total: s.Capacity, Used: s.Used}}, Load: hostLoad(meter),
	}
	tellSlices(&rec, s)
	for _, w := range states {
		if w.Warm == 0 {
			continue
		}
		one := cluster.Warm{Image: w.Image, Class: w.Class, Kind: string(w.Kind), Count: w.Warm}
		if one.Image == manager.DefaultImage() {
			one.Image = "" // a record must fit one packet
		}
		rec.Warm = append(rec.Warm, one)
	}
	return c.Publish(rec)
}

// hostLoad is what the host has and how busy it is; what cannot be told is zero.
func hostLoad(meter *cpuMeter) cluster.Load {
	part, _ := meter.Busy()
	l := cluster.Load{CPUs: runtime.NumCPU(), CPU: float32(part)}
	if free, err := memInfo("MemAvailable"); err == nil {
		l.MemoryFree = uint64(free)
	}
	if total, err := memInfo("MemTotal"); err == nil {
		l.MemoryTotal = uint64(total)
	}
	return l
}

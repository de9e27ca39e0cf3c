package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"easel/noded/pool"
	"easel/noded/session"
	"easel/pkg/cluster"
	"easel/pkg/telemetry"
)

// announceEvery bounds how old the published capacity may be when nothing tells of a change: memory and
// disk are others' too.
const announceEvery = 10 * time.Second

// announce joins the cluster and keeps it told of the node's room.
func announce(ctx context.Context, cfg Config, log *slog.Logger, manager *session.Manager, warm *pool.Pool) error {
	if cfg.gossip() == "" {
		log.Warn("cluster.key_file is not set: no coordinator will find this node by itself")
		return nil
	}
	c, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.Name, Role: cluster.RoleNode, Bind: cfg.Cluster.Bind, Join: cfg.Cluster.Join, KeyFile: cfg.Cluster.KeyFile,
		Meta: cluster.Meta{URL: cfg.PublicURL, Place: cfg.place(), Version: telemetry.Version(version), Relay: cfg.relayAddress()}, Log: log,
	})
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { watchIsolation(ctx, c, manager.SetIsolated, log) })
	meter := &cpuMeter{stat: "/proc/stat"}
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		changed := manager.Changed()
		if err := publish(ctx, c, cfg, manager, warm, meter); err != nil && ctx.Err() == nil {
			log.Warn("cannot tell the cluster of this node's room", "error", err)
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-ctx.Done():
			return c.Close()
		}
	}
}

func publish(ctx context.Context, c *cluster.Cluster, cfg Config, manager *session.Manager, warm *pool.Pool, meter *cpuMeter) error {
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
	for _, w := range states {
		if w.Warm == 0 {
			continue
		}
		one := cluster.Warm{Image: w.Image, Class: w.Class, Kind: string(w.Kind), Count: w.Warm}
		if one.Image == cfg.Image {
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

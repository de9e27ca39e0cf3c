package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"easel/noded/session"
	"easel/pkg/cluster"
	"easel/pkg/telemetry"
)

// announceEvery bounds how old the published capacity may be when nothing tells of a change: memory and
// disk are others' too.
const announceEvery = 10 * time.Second

// announce joins the cluster and keeps it told of the node's room.
func announce(ctx context.Context, cfg Config, log *slog.Logger, manager *session.Manager) error {
	if cfg.gossip() == "" {
		log.Warn("cluster.key_file is not set: no coordinator will find this node by itself")
		return nil
	}
	c, err := cluster.Start(ctx, cluster.Config{
		Name: cfg.Name, Role: cluster.RoleNode, Bind: cfg.Cluster.Bind, Join: cfg.Cluster.Join, KeyFile: cfg.Cluster.KeyFile,
		Meta: cluster.Meta{URL: cfg.PublicURL, Version: telemetry.Version(version), Relay: cfg.relayAddress()}, Log: log,
	})
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { watchIsolation(ctx, c, manager.SetIsolated, log) })
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		changed := manager.Changed()
		if err := publish(ctx, c, manager); err != nil && ctx.Err() == nil {
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

func publish(ctx context.Context, c *cluster.Cluster, manager *session.Manager) error {
	s, err := manager.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask for the node's room: %w", err)
	}
	return c.Publish(cluster.Capacity{Total: s.Capacity, Used: s.Used, Draining: s.Draining || !manager.Settled(), Full: s.Full, Images: s.Images})
}

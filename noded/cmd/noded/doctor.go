package main

import (
	"context"
	"errors"
	"io"

	"easel/noded/doctor"
)

// errUnhealthy is a host on which a check failed; the findings were printed.
var errUnhealthy = errors.New("this host cannot carry sessions yet")

// examine checks this host for what the configuration asks of it.
func examine(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("doctor", true)
	asJSON := c.Bool("json", false, "print JSON")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ok, err := doctor.Run(ctx, doctor.Options{
		Containerd: cfg.Containerd.Address, Streamer: cfg.Streamer,
		Listen: []string{cfg.Listen}, Gossip: cfg.gossip(),
		MediaAddresses: cfg.Media.Addresses, MediaPorts: [2]int{int(cfg.Media.Ports.First), int(cfg.Media.Ports.Last)},
		StateDir: cfg.StateDir, AdminSocket: cfg.adminSocket(), SessionMemory: int64(cfg.Sessions.Memory), JSON: *asJSON,
	}, stdout)
	if err != nil {
		return err
	}
	if !ok {
		return errUnhealthy
	}
	return nil
}

// gossip is the address that the cluster's gossip listens on; "" when the node joins no cluster.
func (c *Config) gossip() string {
	if c.Cluster.KeyFile == "" {
		return ""
	}
	return c.Cluster.Bind
}

package main

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"easel/noded/doctor"
	easelv1 "easel/pkg/api/easel/v1"
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
		Listen: append([]string{cfg.Listen, cfg.API.Listen}, cfg.Relay.TLSListen...), Relay: cfg.Relay.Listen, Gossip: cfg.Cluster.Bind,
		MediaAddresses: cfg.Media.Addresses, MediaPorts: [2]int{int(cfg.Media.Ports.First), int(cfg.Media.Ports.Last)},
		StateDir: cfg.StateDir, AdminSocket: cfg.adminSocket(), GPULibrary: cfg.GPU.Library, SessionMemory: int64(cfg.Sessions.Memory), JSON: *asJSON,
		Daemon: func(ctx context.Context) ([]string, error) { return shortcomings(ctx, cfg.adminSocket()) },
	}, stdout)
	if err != nil {
		return err
	}
	if !ok {
		return errUnhealthy
	}
	return nil
}

// shortcomings is what the daemon at the socket says is not as it should be.
func shortcomings(ctx context.Context, socket string) ([]string, error) {
	resp, err := node(socket).Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
	if err != nil {
		return nil, explain("ask the node for its status", err)
	}
	notes := resp.Msg.Degraded
	if resp.Msg.FullReason != "" {
		notes = append(notes, resp.Msg.FullReason)
	}
	return notes, nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"easel/noded/gpu"
	"easel/noded/gpu/partition"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

var _ easelv1connect.GPUServiceHandler = (*gpuService)(nil)

// gpuService answers an operator on the daemon's own socket.
type gpuService struct {
	host     *gpu.Host
	keeper   *partition.Keeper
	sessions holders
}

func (s *gpuService) GPUStatus(context.Context, *connect.Request[easelv1.GPUStatusRequest]) (*connect.Response[easelv1.GPUStatusResponse], error) {
	text, err := json.Marshal(s.host.Status(s.keeper, s.sessions))
	if err != nil {
		return nil, fmt.Errorf("write the cards' status: %w", err)
	}
	return connect.NewResponse(&easelv1.GPUStatusResponse{Json: text}), nil
}

// gpus is "noded gpu": its subcommands.
func gpus(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return wrongUse("gpu: a command is missing: status, plan or apply")
	}
	name, rest := args[0], args[1:]
	switch name {
	case "status":
		return gpuStatus(ctx, rest, stdout, stderr)
	case "plan":
		return gpuPlan(ctx, rest, stdout, stderr)
	case "apply":
		return gpuApply(ctx, rest, stdout, stderr)
	}
	return wrongUse("there is no command \"gpu %s\"", name)
}

func gpuStatus(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c := newCommand("gpu status", false)
	asJSON := c.Bool("json", false, "print JSON")
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		return c.help(err, stderr)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := gpuClient(cfg.adminSocket()).GPUStatus(ctx, connect.NewRequest(&easelv1.GPUStatusRequest{}))
	if err != nil {
		return explain("ask the node for its cards", err)
	}
	var s gpu.Status
	if err := json.Unmarshal(resp.Msg.Json, &s); err != nil {
		return fmt.Errorf("read the node's answer about its cards: %w; is the daemon of this version?", err)
	}
	if *asJSON {
		return indented(stdout, s)
	}
	return s.Write(stdout)
}

func gpuClient(socket string) easelv1connect.GPUServiceClient {
	return easelv1connect.NewGPUServiceClient(socketClient(socket), "http://noded")
}

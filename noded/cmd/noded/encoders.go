package main

import (
	"context"
	"log/slog"
	"path/filepath"

	"easel/noded/gpu"
	"easel/noded/proof"
	"easel/noded/runtime"
	"easel/noded/stream/contract"
)

// newProver proves the node's encoders by the streamer that its sessions have.
func newProver(cfg Config, log *slog.Logger, cards *gpu.Host) *proof.Prover {
	return proof.New(proof.Options{
		Streamer: cfg.Streamer, Cards: cards, Library: cfg.GPU.Library, Cache: filepath.Join(cfg.StateDir, "encoders.json"), Host: proof.HostIdentity(), Log: log,
		Probe: func(ctx context.Context, args ...string) ([]byte, error) {
			out, err := runtime.RunErrand(ctx, runtime.Errand{Path: cfg.Streamer, Args: args, Most: contract.MaxProbed})
			if runtime.Failed(err) {
				err = proof.Fault{Err: err}
			}
			return out, err
		},
	})
}

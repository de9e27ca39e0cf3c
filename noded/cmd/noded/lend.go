package main

import (
	"log/slog"
	"path/filepath"

	"easel/noded/gpu"
	"easel/noded/gpu/cdi"
	"easel/noded/gpu/lend"
	"easel/noded/session"
	"easel/pkg/cluster"
)

// deviceDir is where the specifications lie by which slices of cards enter sessions' containers.
func (c *Config) deviceDir() string { return filepath.Join(c.RunDir, "cdi") }

// newLender gives sessions the slices that the cards are divided into.
func newLender(cfg Config, log *slog.Logger, cards *gpu.Host, slices func() []gpu.Slice) (*lend.Lender, error) {
	maker, err := cdi.New(cfg.deviceDir(), cfg.GPU.DriverRoot, cards, log)
	if err != nil {
		return nil, err
	}
	return lend.New(lend.Options{Cards: cards, Slices: slices, Specs: maker, SessionOf: lend.SessionByCgroup(cfg.Cgroup), Log: log}), nil
}

// tellSlices adds to a record what room there is for sessions with a card, how the slices are held now, and what cards there are.
func tellSlices(rec *cluster.Capacity, s session.Status) {
	for _, r := range s.Rooms {
		rec.Classes = append(rec.Classes, cluster.Room{Class: r.Class, Total: r.Total, Used: r.Used, Encoders: r.Encoders})
	}
	for _, r := range s.Slices {
		rec.Slices = append(rec.Slices, cluster.Slice{Profile: r.Class, Total: r.Total, Used: r.Used})
	}
	at := map[string]int{}
	for _, c := range s.Cards {
		i, known := at[c.Model]
		if !known {
			i = len(rec.GPUs)
			at[c.Model] = i
			rec.GPUs = append(rec.GPUs, cluster.GPU{Model: c.Model})
		}
		one := &rec.GPUs[i]
		one.Count++
		one.Encoder = one.Encoder || len(c.Engines.Encode) > 0
		if len(c.Faults) > 0 {
			one.Unhealthy++
		}
	}
}

package doctor

import (
	"log/slog"
	"time"

	"easel/noded/gpu"
)

// GPUs asks NVIDIA's library, which is loaded at run time: a host without it is a host without GPUs.
func (machine) GPUs(library string) gpu.Inventory {
	host := gpu.Open(gpu.Library(library), slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	return host.Inventory()
}

package proof

import (
	"path/filepath"
	"slices"

	"easel/noded/gpu"
	"easel/noded/stream/contract"
)

// CardArguments are those by which `streamer probe` asks a card's encoder: nil for a card that has none, is not well, or has no device to ask. A card
// that is divided is asked by its first part.
func CardArguments(c gpu.Card, library string) []string {
	_, well := c.Well()
	device := c.UUID
	if c.MIG.Enabled {
		device = ""
		if len(c.Instances) > 0 {
			device = c.Instances[0].UUID
		}
	}
	if !well || device == "" || !slices.Contains(c.Engines.Encode, "h264") {
		return nil
	}
	args := []string{"--encoder", contract.NVENC, "--device", device}
	if library != "" {
		args = append(args, "--libraries", filepath.Dir(library))
	}
	return args
}

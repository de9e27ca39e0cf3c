package devstack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// writeConfigs makes the daemons' two YAML files.
func (s *Stack) writeConfigs(context.Context) error {
	noded := s.nodedConfig()
	if s.NodeConfig != nil {
		s.NodeConfig(noded)
	}
	coordinator := s.coordinatorConfig()
	if s.CoordinatorConfig != nil {
		s.CoordinatorConfig(coordinator)
	}
	if err := writeYAML(s.NodedConfigPath(), noded); err != nil {
		return err
	}
	return writeYAML(s.CoordinatorConfigPath(), coordinator)
}

func (s *Stack) nodedConfig() map[string]any {
	return map[string]any{
		"name":       nodeName,
		"listen":     s.NodeAddr,
		"public_url": s.NodeURL(),
		"portal_url": s.CoordinatorURL(),
		"state_dir":  s.state("noded"),
		"run_dir":    filepath.Join(s.RunDir, "noded"),
		"cgroup":     s.Cgroup,
		"containerd": map[string]any{"address": s.ContainerdAddress(), "namespace": Namespace},
		"image":      ImageRef,
		"streamer":   filepath.Join(s.BinDir, "streamer"),
		"api":        map[string]any{"listen": s.api[0]},
		"cluster":    map[string]any{"bind": s.gossip[0], "join": []string{s.gossip[1]}},
		"media": map[string]any{
			"addresses": []string{"127.0.0.1"},
			"ports":     fmt.Sprintf("%d-%d", s.MediaPorts[0], s.MediaPorts[1]),
		},
		"relay": map[string]any{
			"listen": []string{s.RelayAddr}, "allocations": s.RelayPorts[1] - s.RelayPorts[0] + 1,
			"ports": fmt.Sprintf("%d-%d", s.RelayPorts[0], s.RelayPorts[1]),
		},
		// A test counts what it made itself; `make run` sets what a node has by default.
		"pool": map[string]any{"ready": 0, "desktop": 0, "cpu": 1},
		"log":  map[string]any{"level": s.LogLevel, "format": "text"},
	}
}

func (s *Stack) coordinatorConfig() map[string]any {
	return map[string]any{
		"name":       "coordinator1",
		"listen":     s.CoordinatorAddr,
		"public_url": s.CoordinatorURL(),
		"state_dir":  s.state("coordinator"),
		"run_dir":    filepath.Join(s.RunDir, "coordinator"),
		"api":        map[string]any{"listen": s.api[1]},
		"cluster":    map[string]any{"bind": s.gossip[1], "join": []string{s.gossip[0]}},
		"log":        map[string]any{"level": s.LogLevel, "format": "text"},
	}
}

func writeYAML(path string, doc map[string]any) error {
	text, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o600)
}

package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"easel/integration/devstack"
)

// maxSessions is how many sessions a node takes.
const maxSessions = 4

// Media ports of a node.
const (
	firstPort = 50000
	lastPort  = 50019
)

// configure writes every member's YAML file.
func (c *Cluster) configure(context.Context) error {
	var join []string
	for _, p := range c.places() {
		if p != c.artist {
			join = append(join, p.ip+":7946")
		}
	}
	for _, k := range c.Coordinators {
		doc, err := c.coordinatorConfig(k)
		if err != nil {
			return err
		}
		doc["cluster"] = map[string]any{"bind": k.at.ip + ":7946", "join": join}
		if err := writeYAML(k.file(), doc); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		doc, err := c.nodeConfig(n)
		if err != nil {
			return err
		}
		doc["cluster"] = map[string]any{"bind": n.at.ip + ":7946", "join": join}
		if c.NodeConfig != nil {
			c.NodeConfig(n, doc)
		}
		if err := writeYAML(n.config(), doc); err != nil {
			return err
		}
	}
	return nil
}

// found makes the cluster as an operator does: the first coordinator founds it, all others join by tokens of one use.
func (c *Cluster) found(ctx context.Context) error {
	first := c.Coordinators[0]
	if _, err := c.cli(ctx, first, "init"); err != nil {
		return err
	}
	if err := first.Start(ctx); err != nil {
		return err
	}
	for _, k := range c.Coordinators[1:] {
		if err := c.join(ctx, "coordinator", k.at, k.Path, k.file()); err != nil {
			return err
		}
		if err := k.Start(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes {
		if err := c.join(ctx, "node", n.at, n.Noded.Path, n.config()); err != nil {
			return err
		}
	}
	return nil
}

// join makes a member of who runs program at a place.
func (c *Cluster) join(ctx context.Context, role string, at *place, program, config string) error {
	token, err := c.cli(ctx, c.Coordinators[0], "token", "--role", role)
	if err != nil {
		return err
	}
	_, err = runWith(ctx, at, token, program, "join", "--config", config)
	return err
}

func (c *Cluster) nodeConfig(n *Node) (map[string]any, error) {
	tls, err := c.trust.issue(filepath.Dir(n.config()), n.at.ip)
	if err != nil {
		return nil, err
	}
	d := n.place()
	return map[string]any{
		"name": n.name, "listen": n.at.ip + ":8443", "public_url": n.url(), "portal_url": c.Coordinators[0].url(), "tls": tls,
		"state_dir": d.Dir, "run_dir": filepath.Join(d.RunDir, "noded"), "cgroup": d.Cgroup,
		"containerd": map[string]any{"address": n.socket(), "namespace": devstack.Namespace},
		"image":      ImageRef, "streamer": filepath.Join(c.BinDir, "streamer"),
		"media": map[string]any{"addresses": []string{n.at.ip}, "ports": fmt.Sprintf("%d-%d", firstPort, lastPort)},
		"sessions": map[string]any{
			"max": maxSessions, "memory": "256MiB", "cpus": 1, "pids": 128, "home_size": "64MiB", "grace": "10m", "start_timeout": "60s", "uid_base": n.uidBase,
		},
		"api":   map[string]any{"listen": n.at.ip + ":8445"},
		"relay": map[string]any{"listen": []string{n.at.ip + ":3478"}, "tls_listen": []string{n.at.ip + ":5349"}},
		"pool":  map[string]any{"ready": 0, "desktop": 0},
		"log":   map[string]any{"level": c.LogLevel, "format": "text"},
	}, nil
}

func (c *Cluster) coordinatorConfig(k *Coordinator) (map[string]any, error) {
	tls, err := c.trust.issue(filepath.Dir(k.file()), k.at.ip)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"name": k.name, "listen": k.at.ip + ":8080", "public_url": k.url(), "tls": tls,
		"api":       map[string]any{"listen": k.at.ip + ":8444"},
		"state_dir": filepath.Join(k.dir(), "state"), "run_dir": k.run(),
		"log": map[string]any{"level": c.LogLevel, "format": "text"},
	}, nil
}

func writeYAML(path string, doc map[string]any) error {
	text, err := yaml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o600)
}

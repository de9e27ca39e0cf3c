package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"easel/noded/runtime"
)

// startContainerd builds the pinned containerd if the cache has none, and starts it privately: own root, state and socket.
func (s *Stack) startContainerd(ctx context.Context) error {
	bin, err := s.containerdBin(ctx)
	if err != nil {
		return err
	}
	config := runtime.ContainerdConfig(s.Root, containerdState(s.RunDir), s.ContainerdAddress())
	if err := os.WriteFile(filepath.Join(s.etc(), "containerd.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	s.Containerd.Path = filepath.Join(bin, "containerd")
	// It finds its shim, and the shim runc, on the PATH.
	s.Containerd.Env = append(s.Containerd.Env, "PATH="+bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	if err := s.Containerd.Start(ctx, s.Env["containerd"]...); err != nil {
		return err
	}
	return s.removeForeignContainers(ctx)
}

func (s *Stack) containerdBin(ctx context.Context) (string, error) {
	if s.ContainerdBin != "" {
		return s.ContainerdBin, nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.Checkout, "packaging/containerd/build.sh"))
	cmd.Env = append(os.Environ(), "EASEL_CACHE="+s.Cache)
	progress := &lineWriter{line: func(l string) { s.progress(Progress{Step: "containerd", Line: l}) }}
	var stderr bytes.Buffer
	cmd.Stderr = io.MultiWriter(&stderr, progress)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the pinned containerd: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// client talks to the stack's containerd; the caller closes it.
func (s *Stack) client(ctx context.Context) (*client.Client, context.Context, error) {
	c, err := client.New(s.ContainerdAddress())
	if err != nil {
		return nil, nil, fmt.Errorf("connect to containerd at %s: %w", s.ContainerdAddress(), err)
	}
	return c, namespaces.WithNamespace(ctx, Namespace), nil
}

// removeForeignContainers forgets containers that a killed stack of another directory left in this root. Its own are noded's
// to take over, and noded has the final say on them.
func (s *Stack) removeForeignContainers(ctx context.Context) error {
	if s.adopt {
		return nil
	}
	_, err := s.forgetContainers(ctx)
	return err
}

// removeContainers says which containers are left after all sessions ended, and removes them.
func (s *Stack) removeContainers(ctx context.Context) error {
	left, err := s.forgetContainers(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("these containers or snapshots were left behind, and have been removed: %s", strings.Join(left, ", "))
	}
	return nil
}

func (s *Stack) forgetContainers(ctx context.Context) (left []string, err error) {
	c, ctx, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	containers, err := c.Containers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, ctr := range containers {
		left = append(left, "container "+ctr.ID())
		if task, err := ctr.Task(ctx, nil); err == nil {
			if _, err := task.Delete(ctx, client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
				return left, fmt.Errorf("end container %s: %w", ctr.ID(), err)
			}
		}
		if err := ctr.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return left, fmt.Errorf("remove container %s: %w", ctr.ID(), err)
		}
	}
	orphans, err := removeActiveSnapshots(ctx, c)
	return append(left, orphans...), err
}

// removeActiveSnapshots removes the writable snapshots, which are containers' alone: an image's layers are committed ones.
func removeActiveSnapshots(ctx context.Context, c *client.Client) (removed []string, err error) {
	service := c.SnapshotService("overlayfs")
	var active []string
	err = service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			active = append(active, info.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, name := range active {
		if err := service.Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			return removed, fmt.Errorf("remove snapshot %s: %w", name, err)
		}
		removed = append(removed, "snapshot "+name)
	}
	return removed, nil
}

// importImage builds the session image if the cache has none, and imports it if containerd has not. Both are quick the second time.
func (s *Stack) importImage(ctx context.Context) error {
	if s.NoImage {
		return nil
	}
	cmd := s.command(ctx, "noded", "image", "build", "--config", s.NodedConfigPath())
	progress := &lineWriter{line: func(l string) { s.progress(Progress{Step: "session image", Line: l}) }}
	tail := &tailWriter{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(progress, tail), io.MultiWriter(progress, tail)
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		return fmt.Errorf("build and import the session image: %w; its last words:\n%s", err, tail)
	}
	return nil
}

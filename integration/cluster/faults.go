package cluster

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"easel/integration/devstack"
)

// hang stops a process as a machine that swaps to death does; it lives, holds its sockets and answers nothing.
func hang(p *devstack.Process) error { return signal(p, syscall.SIGSTOP) }

// resume lets a stopped process go on; one that runs or is dead is no error.
func resume(p *devstack.Process) error { return signal(p, syscall.SIGCONT) }

func signal(p *devstack.Process, s syscall.Signal) error {
	pid := p.PID()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal %v to %s: %w", s, p.Name, err)
	}
	return nil
}

func startDead(ctx context.Context, p *devstack.Process) error {
	if p.PID() != 0 {
		return nil
	}
	return p.Start(ctx)
}

// Partition cuts places off from others, both ways; each side still has itself. The artist's place is cut from nobody.
func (c *Cluster) Partition(ctx context.Context, side []*place) error {
	var other []string
	inSide := map[*place]bool{}
	for _, p := range side {
		inSide[p] = true
	}
	for _, p := range c.places() {
		if p != c.artist && !inSide[p] {
			other = append(other, p.ip)
		}
	}
	for _, p := range side {
		if err := p.filter(ctx, rules{cut: other}); err != nil {
			return err
		}
	}
	return nil
}

// Lose makes a place's network lose some of what arrives, in per cent.
func (c *Cluster) Lose(ctx context.Context, p *place, percent int) error {
	return p.filter(ctx, rules{loss: percent})
}

// PullPlug ends a node as a power cut does: everything on it at once, with no farewell. Its disk stays as it is; what lay in memory is gone.
func (c *Cluster) PullPlug(ctx context.Context, n *Node) error {
	_ = n.Noded.Kill()
	_ = n.Containerd.Kill()
	return errors.Join(n.place().Remove(ctx), n.makeRunDirs())
}

package cluster

import (
	"context"

	easelv1 "easel/pkg/api/easel/v1"
)

// Trust is where a member learns what its cluster trusts.
type Trust interface {
	Trust() *easelv1.Trust
	Changed() <-chan struct{}
}

// Coordinators are the addresses for members of the coordinators that are there.
func (c *Cluster) Coordinators() []string {
	var all []string
	for _, m := range c.Members() {
		if m.Meta.Role == RoleCoordinator && m.Meta.API != "" {
			all = append(all, m.Meta.API)
		}
	}
	return all
}

// FollowTrust gives the gossip the keys of each new trust, asks Config.Admit about everybody again, and then tells the others which
// version this member has applied, until ctx ends.
func (c *Cluster) FollowTrust(ctx context.Context, trust Trust) {
	for ctx.Err() == nil {
		changed := trust.Changed()
		now := trust.Trust()
		err := c.SetKeys(now.GetGossipKeys())
		if err == nil {
			c.Readmit()
			c.SetTrust(now.GetVersion())
		} else {
			c.log.Warn("the gossip does not follow the cluster's trust", "version", now.GetVersion(), "error", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

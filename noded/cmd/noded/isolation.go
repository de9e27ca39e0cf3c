package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"easel/pkg/cluster"
)

// isolatedAfter is how long no coordinator may be in sight before the node takes no new sessions. A coordinator that is
// started anew is back sooner.
const isolatedAfter = 3 * time.Second

// coordinatorInSight tells whether any member can place sessions here.
func coordinatorInSight(members []cluster.Member) bool {
	return slices.ContainsFunc(members, func(m cluster.Member) bool { return m.Meta.Role == cluster.RoleCoordinator })
}

// membership is what gossip knows of the cluster.
type membership interface {
	Members() []cluster.Member
	Changed() <-chan struct{}
}

// watchIsolation tells the node whether it is cut off from all coordinators, until ctx ends.
func watchIsolation(ctx context.Context, c membership, set func(isolated bool), log *slog.Logger) {
	look := time.NewTicker(time.Second) // members that go silent change nothing else
	defer look.Stop()
	seen, isolated := time.Now(), false
	for {
		changed := c.Changed()
		if coordinatorInSight(c.Members()) {
			seen = time.Now()
		}
		if is := time.Since(seen) > isolatedAfter; is != isolated {
			isolated = is
			if is {
				log.Warn("no coordinator is in sight: the sessions go on, new ones are refused", "for", isolatedAfter)
			} else {
				log.Info("a coordinator is in sight again: the node takes sessions")
			}
			set(is)
		}
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

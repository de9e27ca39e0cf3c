package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// Member is one member of the cluster, of either role, as this one sees it. Itself is among its members.
type Member struct {
	Meta    Meta
	Address string // host:port of its gossip
	Suspect bool   // it has missed heartbeats, and may be about to go
	// Heard is when it was heard last at first hand, by this machine's clock. Only a member and a coordinator
	// exchange heartbeats; of two nodes it tells when this one learned of the other.
	Heard      time.Time
	Coordinate Coordinate
}

// member is what is kept of another, under Cluster.mu.
type member struct {
	meta       Meta
	node       memberlist.Node // where to send to
	refused    bool            // Config.Admit does not take it
	silent     bool            // too many heartbeats are missing
	heard      time.Duration   // when it was heard last, by Cluster.clock
	heardAt    time.Time
	coordinate Coordinate
}

// Members returns the members that are there and not silent, sorted by role and name.
func (c *Cluster) Members() []Member {
	self := c.Coordinate()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Member, 0, len(c.members))
	for name, m := range c.members {
		if m.refused || m.silent {
			continue
		}
		one := Member{Meta: m.meta, Address: m.node.Address(), Suspect: c.suspectLocked(name, m), Heard: m.heardAt, Coordinate: m.coordinate}
		if name == c.self() {
			one.Coordinate, one.Suspect, one.Heard = self, false, time.Now()
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Meta.Role, b.Meta.Role), cmp.Compare(a.Meta.Name, b.Meta.Name))
	})
	return all
}

// SetTrust tells the coordinators which version of the cluster's trust this member has applied.
func (c *Cluster) SetTrust(version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Meta.Trust = version
	if m, ok := c.members[c.self()]; ok {
		m.meta.Trust = version
	}
	c.view = nil
}

// Readmit asks Config.Admit about every member again. Call it when Admit's answers have changed: who is refused
// is out of the view at once, whatever it still sends.
func (c *Cluster) Readmit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, m := range c.members {
		c.judgeLocked(name, m)
	}
}

func (c *Cluster) judgeLocked(name string, m *member) {
	err := c.admit(m.meta)
	if refused := err != nil; refused != m.refused {
		m.refused = refused
		c.log.Info("member admitted anew", "member", name, "refused", refused, "reason", err)
		c.notifyLocked()
	}
}

// admit asks Config.Admit about another member.
func (c *Cluster) admit(meta Meta) error {
	if c.cfg.Admit == nil || memberName(meta.Role, meta.Name) == c.self() {
		return nil
	}
	return c.cfg.Admit(meta)
}

// self is this member's name among all.
func (c *Cluster) self() string { return memberName(c.cfg.Role, c.cfg.Name) }

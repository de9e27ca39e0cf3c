package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"
)

// updateTimeout bounds how long SetTrust waits until a change of this member's description is on its way.
const updateTimeout = 2 * time.Second

// Member is one member of the cluster, of either role, as this one sees it. Itself is among its members.
type Member struct {
	Meta       Meta
	Address    string // host:port of its gossip
	Suspect    bool   // it has gone silent, and may be about to go
	Heard      time.Time
	Coordinate Coordinate
}

// member is what is kept of another, under Cluster.mu.
type member struct {
	meta       Meta
	node       memberlist.Node // where to send to
	refused    bool            // Config.Admit does not take it
	heard      time.Time
	coordinate Coordinate
}

// Members returns the members that are there, sorted by role and name.
func (c *Cluster) Members() []Member {
	self := c.Coordinate()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Member, 0, len(c.members))
	for name, m := range c.members {
		if m.refused {
			continue
		}
		one := Member{Meta: m.meta, Address: m.node.Address(), Suspect: c.suspectLocked(m), Heard: m.heard, Coordinate: m.coordinate}
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

// SetTrust tells the others which version of the cluster's trust this member has applied.
func (c *Cluster) SetTrust(version uint64) error {
	c.mu.Lock()
	same := c.cfg.Meta.Trust == version
	c.cfg.Meta.Trust = version
	c.mu.Unlock()
	if same {
		return nil
	}
	if err := c.list.UpdateNode(updateTimeout); err != nil {
		return fmt.Errorf("tell the cluster of trust version %d: %w", version, err)
	}
	return nil
}

// Readmit asks Config.Admit about every member again. Call it when Admit's answers have changed: who is refused
// is out of the view at once, whatever it still sends.
func (c *Cluster) Readmit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, m := range c.members {
		err := c.admit(m.meta)
		if refused := err != nil; refused != m.refused {
			m.refused = refused
			c.log.Info("member admitted anew", "member", name, "refused", refused, "reason", err)
			c.notifyLocked()
		}
	}
}

// admit asks Config.Admit about another member.
func (c *Cluster) admit(meta Meta) error {
	if c.cfg.Admit == nil || memberName(meta.Role, meta.Name) == c.self() {
		return nil
	}
	return c.cfg.Admit(meta)
}

func (c *Cluster) suspectLocked(m *member) bool { return time.Since(m.heard) > c.expiry()/2 }

// self is this member's name among all.
func (c *Cluster) self() string { return memberName(c.cfg.Role, c.cfg.Name) }

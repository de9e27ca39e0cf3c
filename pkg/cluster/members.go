package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
	"unique"

	"github.com/hashicorp/memberlist"
)

// Member is one member of the cluster, of either role, as this one sees it. Itself is among its members.
type Member struct {
	Meta    Meta
	Address string // host:port of its gossip
	Suspect bool   // it has missed heartbeats, and may be about to go
	// Heard is when it was heard last, by this machine's clock, and Coordinate where it is. Only a member and a coordinator
	// exchange heartbeats: of two nodes both are zero.
	Heard      time.Time
	Coordinate Coordinate
}

// member is what is kept of another, under Cluster.mu. It is small: every member keeps one of every other.
type member struct {
	said    unique.Handle[description]
	record  received // its last capacity record, of a node
	beats   *contact // nil when it and this member exchange no heartbeats
	refused bool     // Config.Admit does not take it
}

// description is what a member says of itself.
type description struct {
	meta Meta
	wire string // meta as it came
	addr netip.AddrPort
}

// contact is what is known at first hand of a member with whom this one exchanges heartbeats.
type contact struct {
	node       memberlist.Node // where to send to
	silent     bool            // too many heartbeats are missing
	heard      time.Duration   // when it was heard last, by Cluster.clock
	heardAt    time.Time
	trust      uint64 // that it has applied, when its description does not tell yet
	coordinate Coordinate
}

func (m *member) silent() bool { return m.beats != nil && m.beats.silent }

// known is what is known of m, what its heartbeats told included.
func (m *member) known() Meta {
	meta := m.said.Value().meta
	if m.beats != nil {
		meta.Trust = max(meta.Trust, m.beats.trust)
	}
	return meta
}

// Members returns the members that are there and not silent, sorted by role and name.
func (c *Cluster) Members() []Member {
	here := c.Coordinate()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Member, 0, len(c.members))
	for name, m := range c.members {
		if m.refused || m.silent() {
			continue
		}
		one := Member{Meta: m.known(), Address: m.said.Value().addr.String()}
		if b := m.beats; b != nil {
			one.Suspect, one.Heard, one.Coordinate = c.suspectLocked(m), b.heardAt, b.coordinate
		}
		if name == c.self {
			one.Meta, one.Coordinate, one.Heard = c.cfg.Meta, here, time.Now()
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
	err := c.admit(m.known())
	if refused := err != nil; refused != m.refused {
		m.refused = refused
		c.log.Info("member admitted anew", "member", name, "refused", refused, "reason", err)
		c.notifyLocked()
	}
}

// admit asks Config.Admit about another member.
func (c *Cluster) admit(meta Meta) error {
	if c.cfg.Admit == nil || memberName(meta.Role, meta.Name) == c.self {
		return nil
	}
	return c.cfg.Admit(meta)
}

// Size is the number of members of both roles that gossip takes for alive, this one included.
func (c *Cluster) Size() int { return int(c.size.Load()) }

package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is Cluster as memberlist calls it. Its methods run inside memberlist's network loops, some of
// them under its locks: they copy, hand off, and never wait or call back into memberlist.
type delegate Cluster

// NodeMeta returns what every member learns of this one.
func (d *delegate) NodeMeta(limit int) []byte {
	c := (*Cluster)(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	meta, err := encodeMeta(d.cfg.Meta) // Start has checked it
	if err != nil || len(meta) > limit {
		return nil
	}
	return meta
}

// NotifyMsg takes one broadcast record.
func (d *delegate) NotifyMsg(msg []byte) {
	rec, err := decodeCapacity(msg, time.Now())
	if err != nil {
		d.log.Warn("capacity record refused", "error", err)
		return
	}
	d.handOff([]Capacity{rec})
}

// GetBroadcasts returns what there is to tell, within limit bytes.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState returns every recent record, for a member that joins or compares notes.
func (d *delegate) LocalState(bool) []byte {
	c := (*Cluster)(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	var records [][]byte
	for _, r := range c.records {
		if time.Since(r.seen) <= c.expiry() {
			records = append(records, r.wire)
		}
	}
	slices.SortFunc(records, slices.Compare)
	return encodeState(records)
}

// MergeRemoteState takes another member's LocalState.
func (d *delegate) MergeRemoteState(buf []byte, _ bool) {
	records, err := decodeState(buf, time.Now())
	if err != nil {
		d.log.Warn("state of another member refused", "error", err)
		return
	}
	if len(records) > 0 {
		d.handOff(records)
	}
}

func (d *delegate) handOff(records []Capacity) {
	select {
	case d.inbox <- records:
	default:
		d.log.Debug("too many capacity records at once: some dropped, their nodes will repeat them")
	}
}

// NotifyAlive refuses members whose description is malformed or names somebody else, and those that Config.Admit does not take.
func (d *delegate) NotifyAlive(peer *memberlist.Node) error {
	meta, err := decodeMeta(peer.Meta)
	if err != nil {
		return fmt.Errorf("member %q: %w", peer.Name, err)
	}
	if want := memberName(meta.Role, meta.Name); peer.Name != want {
		return fmt.Errorf("member %q describes itself as %q", peer.Name, want)
	}
	return (*Cluster)(d).admit(meta)
}

// NotifyJoin adds a member.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.setMember(n, "member joined") }

// NotifyUpdate changes what is known of a member.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.setMember(n, "member changed") }

func (d *delegate) setMember(n *memberlist.Node, what string) {
	meta, err := decodeMeta(n.Meta)
	if err != nil || n.Name != memberName(meta.Role, meta.Name) {
		return // NotifyAlive refused it
	}
	c := (*Cluster)(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	m, known := c.members[n.Name]
	if !known {
		m = &member{heard: time.Now()}
		c.members[n.Name] = m
	}
	m.meta, m.refused, m.node = meta, false, *n // NotifyAlive has asked whether it is admitted
	c.size.Store(int32(len(c.members)))
	c.notifyLocked()
	c.log.Info(what, "member", n.Name, "address", n.Address(), "version", meta.Version)
}

// NotifyLeave takes a member and its record out of the view.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	c := (*Cluster)(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.members, n.Name)
	c.place.ForgetNode(n.Name)
	c.size.Store(int32(len(c.members)))
	if name, ok := strings.CutPrefix(n.Name, memberName(RoleNode, "")); ok && name != c.cfg.Name {
		delete(c.records, name)
	}
	c.notifyLocked()
	c.log.Info("member left", "member", n.Name, "address", n.Address())
	select {
	case c.lost <- struct{}{}:
	default: // keepJoined is awake already
	}
}

// broadcast is one record on its way; a newer one of the same node replaces it in the queue.
type broadcast struct {
	name    string
	message []byte
}

func (b *broadcast) Name() string    { return b.name }
func (b *broadcast) Message() []byte { return b.message }
func (b *broadcast) Finished()       {}
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.name == b.name
}

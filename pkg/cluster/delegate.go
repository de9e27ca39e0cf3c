package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unique"

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

// NotifyMsg takes one message. What it says is decoded here, where memberlist has its own goroutine for it.
func (d *delegate) NotifyMsg(msg []byte) {
	if len(msg) > 0 && msg[0] == msgRecord && d.knows(msg[1:], true) {
		return
	}
	m, err := decodeMessage(msg, time.Now())
	if err != nil {
		d.count.refused.WithLabelValues(refusedRecord).Inc()
		d.log.Warn("gossip refused", "error", err)
		return
	}
	d.handOff(m)
}

// knows tells whether a record is the one that is held of its node, so that it can be left undecoded: gossip brings each
// about a dozen times, and comparing notes brings all of them.
func (d *delegate) knows(wire []byte, gossiped bool) bool {
	name := recordName(wire)
	d.mu.Lock()
	defer d.mu.Unlock()
	m, ok := d.members[memberName(RoleNode, string(name))]
	return ok && m.record.seq > 0 && (m.record.passed || !gossiped) && m.record.wire.Value() == string(wire)
}

// decodeMessage returns an arrived, a beat or an answer.
func decodeMessage(msg []byte, now time.Time) (any, error) {
	if len(msg) == 0 {
		return nil, errors.New("decode message: it is empty")
	}
	switch kind, body := msg[0], msg[1:]; kind {
	case msgRecord, msgDirect:
		rec, err := decodeCapacity(body, now)
		if err != nil {
			return nil, err
		}
		return arrived{records: []received{newReceived(rec, body, now)}, gossiped: kind == msgRecord}, nil
	case msgHeartbeat:
		return decodeBeat(body, now)
	case msgAnswer:
		return decodeAnswer(body, now)
	default:
		return nil, fmt.Errorf("decode message: kind %d is not known to this version", kind)
	}
}

// GetBroadcasts returns what there is to tell, within limit bytes.
func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

// LocalState returns every record of a node that is there, for a member that joins or compares notes.
func (d *delegate) LocalState(bool) []byte {
	c := (*Cluster)(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	records := make([]string, 0, len(c.members))
	for _, m := range c.members {
		if m.record.seq > 0 && !m.refused && !m.silent() {
			records = append(records, m.record.wire.Value())
		}
	}
	return encodeState(records)
}

// MergeRemoteState takes another member's LocalState.
func (d *delegate) MergeRemoteState(buf []byte, _ bool) {
	records, bad, err := decodeState(buf, time.Now(), func(wire []byte) bool { return d.knows(wire, false) })
	if err != nil {
		bad++
		d.log.Warn("state of another member refused", "error", err)
	}
	d.count.refused.WithLabelValues(refusedRecord).Add(float64(bad))
	if len(records) > 0 {
		d.handOff(arrived{records: records})
	}
}

func (d *delegate) handOff(message any) {
	select {
	case d.inbox <- message:
	default:
		d.count.dropped.Inc()
	}
}

// NotifyAlive refuses members whose description is malformed or names somebody else, and those that Config.Admit does not take.
func (d *delegate) NotifyAlive(peer *memberlist.Node) error {
	c := (*Cluster)(d)
	meta, err := c.description(peer)
	if err != nil {
		return err
	}
	if err := c.admit(meta); err != nil {
		d.count.refused.WithLabelValues(refusedMember).Inc()
		return err
	}
	return nil
}

// description is what a member says of itself. It is asked for again and again, seldom for anything new.
func (c *Cluster) description(peer *memberlist.Node) (Meta, error) {
	c.mu.Lock()
	m, ok := c.members[peer.Name]
	if ok && m.said.Value().wire == string(peer.Meta) {
		defer c.mu.Unlock()
		return m.known(), nil
	}
	c.mu.Unlock()
	meta, err := decodeMeta(peer.Meta)
	if err != nil {
		return Meta{}, fmt.Errorf("member %q: %w", peer.Name, err)
	}
	if want := memberName(meta.Role, meta.Name); peer.Name != want {
		return Meta{}, fmt.Errorf("member %q describes itself as %q", peer.Name, want)
	}
	return meta, nil
}

// NotifyJoin adds a member.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.setMember(n, "member joined") }

// NotifyUpdate changes what is known of a member.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.setMember(n, "member changed") }

func (d *delegate) setMember(n *memberlist.Node, what string) {
	c := (*Cluster)(d)
	meta, err := c.description(n)
	if err != nil {
		return // NotifyAlive refused it
	}
	ip, _ := netip.AddrFromSlice(n.Addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	m, known := c.members[n.Name]
	if !known {
		m = &member{}
		c.members[n.Name] = m
		if c.exchanges(n.Name, meta.Role) {
			m.beats = &contact{heard: c.clock.now(), heardAt: time.Now()}
			c.contacts[n.Name] = m
			d.handOff(met(n.Name))
		}
	}
	m.said = unique.Make(description{meta, string(n.Meta), netip.AddrPortFrom(ip.Unmap(), n.Port)})
	m.refused = false
	if m.beats != nil {
		m.beats.node = *n
	}
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
	delete(c.contacts, n.Name)
	c.place.ForgetNode(n.Name)
	c.size.Store(int32(len(c.members)))
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

func newBroadcast(name string, r received) *broadcast {
	return &broadcast{name: name, message: r.message(msgRecord)}
}

func (b *broadcast) Name() string    { return b.name }
func (b *broadcast) Message() []byte { return b.message }
func (b *broadcast) Finished()       {}
func (b *broadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*broadcast)
	return ok && o.name == b.name
}

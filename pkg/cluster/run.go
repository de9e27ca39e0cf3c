package cluster

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// minInterval spaces the records of one member, so that a burst of changes becomes one.
	minInterval = 100 * time.Millisecond
	// gossipShare is the pace of gossip: of n members each tells all others of a change at once, and of further changes every
	// n/10 s, so that all of them together cost a member some 20 kB/s at most, whatever the size. Coordinators hear of
	// every change directly.
	gossipShare = time.Second / 10
)

// run takes in what others send, sends this node's records and heartbeats, and takes silent members out of the view.
func (c *Cluster) run(ctx context.Context) {
	tick := time.NewTicker(c.cfg.tick())
	defer tick.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	var g gossiped
	beats := rand.IntN(coordinateEvery) // so that not all members send their place at once
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case message := <-c.inbox:
			c.take(message)
		case <-c.kick:
			due.Reset(max(0, minInterval-time.Since(g.recorded)))
		case <-due.C:
			g.recorded = time.Now()
			c.record()
			c.gossip(&g)
		case <-tick.C:
			c.look()
			c.gossip(&g)
			if n++; n%2 == 0 {
				c.heartbeat(beats)
				beats++
			}
		}
	}
}

// gossiped is what this node has told all others last.
type gossiped struct {
	recorded time.Time // when a record was made last
	sent     time.Time
	rec      *Capacity
}

func (c *Cluster) take(message any) {
	switch m := message.(type) {
	case arrived:
		c.merge(m)
	case beat:
		c.hearBeat(m)
	case answer:
		c.hearAnswer(m)
	case met:
		c.greet(string(m))
	}
}

// arrived is records that came in; those that were gossiped are passed on.
type arrived struct {
	records  []received
	gossiped bool
}

// merge takes the records that are new. A node is heard only when it is a member, so that a record cannot outlive
// its node, and nobody but this node says what this node has.
func (c *Cluster) merge(a arrived) {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := false
	for _, r := range a.records {
		rec, name := r.rec, r.rec.Name
		if c.cfg.Role == RoleNode && name == c.cfg.Name {
			c.outbid(r.seq)
			continue
		}
		m, isMember := c.members[memberName(RoleNode, name)]
		if !isMember || m.refused {
			continue
		}
		old := m.record
		repeated := r.seq == old.seq
		if r.seq < old.seq || repeated && (old.passed || !a.gossiped) {
			continue
		}
		if r.passed = a.gossiped; r.passed { // also when it came directly before
			c.queue.QueueBroadcast(newBroadcast(name, r))
		}
		if c.cfg.Role == RoleNode {
			r.rec = nil
		}
		m.record = r
		if repeated {
			continue
		}
		c.view = nil
		before := old.capacity()
		news = news || before == nil || !sameRoom(before, rec) || before.Load != rec.Load
	}
	if news {
		c.notifyLocked()
	}
}

// outbid answers a record that claims this node's name: one from before a restart with a wrong clock,
// or a forgery. The next record gets a higher number, so the truth wins.
func (c *Cluster) outbid(seq uint64) {
	if seq <= c.seq {
		return
	}
	c.log.Warn("another record claims this node's name; repeating our own", "seq", seq)
	c.seq = seq
	c.wake()
}

func (c *Cluster) wake() {
	select {
	case c.kick <- struct{}{}:
	default: // a record is due already
	}
}

// record makes this node's next record and sends it to the coordinators.
func (c *Cluster) record() {
	c.mu.Lock()
	if c.own == nil {
		c.mu.Unlock()
		return
	}
	c.seq++
	rec := *c.own
	rec.Seq, rec.At = c.seq, time.Now()
	wire, err := encodeCapacity(&rec)
	if err != nil {
		c.mu.Unlock()
		c.log.Error("capacity record not sent", "error", err)
		return
	}
	r := newReceived(&rec, wire, time.Now())
	if m, ok := c.members[c.self]; ok {
		m.record = r
	}
	c.notifyLocked()
	c.mu.Unlock()
	c.tellCoordinators(r.message(msgDirect))
}

// gossip tells all others of this node's room when it differs from what they were told.
func (c *Cluster) gossip(g *gossiped) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.ownLocked()
	if r.seq == 0 || c.own == nil || (g.rec != nil && sameRoom(g.rec, r.rec)) || time.Since(g.sent) < c.gossipInterval() {
		return
	}
	g.rec, g.sent = r.rec, time.Now()
	c.queue.QueueBroadcast(newBroadcast(c.cfg.Name, r))
}

// ownLocked is this node's last record.
func (c *Cluster) ownLocked() received {
	if m, ok := c.members[c.self]; ok {
		return m.record
	}
	return received{}
}

func (c *Cluster) gossipInterval() time.Duration {
	return max(minInterval, gossipShare*time.Duration(len(c.members)))
}

func (c *Cluster) notifyLocked() {
	c.view = nil
	close(c.changed)
	c.changed = make(chan struct{})
}

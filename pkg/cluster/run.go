package cluster

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// minInterval spaces the records of one member, so that a burst of changes becomes one.
	minInterval = 100 * time.Millisecond
	// membersAnInterval is the size of a cluster in which members gossip as often as minInterval allows; in a larger
	// one each gossips that much less often, so that all of them together cost a member no more. Coordinators hear every
	// record directly, whatever the size.
	membersAnInterval = 50
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
		if c.cfg.Role == RoleNode && r.Name == c.cfg.Name {
			c.outbid(r.Seq)
			continue
		}
		m, isMember := c.members[memberName(RoleNode, r.Name)]
		old := c.records[r.Name]
		if !isMember || m.refused || r.Seq < old.seq() {
			continue
		}
		repeated := r.Seq == old.seq()
		if repeated && (old.passed || !a.gossiped) {
			continue
		}
		if r.passed = a.gossiped; r.passed { // also when it came directly before
			c.queue.QueueBroadcast(newBroadcast(r))
		}
		c.records[r.Name] = r
		if repeated {
			continue
		}
		c.view = nil
		news = news || old.Capacity == nil || !sameRoom(old.Capacity, r.Capacity) || old.Load != r.Load
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
	c.records[rec.Name] = received{Capacity: &rec, wire: wire, seen: time.Now()}
	c.notifyLocked()
	c.mu.Unlock()
	c.tellCoordinators(append([]byte{msgDirect}, wire...))
}

// gossip tells all others of this node's room when it differs from what they were told.
func (c *Cluster) gossip(g *gossiped) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.records[c.cfg.Name]
	if !ok || c.own == nil || (g.rec != nil && sameRoom(g.rec, r.Capacity)) || time.Since(g.sent) < c.gossipInterval() {
		return
	}
	g.rec, g.sent = r.Capacity, time.Now()
	c.queue.QueueBroadcast(newBroadcast(r))
}

func (c *Cluster) gossipInterval() time.Duration {
	return minInterval * time.Duration(1+len(c.members)/membersAnInterval)
}

func (c *Cluster) notifyLocked() {
	c.view = nil
	close(c.changed)
	c.changed = make(chan struct{})
}

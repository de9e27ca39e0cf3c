package cluster

import (
	"context"
	"slices"
	"time"
)

// Members to join are asked ever less often, but for ever: members forget the dead, so that only the
// addresses to join heal a cluster that fell in two.
const (
	joinBackoffMin = 500 * time.Millisecond
	joinBackoffMax = 30 * time.Second
)

// run merges records that arrive, repeats this node's own, and takes silent nodes out of the view.
func (c *Cluster) run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case records := <-c.inbox:
			c.merge(records)
		case <-c.kick:
			next.Reset(max(0, minInterval-time.Since(last)))
		case <-next.C:
			c.broadcastOwn()
			c.expire()
			last = time.Now()
			next.Reset(c.heartbeat())
		}
	}
}

// merge takes the records that are new, and passes them on. A node is heard only when it is a member,
// so that a record cannot outlive its node, and nobody but this node says what this node has.
func (c *Cluster) merge(records []Capacity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, news := time.Now(), false
	for _, rec := range records {
		if c.cfg.Role == RoleNode && rec.Name == c.cfg.Name {
			c.outbid(rec.Seq)
			continue
		}
		m, isMember := c.members[memberName(RoleNode, rec.Name)]
		old, known := c.records[rec.Name]
		if !isMember || m.refused || (known && rec.Seq <= old.Seq) {
			continue
		}
		m.heard = now
		wire, err := encodeCapacity(rec)
		if err != nil { // it was decoded from bytes that fitted, so it fits
			c.log.Warn("capacity record dropped", "node", rec.Name, "error", err)
			continue
		}
		c.records[rec.Name] = received{Capacity: rec, wire: wire, seen: now}
		c.queue.QueueBroadcast(&broadcast{name: rec.Name, message: wire})
		news = news || !known || !sameRoom(old.Capacity, rec)
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
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *Cluster) broadcastOwn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == nil {
		return
	}
	c.seq++
	rec := *c.own
	rec.Seq, rec.At = c.seq, time.Now()
	wire, err := encodeCapacity(rec)
	if err != nil {
		c.log.Error("capacity record not sent", "error", err)
		return
	}
	old, known := c.records[rec.Name]
	c.records[rec.Name] = received{Capacity: rec, wire: wire, seen: time.Now()}
	c.queue.QueueBroadcast(&broadcast{name: rec.Name, message: wire})
	if !known || !sameRoom(old.Capacity, rec) {
		c.notifyLocked()
	}
}

func (c *Cluster) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, r := range c.records {
		if age := time.Since(r.seen); age > c.expiry() {
			c.log.Warn("node taken out of the view: it went silent", "node", name, "age", age.Round(time.Millisecond))
			delete(c.records, name)
			c.notifyLocked()
		}
	}
}

// heartbeat grows with the cluster, so that the gossip of a large one stays affordable.
func (c *Cluster) heartbeat() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heartbeatLocked()
}

func (c *Cluster) heartbeatLocked() time.Duration {
	return c.cfg.Heartbeat * time.Duration(1+len(c.members)/50)
}

// expiry is the age at which a record no longer counts; c.mu is held.
func (c *Cluster) expiry() time.Duration { return missedHeartbeats * c.heartbeatLocked() }

func (c *Cluster) notifyLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// sameRoom tells whether two records differ in nothing that a reader of the view would act on.
func sameRoom(a, b Capacity) bool {
	return a.Total == b.Total && a.Used == b.Used && a.Draining == b.Draining && a.Full == b.Full &&
		slices.Equal(a.Images, b.Images)
}

// keepJoined joins the configured members, again and again, and soon when a member has gone: it may come
// back and know nobody. One that answers may still be the one that is going, so answers end nothing.
func (c *Cluster) keepJoined(ctx context.Context) {
	backoff := joinBackoffMin
	for {
		c.join(ctx)
		select {
		case <-ctx.Done():
			return
		case <-c.lost:
			backoff = joinBackoffMin
		case <-time.After(backoff):
			backoff = min(2*backoff, joinBackoffMax)
		}
	}
}

// join asks every configured address, one after the other, so that the end of ctx waits for one
// connection at the most.
func (c *Cluster) join(ctx context.Context) {
	for _, addr := range c.cfg.Join {
		if ctx.Err() != nil {
			return
		}
		if _, err := c.list.Join([]string{addr}); err != nil {
			c.log.Info("cannot join the cluster yet, trying again", "address", addr, "error", err)
		}
	}
}

package cluster

import (
	"time"

	"github.com/hashicorp/memberlist"
)

// Every member sends a small heartbeat to every coordinator, directly, and is answered. So a coordinator knows at
// first hand who is there, in the same few seconds whatever the size of the cluster and whatever memberlist, whose
// suspicion takes longer the more members there are, still thinks; and a member knows whether coordinators hear it.
const (
	// defaultHeartbeat and missedHeartbeats make 4.2 s: a lost node is out of the view in less than 5 s, and at 5 % loss
	// the six in a row that a live one would have to lose are one in 64 million.
	defaultHeartbeat = 700 * time.Millisecond
	missedHeartbeats = 6
	// suspectHeartbeats is how many may go missing before a member is suspected.
	suspectHeartbeats = 3
	// coordinateEvery spaces the heartbeats that carry the sender's place, which moves slowly.
	coordinateEvery = 8
)

func (cfg *Config) expiry() time.Duration { return missedHeartbeats * cfg.Heartbeat }

// clock tells time that this process was awake for: a coordinator that was stopped for a while must not take all
// nodes for lost when it goes on, before it has read what they sent meanwhile.
type clock struct {
	awake time.Duration // at tick
	tick  time.Time
	limit time.Duration // more than this between two ticks was a pause
}

func (c *clock) now() time.Duration { return c.awake + min(time.Since(c.tick), c.limit) }

func (c *clock) advance() { c.awake, c.tick = c.now(), time.Now() }

// tick is how often run looks who has gone silent.
func (cfg *Config) tick() time.Duration { return cfg.Heartbeat / 2 }

// heartbeat sends one to every coordinator.
func (c *Cluster) heartbeat(n int) {
	var place []byte
	if n%coordinateEvery == 0 {
		place = c.Coordinate().append(nil)
	}
	c.mu.Lock()
	msg := c.beatLocked(place)
	c.mu.Unlock()
	c.tellCoordinators(msg)
}

func (c *Cluster) beatLocked(place []byte) []byte {
	var seq uint64
	if c.own != nil {
		seq = c.seq
	}
	return encodeBeat(c.cfg.Role, c.cfg.Name, seq, c.cfg.Meta.Trust, place)
}

// met is the name of a contact that is new.
type met string

// greet tells a new contact at once what the next heartbeats would: who restarts again and again would never come to send one.
func (c *Cluster) greet(name string) {
	c.mu.Lock()
	m, ok := c.contacts[name]
	if !ok || m.refused {
		c.mu.Unlock()
		return
	}
	to, coordinator, have := m.beats.node, m.said.Value().meta.Role == RoleCoordinator, m.record.seq
	msg := c.beatLocked(nil)
	c.mu.Unlock()
	if !coordinator { // only coordinators are sent heartbeats; they ask for what they lack
		msg = encodeAnswer(c.cfg.Role, c.cfg.Name, have)
	}
	c.send(&to, msg)
}

// tellCoordinators sends msg to every coordinator but this member.
func (c *Cluster) tellCoordinators(msg []byte) {
	c.mu.Lock()
	var to []memberlist.Node
	for _, m := range c.contacts {
		if !m.refused && m.said.Value().meta.Role == RoleCoordinator {
			to = append(to, m.beats.node)
		}
	}
	c.mu.Unlock()
	for i := range to {
		c.send(&to[i], msg)
	}
}

func (c *Cluster) send(to *memberlist.Node, msg []byte) {
	if err := c.list.SendBestEffort(to, msg); err != nil {
		c.log.Debug("message not sent", "member", to.Name, "error", err) // the next heartbeat makes up for it
	}
}

// hearBeat notes that a member is there and answers it with the number of the record that is known of it, so that it
// sends a newer one again when that was lost.
func (c *Cluster) hearBeat(b beat) {
	c.mu.Lock()
	m, ok := c.contacts[b.from]
	if !ok {
		c.mu.Unlock()
		c.log.Debug("heartbeat of no member", "from", b.from)
		return
	}
	if b.trust > m.known().Trust { // it may have been removed, and have joined again since
		m.beats.trust = b.trust
		c.view = nil
		c.judgeLocked(b.from, m)
	}
	if m.refused {
		c.mu.Unlock()
		return
	}
	c.heardLocked(b.from, m)
	if b.coordinate.Known() {
		m.beats.coordinate = b.coordinate
	}
	to, have := m.beats.node, m.record.seq
	c.mu.Unlock()
	c.send(&to, encodeAnswer(c.cfg.Role, c.cfg.Name, have))
}

// hearAnswer notes that a coordinator hears this member, and sends it the record that it lacks.
func (c *Cluster) hearAnswer(a answer) {
	c.mu.Lock()
	m, ok := c.contacts[a.from]
	if !ok || m.refused {
		c.mu.Unlock()
		return
	}
	c.heardLocked(a.from, m)
	if c.own == nil || a.seq == c.seq {
		c.mu.Unlock()
		return
	}
	if a.seq > c.seq {
		c.outbid(a.seq)
		c.mu.Unlock()
		return
	}
	to, r := m.beats.node, c.ownLocked()
	c.mu.Unlock()
	if r.seq > 0 {
		c.send(&to, r.message(msgDirect))
	}
}

func (c *Cluster) heardLocked(name string, m *member) {
	m.beats.heard, m.beats.heardAt = c.clock.now(), time.Now()
	if m.beats.silent {
		m.beats.silent = false
		c.log.Info("member is heard again", "member", name)
		c.notifyLocked()
	}
}

// exchanges tells whether a member and this one exchange heartbeats. Of the others gossip tells whether they are there.
func (c *Cluster) exchanges(name string, role string) bool {
	return name != c.self && (c.cfg.Role == RoleCoordinator || role == RoleCoordinator)
}

// suspectLocked tells whether m has missed heartbeats.
func (c *Cluster) suspectLocked(m *member) bool {
	return m.beats != nil && c.clock.now()-m.beats.heard > suspectHeartbeats*c.cfg.Heartbeat
}

// look takes members that have gone silent out of the view.
func (c *Cluster) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.advance()
	c.view = nil // ages and suspicions have changed
	for name, m := range c.contacts {
		if m.beats.silent {
			continue
		}
		if age := c.clock.now() - m.beats.heard; age > c.cfg.expiry() {
			m.beats.silent = true
			c.log.Warn("member went silent", "member", name, "for", age.Round(time.Millisecond))
			c.notifyLocked()
		}
	}
}

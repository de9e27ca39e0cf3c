package placement

import (
	"container/list"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"easel/pkg/cluster"
)

const (
	maxPings     = 32 // of one report
	maxNodePings = 64 // that are remembered of one client
	maxClients   = 20_000
	rememberPing = 30 * time.Minute
)

// Locator tells where an address is.
type Locator interface {
	Locate(address string) (cluster.Place, bool)
}

// Clients knows how far clients are: by where their addresses are, and by what their browsers measured. What one
// reports counts for the same user in the same network alone, so that who lies is led astray and nobody else.
// Its memory is bounded; its methods are safe for concurrent use.
type Clients struct {
	geo Locator
	now func() time.Time

	mu    sync.Mutex
	known map[client]*list.Element // of *measurements
	order *list.List               // the one that was heard of last is in front
}

type client struct {
	user    string
	network netip.Prefix
}

type measurements struct {
	client
	nodes map[string]measurement
}

type measurement struct {
	ms float64
	at time.Time
}

// NewClients returns Clients that know nobody yet. now is nil for time.Now.
func NewClients(geo Locator, now func() time.Time) *Clients {
	if now == nil {
		now = time.Now
	}
	return &Clients{geo: geo, now: now, known: map[client]*list.Element{}, order: list.New()}
}

// CheckPings says what cannot be in a browser's report of round trips, in ms by node.
func CheckPings(pings map[string]float64) error {
	if len(pings) > maxPings {
		return fmt.Errorf("pings has %d nodes, the limit is %d", len(pings), maxPings)
	}
	for node, ms := range pings {
		if !(ms > 0 && ms <= maxMeasurement) {
			return fmt.Errorf("pings: %.64q: %v ms: use 0 to %d", node, ms, maxMeasurement)
		}
	}
	return nil
}

// Complete adds to a request what is known of the client at address. The request's own pings, which must have
// passed CheckPings, are remembered.
func (c *Clients) Complete(req *Request, address string) {
	if place, ok := c.geo.Locate(address); ok {
		req.Place = place
	}
	who := client{req.User, networkOf(address)}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.of(who, len(req.Pings) > 0)
	if m == nil {
		return
	}
	now := c.now()
	maps.DeleteFunc(m.nodes, func(_ string, one measurement) bool { return now.Sub(one.at) > rememberPing })
	for node, ms := range req.Pings {
		if _, known := m.nodes[node]; known || len(m.nodes) < maxNodePings {
			m.nodes[node] = measurement{ms, now}
		}
	}
	all := make(map[string]float64, len(m.nodes))
	for node, one := range m.nodes {
		all[node] = one.ms
	}
	req.Pings = all
}

// of returns what is remembered of a client, nil when nothing is and nothing shall be; c.mu is held.
func (c *Clients) of(who client, remember bool) *measurements {
	if e, ok := c.known[who]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*measurements)
	}
	if !remember {
		return nil
	}
	if c.order.Len() >= maxClients {
		oldest := c.order.Back()
		delete(c.known, oldest.Value.(*measurements).client)
		c.order.Remove(oldest)
	}
	m := &measurements{client: who, nodes: map[string]measurement{}}
	c.known[who] = c.order.PushFront(m)
	return m
}

// networkOf is the part of an address within which distances are about the same.
func networkOf(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := ip.Unmap().WithZone(""), 24
	if ip.Is6() {
		bits = 48
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

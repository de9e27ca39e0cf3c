// Package cluster joins nodes and coordinators by gossip, so that every coordinator has a recent view of
// which nodes there are and how much room each has, without a server that could be down.
//
// The view is a hint: a node decides for itself what it takes. Members share one secret key; whoever
// holds it is trusted to speak for any node, so the key is kept as the nodes' own secrets are.
package cluster

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/coordinate"
)

// Roles of a member.
const (
	RoleNode        = "node"
	RoleCoordinator = "coordinator"
)

const (
	// label keeps Easel's gossip from merging with another program's.
	label = "easel-v1"
	// defaultHeartbeat is how often a node repeats its record in a small cluster.
	defaultHeartbeat = 2 * time.Second
	// missedHeartbeats is how many heartbeats may go missing before a node is taken out of the view.
	missedHeartbeats = 5
	// minInterval spaces the broadcasts of one member, so that a burst of changes becomes one record.
	minInterval = 100 * time.Millisecond
	// leaveTimeout bounds how long Close tells the others that this member goes.
	leaveTimeout = time.Second
	// inboxDepth bounds records that wait to be merged; a heartbeat makes up for a dropped one.
	inboxDepth = 512
)

// Config is what Start needs.
type Config struct {
	Name    string   // unique among members of one role; the host's name is a good one
	Role    string   // RoleNode or RoleCoordinator
	Bind    string   // host:port for TCP and UDP; port 0 takes a free one
	Join    []string // host:port of other members; joining is retried for ever
	Keys    [][]byte // secrets of 32 bytes each that decrypt gossip; the first encrypts, see SetKeys
	KeyFile string   // where Keys is empty: a file with one, see LoadOrCreateKeyFile
	Meta    Meta     // what others learn of this member; Name and Role are filled in
	Log     *slog.Logger

	// Admit says why another member is refused; nil takes it. It must be quick and not call the Cluster. See Readmit.
	Admit func(Meta) error

	Heartbeat time.Duration        // 0 means 2 s; every member of a cluster uses the same
	Transport memberlist.Transport // nil means the network at Bind
}

// Node is one node of the view.
type Node struct {
	Meta       Meta
	Capacity   Capacity
	Seen       time.Time // when its last record arrived here, by this machine's clock
	Suspect    bool      // it has missed heartbeats
	Coordinate Coordinate
}

// Cluster is one member's connection to the others. Its methods are safe for concurrent use.
type Cluster struct {
	cfg   Config
	log   *slog.Logger
	list  *memberlist.Memberlist
	place *coordinate.Client
	queue *memberlist.TransmitLimitedQueue
	inbox chan []Capacity
	kick  chan struct{} // a broadcast is due
	lost  chan struct{} // a member has gone: it may come back and know nobody
	stop  context.CancelFunc
	wg    sync.WaitGroup
	size  atomic.Int32 // len(members), for the queue, which asks under its own lock

	keysMu  sync.Mutex // one change of the keys at a time
	keyring *memberlist.Keyring

	mu       sync.Mutex
	members  map[string]*member  // of both roles, by member name
	records  map[string]received // last capacity record of each node, by node name
	own      *Capacity           // what this node publishes
	seq      uint64              // sequence number of the last record published
	changed  chan struct{}       // closed and replaced at every change of the view
	closing  sync.Once
	closeErr error
}

type received struct {
	Capacity
	wire []byte
	seen time.Time
}

// Start joins the cluster and returns without waiting for the others. Cancelling ctx ends the member's
// work as Close does, but without telling the others; call Close in any case.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("join the cluster as %s %q: %w", cfg.Role, cfg.Name, err)
	}
	c := &Cluster{
		cfg: cfg, log: cfg.Log,
		inbox: make(chan []Capacity, inboxDepth), kick: make(chan struct{}, 1), lost: make(chan struct{}, 1),
		members: map[string]*member{}, records: map[string]received{}, changed: make(chan struct{}),
		seq: uint64(time.Now().UnixMilli()),
	}
	c.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return max(1, int(c.size.Load())) }, RetransmitMult: 2}
	var err error
	if c.keyring, err = newKeyring(cfg.Keys); err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	if c.place, err = coordinate.NewClient(coordinate.DefaultConfig()); err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	conf, err := c.memberlistConfig()
	if err != nil {
		return nil, fmt.Errorf("join the cluster at %s: %w", cfg.Bind, err)
	}
	if c.list, err = memberlist.Create(conf); err != nil {
		return nil, fmt.Errorf("listen for the cluster on %s: %w; is another process using it, or is the address not this host's?", cfg.Bind, err)
	}
	ctx, c.stop = context.WithCancel(ctx)
	c.wg.Go(func() { c.run(ctx) })
	if len(cfg.Join) > 0 {
		c.wg.Go(func() { c.keepJoined(ctx) })
	}
	return c, nil
}

func (cfg *Config) complete() error {
	cfg.Meta.Name, cfg.Meta.Role = cfg.Name, cfg.Role
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	if len(cfg.Keys) == 0 && cfg.KeyFile != "" {
		key, err := LoadOrCreateKeyFile(cfg.KeyFile)
		if err != nil {
			return err
		}
		cfg.Keys = [][]byte{key}
	}
	if err := checkKeys(cfg.Keys); err != nil {
		return err
	}
	_, err := encodeMeta(cfg.Meta)
	return err
}

func (c *Cluster) memberlistConfig() (*memberlist.Config, error) {
	conf := memberlist.DefaultLANConfig()
	conf.Name = memberName(c.cfg.Role, c.cfg.Name)
	conf.Label = label
	conf.Keyring = c.keyring
	conf.EnableCompression = false // records are small, and capacity changes must cost little
	conf.TCPTimeout = 5 * time.Second
	conf.PushPullInterval = 10 * time.Second   // a member that was killed and is back knows nobody until then
	conf.DeadNodeReclaimTime = 5 * time.Second // a node may come back with another address
	conf.Delegate, conf.Events, conf.Alive, conf.Ping = (*delegate)(c), (*delegate)(c), (*delegate)(c), (*delegate)(c)
	conf.Logger = memberlistLogger(c.log)
	if c.cfg.Transport != nil {
		conf.Transport = c.cfg.Transport
		return conf, nil
	}
	host, port, err := net.SplitHostPort(c.cfg.Bind)
	if err != nil {
		return nil, fmt.Errorf("%w; write cluster.bind as address:port", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: use a number from 0 to 65535", port)
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("address %q: write cluster.bind with one of this host's IP addresses", host)
	}
	conf.BindAddr, conf.BindPort, conf.AdvertisePort = host, int(n), int(n)
	return conf, nil
}

// Addr is the address at which other members reach this one, host:port.
func (c *Cluster) Addr() string { return c.list.LocalNode().Address() }

// Publish makes rec this node's capacity record: it is sent to the others soon, and repeated until the
// next one. Name, Seq and At are filled in. Images that do not fit a packet are left out, with a warning.
func (c *Cluster) Publish(rec Capacity) error {
	if c.cfg.Role != RoleNode {
		return fmt.Errorf("publish capacity of %q: a %s has none", c.cfg.Name, c.cfg.Role)
	}
	rec.Name, rec.Seq, rec.At = c.cfg.Name, 1, time.Now()
	rec, left, err := fit(rec)
	if err != nil {
		return fmt.Errorf("publish capacity of %q: %w", c.cfg.Name, err)
	}
	if left > 0 {
		c.log.Warn("images left out of the capacity record: they do not fit one packet", "left_out", left)
	}
	c.mu.Lock()
	c.own = &rec
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default: // a broadcast is due already and will take this record
	}
	return nil
}

// Nodes returns the nodes that are members and whose record is recent, sorted by name.
func (c *Cluster) Nodes() []Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	nodes := make([]Node, 0, len(c.records))
	for name, r := range c.records {
		m, ok := c.members[memberName(RoleNode, name)]
		if !ok || m.refused || now.Sub(r.seen) > c.expiry() {
			continue
		}
		rec := r.Capacity
		rec.Images = slices.Clone(rec.Images)
		nodes = append(nodes, Node{Meta: m.meta, Capacity: rec, Seen: r.seen, Suspect: c.suspectLocked(m), Coordinate: m.coordinate})
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Meta.Name, b.Meta.Name) })
	return nodes
}

// Changed returns a channel that is closed at the next change of what Nodes returns. Ask for it before
// calling Nodes, so that no change falls between.
func (c *Cluster) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Close tells the others that this member leaves, and ends everything that Start began.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		c.stop()
		c.wg.Wait()
		// Leaving is a courtesy: the others find out by themselves when it fails.
		if err := c.list.Leave(leaveTimeout); err != nil {
			c.log.Debug("left the cluster without telling everybody", "error", err)
		}
		if err := c.list.Shutdown(); err != nil {
			c.closeErr = fmt.Errorf("leave the cluster: %w", err)
		}
	})
	return c.closeErr
}

func memberName(role, name string) string { return role + ":" + name }

// Package cluster joins nodes and coordinators by gossip, so that every coordinator has a recent view of
// which nodes there are and how much room each has, without a server that could be down.
//
// The view is a hint: a node decides for itself what it takes. Members share secret keys, which come with
// the cluster's trust; whoever holds them is trusted to speak for any node, so they are replaced when a member is removed.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
	// gossipInterval, gossipNodes and retransmitMult make news reach 99 % of 200 members in less than a second at 1 % loss;
	// in between a member sends nothing.
	gossipInterval = 100 * time.Millisecond
	gossipNodes    = 4
	retransmitMult = 3
	// smallest is the size that a smaller cluster counts as when it repeats news: of few repetitions, all could go to one
	// member, as answers to its probes.
	smallest = 10
	// pushPullInterval is how often two members compare notes in a cluster of up to 32; it grows with the logarithm of
	// the size, and is what most of the traffic of a large cluster at rest is.
	pushPullInterval = 20 * time.Second
	// leaveTimeout bounds how long Close tells the others that this member goes.
	leaveTimeout = time.Second
)

// inboxDepth bounds messages that wait to be taken in; the next heartbeat makes up for a dropped one.
var inboxDepth = map[string]int{RoleNode: 512, RoleCoordinator: 8192}

// Config is what Start needs.
type Config struct {
	Name string   // unique among members of one role; the host's name is a good one
	Role string   // RoleNode or RoleCoordinator
	Bind string   // host:port for TCP and UDP; port 0 takes a free one
	Join []string // host:port of other members; joining is retried for ever
	Keys [][]byte // secrets of 32 bytes each that decrypt gossip; the first encrypts, see SetKeys
	Meta Meta     // what others learn of this member; Name and Role are filled in
	Log  *slog.Logger

	// Admit says why another member is refused; nil takes it. It must be quick and not call the Cluster. See Readmit.
	Admit func(Meta) error

	Heartbeat time.Duration        // 0 means 700 ms; every member of a cluster uses the same
	Transport memberlist.Transport // nil means the network at Bind
}

// Cluster is one member's connection to the others. Its methods are safe for concurrent use.
type Cluster struct {
	cfg   Config
	self  string // this member's name among all
	log   *slog.Logger
	list  *memberlist.Memberlist
	place *coordinate.Client
	queue *memberlist.TransmitLimitedQueue
	count *counters
	inbox chan any      // what memberlist's loops hand to run: arrived, beat, answer, met
	kick  chan struct{} // this member has news
	lost  chan struct{} // a member has gone: it may come back and know nobody
	stop  context.CancelFunc
	wg    sync.WaitGroup
	size  atomic.Int32 // len(members), for the queue, which asks under its own lock

	keysMu  sync.Mutex // one change of the keys at a time
	keyring *memberlist.Keyring

	mu       sync.Mutex
	clock    clock
	members  map[string]*member // of both roles, by member name
	contacts map[string]*member // those of them that this member exchanges heartbeats with
	view     []Node             // what Nodes returns, nil when it must be made anew
	own      *Capacity          // what this node publishes
	seq      uint64             // sequence number of the last record published
	changed  chan struct{}      // closed and replaced at every change of the view

	closing  sync.Once
	closeErr error
}

// Start joins the cluster and returns without waiting for the others. Cancelling ctx ends the member's
// work as Close does, but without telling the others; call Close in any case.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("join the cluster as %s %q: %w", cfg.Role, cfg.Name, err)
	}
	c := &Cluster{
		cfg: cfg, self: memberName(cfg.Role, cfg.Name), log: cfg.Log,
		count: newCounters(), inbox: make(chan any, inboxDepth[cfg.Role]), kick: make(chan struct{}, 1), lost: make(chan struct{}, 1),
		members: map[string]*member{}, contacts: map[string]*member{}, changed: make(chan struct{}),
		clock: clock{tick: time.Now(), limit: 2 * cfg.tick()}, seq: uint64(time.Now().UnixMilli()),
	}
	c.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return max(smallest, int(c.size.Load())) }, RetransmitMult: retransmitMult}
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
		return nil, errors.Join(fmt.Errorf("join the cluster at %s: %w", cfg.Bind, err), conf.Transport.Shutdown())
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
	if err := checkKeys(cfg.Keys); err != nil {
		return err
	}
	_, err := encodeMeta(cfg.Meta)
	return err
}

func (c *Cluster) memberlistConfig() (*memberlist.Config, error) {
	conf := memberlist.DefaultLANConfig()
	conf.Name = c.self
	conf.Label = label
	conf.Keyring = c.keyring
	conf.EnableCompression = false // records are small, and capacity changes must cost little
	conf.TCPTimeout = 5 * time.Second
	conf.PushPullInterval = pushPullInterval
	conf.GossipInterval, conf.GossipNodes = gossipInterval, gossipNodes
	conf.DeadNodeReclaimTime = 5 * time.Second // a node may come back with another address
	conf.Delegate, conf.Events, conf.Alive, conf.Ping = (*delegate)(c), (*delegate)(c), (*delegate)(c), (*delegate)(c)
	conf.Logger = memberlistLogger(c.log, c.count)
	if c.cfg.Transport != nil {
		conf.Transport = c.cfg.Transport
		return conf, nil
	}
	host, n, err := splitBind(c.cfg.Bind)
	if err != nil {
		return nil, err
	}
	transport, port, err := listen(host, n, conf.Logger, c.count)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; is another process using it, or is the address not this host's?", err)
	}
	conf.Transport, conf.BindAddr, conf.BindPort, conf.AdvertisePort = transport, host, port, port
	return conf, nil
}

func splitBind(bind string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(bind)
	if err != nil {
		return "", 0, fmt.Errorf("%w; write cluster.bind as address:port", err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: use a number from 0 to 65535", text)
	}
	if net.ParseIP(host) == nil {
		return "", 0, fmt.Errorf("address %q: write cluster.bind with one of this host's IP addresses", host)
	}
	return host, int(n), nil
}

// Addr is the address at which other members reach this one, host:port.
func (c *Cluster) Addr() string { return c.list.LocalNode().Address() }

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

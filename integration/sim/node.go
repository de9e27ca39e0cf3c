package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

// loadEvery is how often a node tells how busy it is, as noded does.
const loadEvery = 10 * time.Second

// Node is a node without containers: it has rooms, decides who gets one, and tells of them by the gossip that ships.
type Node struct {
	Name   string
	Spot   Spot
	Gossip *cluster.Cluster
	Wire   *Transport
	Total  int

	dead atomic.Bool

	mu       sync.Mutex
	sessions map[string]string // session by intent
	load     float32
	rng      *rand.Rand
}

func (n *Node) used() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions)
}

// room tells whether the node could take a session now, which nobody but it knows for sure.
func (n *Node) room() bool { return !n.dead.Load() && n.used() < n.Total }

// reserve gives a session, the same for the same intent.
func (n *Node) reserve(req *easelv1.ReserveRequest) (session string, created bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.sessions[req.GetIntent()]; ok {
		return s, false, nil
	}
	if len(n.sessions) >= n.Total {
		return "", false, connect.NewWireError(connect.CodeResourceExhausted, fmt.Errorf("%d of %d sessions", len(n.sessions), n.Total))
	}
	s := n.Name + "/" + req.GetIntent()
	n.sessions[req.GetIntent()] = s
	n.publish()
	return s, true, nil
}

// end takes a session away, wherever it came from.
func (n *Node) end(session string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for intent, s := range n.sessions {
		if s == session {
			delete(n.sessions, intent)
		}
	}
	n.publish()
}

// Publish tells the cluster of the node's room.
func (n *Node) Publish() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.publish()
}

func (n *Node) publish() {
	used := len(n.sessions)
	err := n.Gossip.Publish(cluster.Capacity{
		Total: n.Total, Used: used, Images: []string{"easel/gimp:3.0.4"},
		Classes: []cluster.Room{{Class: "none", Total: n.Total, Used: used}},
		Warm:    []cluster.Warm{{Class: "none", Kind: "ready", Count: min(2, n.Total-used)}},
		Load:    cluster.Load{CPUs: 32, CPU: n.load, MemoryTotal: 128 << 30, MemoryFree: 128<<30 - uint64(used)*(2<<30)},
	})
	if err != nil {
		panic(fmt.Sprintf("a node of the simulator cannot publish: %v", err))
	}
}

// work tells of the load again and again, until ctx ends.
func (n *Node) work(ctx context.Context) {
	time.Sleep(time.Duration(n.rng.Int64N(int64(loadEvery))))
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		n.mu.Lock()
		n.load = min(1, float32(len(n.sessions))/float32(n.Total)*(0.6+0.4*n.rng.Float32()))
		n.publish()
		n.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

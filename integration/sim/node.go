package sim

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/placement"
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
	Cards  Cards

	dead atomic.Bool

	mu       sync.Mutex
	sessions map[string]held // by intent
	load     float32
	rng      *rand.Rand
}

// Cards is the GPUs of a node, all divided into slices of one class; the zero value is none.
type Cards struct {
	Model, Class string
	Slices       int
	Encoder      bool
}

// kinds is the nodes of the world, in turn: half of them have a card.
var kinds = []Cards{
	{},
	{Model: "NVIDIA H100 80GB HBM3", Class: "1g.10gb", Slices: 7},
	{},
	{Model: "NVIDIA L40S", Class: "shared", Slices: 6, Encoder: true},
}

// held is a session that a node has.
type held struct{ id, class string }

// slices is how many sessions hold a part of a card; n.mu is held.
func (n *Node) slices() (count int) {
	for _, s := range n.sessions {
		if s.class != placement.ClassNone {
			count++
		}
	}
	return count
}

// refuses says why the node takes no session of a class now, which nobody but it knows for sure; n.mu is held.
func (n *Node) refuses(class, encoder string) error {
	refusal := func(reason, format string, args ...any) error {
		err := connect.NewWireError(connect.CodeResourceExhausted, fmt.Errorf(format, args...))
		err.Meta().Set(easelv1.RefusalHeader, reason)
		return err
	}
	switch {
	case len(n.sessions) >= n.Total:
		return refusal("full", "%d of %d sessions", len(n.sessions), n.Total)
	case class == placement.ClassNone:
		return nil
	case class != n.Cards.Class:
		return refusal(easelv1.RefusalClass, "no slice of class %s", class)
	case encoder == placement.Hardware && !n.Cards.Encoder:
		return refusal(easelv1.RefusalEncoder, "no encoder")
	case n.slices() >= n.Cards.Slices:
		return refusal(easelv1.RefusalGPU, "%d of %d slices", n.slices(), n.Cards.Slices)
	}
	return nil
}

// tooMany is how many sessions or slices the node gave that it did not have.
func (n *Node) tooMany() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(0, len(n.sessions)-n.Total) + max(0, n.slices()-n.Cards.Slices)
}

// room tells whether the node could take a session now.
func (n *Node) room(class, encoder string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead.Load() && n.refuses(class, encoder) == nil
}

// reserve gives a session, the same for the same intent.
func (n *Node) reserve(req *easelv1.ReserveRequest) (session string, created bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.sessions[req.GetIntent()]; ok {
		return s.id, false, nil
	}
	class := cmp.Or(req.GetClass(), placement.ClassNone)
	if err := n.refuses(class, req.GetEncoder()); err != nil {
		return "", false, err
	}
	s := held{id: n.Name + "/" + req.GetIntent(), class: class}
	n.sessions[req.GetIntent()] = s
	n.publish()
	return s.id, true, nil
}

// end takes a session away, wherever it came from.
func (n *Node) end(session string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for intent, s := range n.sessions {
		if s.id == session {
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
	classes, gpus := []cluster.Room{{Class: placement.ClassNone, Total: n.Total, Used: used}}, []cluster.GPU(nil)
	if c := n.Cards; c.Slices > 0 {
		room := cluster.Room{Class: c.Class, Total: c.Slices, Used: n.slices()}
		if c.Encoder {
			room.Encoders = room.Free()
		}
		classes, gpus = append(classes, room), []cluster.GPU{{Model: c.Model, Count: 1, Encoder: c.Encoder}}
	}
	err := n.Gossip.Publish(cluster.Capacity{
		Total: n.Total, Used: used, Images: []string{"easel/gimp:3.0.4"}, Classes: classes, GPUs: gpus,
		Warm: []cluster.Warm{{Class: "none", Kind: "ready", Count: min(2, n.Total-used)}},
		Load: cluster.Load{CPUs: 32, CPU: n.load, MemoryTotal: 128 << 30, MemoryFree: 128<<30 - uint64(used)*(2<<30)},
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

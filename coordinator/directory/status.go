package directory

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"connectrpc.com/connect"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
)

// NodeStatus is a node's own word beside what gossip says of it.
type NodeStatus struct {
	cluster.Node
	Status *easelv1.StatusResponse // nil when it did not answer
	Err    error
}

const (
	// silentPatience is how long Statuses waits for nodes that did not answer the last time: a page that is drawn again and again would wait for
	// them again and again.
	silentPatience = 200 * time.Millisecond
	// parallelPolls is how many nodes are asked at the same time.
	parallelPolls = 64
)

// polls is the questions to nodes how they are. A node is asked once at a time, whoever wants to know.
type polls struct {
	ctx     context.Context // until close
	cancel  context.CancelFunc
	places  chan struct{} // holds one for each node that is asked
	pending sync.WaitGroup

	mu     sync.Mutex
	asked  map[string]*poll // by node, while it is asked
	silent map[string]error // nodes that did not answer the last time
}

// poll is one question. What it found is there once done is closed.
type poll struct {
	done   chan struct{}
	status *easelv1.StatusResponse
	err    error
}

func newPolls() *polls {
	ctx, cancel := context.WithCancel(context.Background())
	return &polls{ctx: ctx, cancel: cancel, places: make(chan struct{}, parallelPolls), asked: map[string]*poll{}, silent: map[string]error{}}
}

func (p *polls) close() {
	p.cancel()
	p.pending.Wait()
}

// Statuses asks every node in the view how it is.
func (d *Directory) Statuses(ctx context.Context) []NodeStatus {
	nodes := d.Nodes()
	all, asked := make([]NodeStatus, len(nodes)), make([]*poll, len(nodes))
	silent := d.polls.known(nodes)
	for i, n := range nodes {
		all[i].Node, asked[i] = n, d.poll(n.Meta)
	}
	brief, cancel := context.WithTimeout(ctx, silentPatience)
	defer cancel()
	for i, one := range asked {
		waiting, last := ctx, silent[nodes[i].Meta.Name]
		if last != nil {
			waiting = brief
		}
		select {
		case <-one.done:
			all[i].Status, all[i].Err = one.status, one.err
		case <-waiting.Done():
			if all[i].Err = last; last == nil {
				all[i].Err = fmt.Errorf("ask node %s how it is: %w", nodes[i].Meta.Name, context.Cause(ctx))
			}
		}
	}
	return all
}

// known returns the nodes that were silent the last time, and forgets those that are not in the view.
func (p *polls) known(nodes []cluster.Node) map[string]error {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := map[string]error{}
	for _, n := range nodes {
		if err := p.silent[n.Meta.Name]; err != nil {
			silent[n.Meta.Name] = err
		}
	}
	p.silent = maps.Clone(silent)
	return silent
}

// poll begins to ask a node, or joins in where it is being asked.
func (d *Directory) poll(node cluster.Meta) *poll {
	p := d.polls
	p.mu.Lock()
	defer p.mu.Unlock()
	if one := p.asked[node.Name]; one != nil {
		return one
	}
	one := &poll{done: make(chan struct{})}
	p.asked[node.Name] = one
	p.pending.Go(func() {
		defer close(one.done)
		one.status, one.err = d.status(p.ctx, node)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.asked, node.Name)
		if delete(p.silent, node.Name); one.err != nil {
			p.silent[node.Name] = one.err
		}
	})
	return one
}

func (d *Directory) status(ctx context.Context, node cluster.Meta) (*easelv1.StatusResponse, error) {
	select {
	case d.polls.places <- struct{}{}:
		defer func() { <-d.polls.places }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return ask(ctx, d, node, 1, func(ctx context.Context, c easelv1connect.NodeServiceClient) (*connect.Response[easelv1.StatusResponse], error) {
		return c.Status(ctx, connect.NewRequest(&easelv1.StatusRequest{}))
	})
}

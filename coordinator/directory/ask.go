package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
	"easel/pkg/identity"
)

// ask calls a node, and calls again while it is not there, up to tries times.
func ask[T any](ctx context.Context, d *Directory, node cluster.Meta, tries int, call func(context.Context, easelv1connect.NodeServiceClient) (*connect.Response[T], error)) (*T, error) {
	client, err := d.client(node)
	if err != nil {
		return nil, err
	}
	backoff := firstBackoff
	for try := 1; ; try++ {
		answer, err := askOnce(ctx, d.AskWithin, client, call)
		if err == nil {
			return answer.Msg, nil
		}
		if connect.CodeOf(err) != connect.CodeUnavailable || try >= tries {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-time.After(backoff):
			backoff *= 3
		}
	}
}

func askOnce[T any](ctx context.Context, within time.Duration, client easelv1connect.NodeServiceClient, call func(context.Context, easelv1connect.NodeServiceClient) (*connect.Response[T], error)) (*connect.Response[T], error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return call(ctx, client)
}

func (d *Directory) client(node cluster.Meta) (easelv1connect.NodeServiceClient, error) {
	if err := identity.CheckAddress(node.API); err != nil {
		return nil, fmt.Errorf("ask node %s: %w; set api.url in its noded.yaml", node.Name, err)
	}
	return easelv1connect.NewNodeServiceClient(d.clients.of(node.Name), node.API, connect.WithReadMaxBytes(maxAnswer)), nil
}

// Peers makes clients that reach one member of the cluster and nobody else.
type Peers interface {
	HTTP(role, name string) *http.Client
}

// maxClients bounds the clients that are kept; names come from the gossip.
const maxClients = 10000

// clients are the clients of nodes, by name: the connections of a node are its own, because who is at the other end is asked when
// they are made.
type clients struct {
	peers Peers
	mu    sync.Mutex
	made  map[string]*http.Client
}

func newClients(peers Peers) *clients { return &clients{peers: peers, made: map[string]*http.Client{}} }

func (c *clients) of(node string) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made[node] == nil {
		for name, old := range c.made { // any: it is made again when it is needed
			if len(c.made) < maxClients {
				break
			}
			old.CloseIdleConnections()
			delete(c.made, name)
		}
		c.made[node] = c.peers.HTTP(identity.RoleNode, node)
	}
	return c.made[node]
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.made {
		client.CloseIdleConnections()
	}
}

func joinURL(base, path string) string { return strings.TrimSuffix(base, "/") + path }

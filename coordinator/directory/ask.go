package directory

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
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
		answer, err := askOnce(ctx, client, call)
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

func askOnce[T any](ctx context.Context, client easelv1connect.NodeServiceClient, call func(context.Context, easelv1connect.NodeServiceClient) (*connect.Response[T], error)) (*connect.Response[T], error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(ctx, client)
}

func (d *Directory) client(node cluster.Meta) (easelv1connect.NodeServiceClient, error) {
	base := node.API
	if base == "" {
		base = node.URL
	}
	if err := secure(base); err != nil {
		return nil, fmt.Errorf("ask node %s at %s: %w", node.Name, base, err)
	}
	return easelv1connect.NewNodeServiceClient(d.http, strings.TrimSuffix(base, "/"),
		connect.WithReadMaxBytes(maxAnswer), connect.WithInterceptors(d.authorize(node.Name))), nil
}

// authorize signs a token for each request: it says who calls, and no other node takes it.
func (d *Directory) authorize(node string) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			now := time.Now()
			token, err := d.Signer.Sign(identity.Claims{
				Audience: identity.NodeAudience(node), Subject: "coordinator/" + d.Name, Scope: identity.ScopeControl,
				IssuedAt: now, Expires: now.Add(tokenLifetime),
			})
			if err != nil {
				return nil, err
			}
			req.Header().Set("Authorization", "Bearer "+token)
			return next(ctx, req)
		}
	}
}

// secure refuses to send a token over a network in the clear.
func secure(base string) error {
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() {
		return nil
	}
	return ErrInsecure
}

func joinURL(base, path string) string { return strings.TrimSuffix(base, "/") + path }

package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"easel/noded/gateway"
	"easel/pkg/listen"
	"easel/pkg/safesocket"
)

// Bounds of the daemon's listeners.
const (
	maxConnections  = 2048
	maxHeader       = 32 << 10 // bytes
	certificateLook = 10 * time.Second
)

// openDoors opens the daemon's two doors: the network's, and root's own socket.
func openDoors(cfg Config, log *slog.Logger, gate *gateway.Gateway) ([]*listen.Server, error) {
	secure, err := listen.TLSConfig(cfg.TLS.Cert, cfg.TLS.Key, certificateLook, log)
	if err != nil {
		return nil, err
	}
	network, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; does another program use it?", cfg.Listen, err)
	}
	admin, err := safesocket.Listen(safesocket.Stream, cfg.adminSocket(), 0o600, 0, 0)
	if err != nil {
		_ = network.Close() // it served nobody yet
		return nil, err
	}
	return []*listen.Server{
		door(netutil.LimitListener(network, maxConnections), gate, secure, log),
		door(admin, gate.Admin(), nil, log),
	}, nil
}

// door bounds no whole request, because some wait long for news; those end with the daemon.
func door(l net.Listener, handler http.Handler, secure *tls.Config, log *slog.Logger) *listen.Server {
	return &listen.Server{Listener: l, Handler: handler, TLS: secure, Log: log, MaxHeader: maxHeader, EndRequests: true}
}

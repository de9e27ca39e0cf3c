package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"easel/coordinator/admin"
	"easel/pkg/listen"
)

// Bounds of the daemon's listeners.
const (
	maxConnections = 4096
	maxHeader      = 16 << 10 // bytes
	readTimeout    = 30 * time.Second
	writeTimeout   = 60 * time.Second
)

// openDoors opens the daemon's two doors: the network's, and the operator's socket.
func openDoors(cfg Config, log *slog.Logger, front, commands http.Handler) ([]*listen.Server, error) {
	secure, err := listen.TLSConfig(cfg.TLS.Cert, cfg.TLS.Key, 0, log)
	if err != nil {
		return nil, err
	}
	network, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for browsers: %w; does another program use this address?", err)
	}
	socket, err := admin.Listen(cfg.adminSocket())
	if err != nil {
		return nil, errors.Join(err, network.Close())
	}
	return []*listen.Server{
		door(netutil.LimitListener(network, maxConnections), front, secure, log),
		door(socket, commands, nil, log),
	}, nil
}

func door(l net.Listener, handler http.Handler, secure *tls.Config, log *slog.Logger) *listen.Server {
	return &listen.Server{
		Listener: l, Handler: handler, TLS: secure, Log: log,
		MaxHeader: maxHeader, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
	}
}

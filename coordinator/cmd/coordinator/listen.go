package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"golang.org/x/net/netutil"

	"easel/coordinator/admin"
	"easel/pkg/identity"
	"easel/pkg/listen"
)

// Bounds of the daemon's listeners.
const (
	maxConnections = 4096
	maxHeader      = 16 << 10 // bytes
	readTimeout    = 30 * time.Second
	writeTimeout   = 60 * time.Second
)

// doors is what answers behind each of the daemon's listeners.
type doors struct {
	browsers, members, operators http.Handler
	raft                         map[string]func(*http.Server, *tls.Conn, http.Handler) // beside members
}

// openDoors opens the daemon's three doors: the browsers', the cluster's, and the operator's socket.
func openDoors(cfg Config, log *slog.Logger, member *identity.Member, d doors) (open []*listen.Server, err error) {
	secure, err := listen.TLSConfig(cfg.TLS.Cert, cfg.TLS.Key, 0, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, s := range open {
				err = errors.Join(err, s.Listener.Close()) // it served nobody yet
			}
		}
	}()
	browsers, err := listenOn("listen", cfg.Listen)
	if err != nil {
		return open, err
	}
	open = append(open, door(browsers, d.browsers, secure, log))
	members, err := listenOn("api.listen", cfg.API.Listen)
	if err != nil {
		return open, err
	}
	inside := door(member.Listen(members), d.members, member.JoinTLS(slices.Collect(maps.Keys(d.raft))...), log)
	inside.EndRequests, inside.Protocols = true, d.raft // members wait long for news
	open = append(open, inside)
	socket, err := admin.Listen(cfg.adminSocket())
	if err != nil {
		return open, err
	}
	return append(open, door(socket, d.operators, nil, log)), nil
}

func listenOn(field, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w; does another program use this address?", field, addr, err)
	}
	return netutil.LimitListener(l, maxConnections), nil
}

func door(l net.Listener, handler http.Handler, secure *tls.Config, log *slog.Logger) *listen.Server {
	return &listen.Server{
		Listener: l, Handler: handler, TLS: secure, Log: log,
		MaxHeader: maxHeader, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
	}
}

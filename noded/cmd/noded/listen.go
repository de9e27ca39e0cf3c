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

	"easel/pkg/identity"
	"easel/pkg/listen"
	"easel/pkg/safesocket"
)

// Bounds of the daemon's listeners.
const (
	maxConnections  = 2048
	maxHeader       = 32 << 10 // bytes
	certificateLook = 10 * time.Second
)

// behind is what answers behind each of the daemon's listeners.
type behind struct {
	browsers, coordinators, operator http.Handler
}

// openDoors opens the daemon's three doors: the browsers', the coordinators', and root's own socket.
func openDoors(cfg Config, log *slog.Logger, member *identity.Member, answers behind) (open []*listen.Server, err error) {
	secure, err := listen.TLSConfig(cfg.TLS.Cert, cfg.TLS.Key, certificateLook, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, d := range open {
				err = errors.Join(err, d.Listener.Close()) // it served nobody yet
			}
		}
	}()
	browsers, err := listenOn("listen", cfg.Listen)
	if err != nil {
		return open, err
	}
	open = append(open, door(browsers, answers.browsers, secure, log))
	coordinators, err := listenOn("api.listen", cfg.API.Listen)
	if err != nil {
		return open, err
	}
	open = append(open, door(member.Listen(coordinators), member.Only(identity.RoleCoordinator, answers.coordinators), member.ServerTLS(), log))
	admin, err := safesocket.Listen(safesocket.Stream, cfg.adminSocket(), 0o600, 0, 0)
	if err != nil {
		return open, err
	}
	return append(open, door(admin, answers.operator, nil, log)), nil
}

func listenOn(field, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w; does another program use it?", field, addr, err)
	}
	return netutil.LimitListener(l, maxConnections), nil
}

// door bounds no whole request, because some wait long for news; those end with the daemon.
func door(l net.Listener, handler http.Handler, secure *tls.Config, log *slog.Logger) *listen.Server {
	return &listen.Server{Listener: l, Handler: handler, TLS: secure, Log: log, MaxHeader: maxHeader, EndRequests: true}
}

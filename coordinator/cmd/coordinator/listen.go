package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"easel/coordinator/admin"
)

// Bounds of the daemon's listeners.
const (
	maxConnections = 4096
	maxHeader      = 16 << 10 // bytes
	endPatience    = 5 * time.Second
)

// server is one listener and what answers on it.
type server struct {
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config
	log      *slog.Logger
}

// listen opens the daemon's two doors: the network's, and the operator's socket.
func listen(cfg Config, log *slog.Logger, front, commands http.Handler) ([]*server, error) {
	secure, err := tlsConfig(cfg, log)
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
	return []*server{
		{listener: netutil.LimitListener(network, maxConnections), handler: front, tls: secure, log: log},
		{listener: socket, handler: commands, log: log},
	}, nil
}

// run serves until ctx ends, then lets requests that are under way finish for a moment.
func (s *server) run(ctx context.Context) error {
	h := &http.Server{
		Handler: s.handler, TLSConfig: s.tls, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if s.tls != nil {
			ended <- h.ServeTLS(s.listener, "", "")
			return
		}
		ended <- h.Serve(s.listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", s.listener.Addr(), err)
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	if err := h.Shutdown(soon); err != nil {
		_ = h.Close() // what still hangs is cut off
	}
	<-ended
	return nil
}

// tlsConfig is nil when plain HTTP is served, which it is on loopback alone.
func tlsConfig(cfg Config, log *slog.Logger) (*tls.Config, error) {
	if cfg.TLS.Cert == "" {
		return nil, nil
	}
	c := &certificate{cert: cfg.TLS.Cert, key: cfg.TLS.Key, log: log}
	if _, err := c.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// certificate is read again when its file has changed, so that it is renewed without a restart.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	written time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.read()
	if err != nil && c.loaded != nil {
		c.log.Error("the renewed certificate cannot be used; the one of before stays", "error", err)
		return c.loaded, nil
	}
	return c.loaded, err
}

func (c *certificate) read() error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return fmt.Errorf("read tls.cert: %w", err)
	}
	if c.loaded != nil && info.ModTime().Equal(c.written) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read tls.cert %s and tls.key %s: %w", c.cert, c.key, err)
	}
	c.loaded, c.written = &pair, info.ModTime()
	return nil
}

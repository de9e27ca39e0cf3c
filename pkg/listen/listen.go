// Package listen holds how a daemon is reached by HTTP: the rule that only loopback goes unencrypted, the
// certificate that is renewed without a restart, and the server that ends with its context. Both daemons
// face networks, and what guards them there is better written, and mended, once.
package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// EndPatience is how long requests that are under way may take to finish after the server's context ended.
const EndPatience = 5 * time.Second

// ParseAddress reads the IP address of "address:port", and refuses any but loopback if what crosses it is
// not encrypted. Its errors name the text alone, and example as one that would do.
func ParseAddress(text, example string, encrypted bool) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q: want address:port, such as %s", text, example)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q: want an IP address before the port", text)
	case !addr.IsLoopback() && !encrypted:
		return netip.Addr{}, fmt.Errorf("%s is not loopback, so what crosses it must be encrypted: set tls.cert and tls.key", text)
	}
	return addr, nil
}

// Server is one listener and what answers on it.
type Server struct {
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain HTTP
	// Protocols serve connections that agreed on another protocol than HTTP (ALPN), until they return.
	Protocols map[string]func(*http.Server, *tls.Conn, http.Handler)
	Log       *slog.Logger
	// MaxHeader bounds a request's header, in bytes.
	MaxHeader int
	// ReadTimeout and WriteTimeout bound a whole request and its answer; 0 does not.
	ReadTimeout, WriteTimeout time.Duration
	// EndRequests ends the requests' contexts with the server's, for handlers that wait long.
	EndRequests bool
}

// Run serves until ctx ends, then lets requests that are under way finish for a moment.
func (s *Server) Run(ctx context.Context) error {
	h := s.http(ctx)
	ended := make(chan error, 1)
	go func() {
		if s.TLS != nil {
			ended <- h.ServeTLS(s.Listener, "", "")
			return
		}
		ended <- h.Serve(s.Listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", s.Listener.Addr(), err)
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), EndPatience)
	defer cancel()
	if err := h.Shutdown(soon); err != nil {
		_ = h.Close() // what still hangs is cut off
	}
	<-ended
	return nil
}

func (s *Server) http(ctx context.Context) *http.Server {
	h := &http.Server{
		Handler: s.Handler, TLSConfig: s.TLS, MaxHeaderBytes: s.MaxHeader,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: s.ReadTimeout, WriteTimeout: s.WriteTimeout, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	if len(s.Protocols) > 0 {
		h.TLSNextProto, h.Protocols = maps.Clone(s.Protocols), new(http.Protocols) // the former alone would turn HTTP/2 off
		h.Protocols.SetHTTP1(true)
		h.Protocols.SetHTTP2(true)
	}
	if s.EndRequests {
		h.BaseContext = func(net.Listener) context.Context { return ctx }
	}
	return h
}

package main

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/relay"
	"easel/noded/session"
	"easel/pkg/listen"
)

// newRelay opens the relay's sockets; nil when the configuration names none.
func newRelay(cfg Config, log *slog.Logger, db *bbolt.DB, manager *session.Manager, registry prometheus.Registerer) (*relay.Relay, error) {
	c := cfg.Relay
	if !cfg.relays() {
		log.Warn("relay.listen is empty: who cannot reach the media ports gets VNC")
		return nil, nil
	}
	secret, err := relay.Secret(db)
	if err != nil {
		return nil, err
	}
	secure, err := listen.TLSConfig(cfg.TLS.Cert, cfg.TLS.Key, certificateLook, log)
	if err != nil {
		return nil, err
	}
	return relay.New(relay.Options{
		Listen: c.Listen, TLSListen: c.TLSListen, TLS: secure, Public: c.Public,
		Media: cfg.relayedAddress(), First: c.Ports.First, Last: c.Ports.Last,
		Quotas: cfg.quotas(),
		Secret: secret, Sessions: manager, Registry: registry, Log: log,
	})
}

func (c *Config) quotas() relay.Quotas {
	return relay.Quotas{
		Allocations: c.Relay.Allocations, SessionAllocations: c.Relay.SessionAllocations,
		Bandwidth: int64(c.Relay.Bandwidth), SessionBandwidth: int64(c.Relay.SessionBandwidth),
	}
}

// relays tells whether the node has a relay.
func (c *Config) relays() bool { return len(c.Relay.Listen)+len(c.Relay.TLSListen) > 0 }

// relayedAddress is where allocations' sockets are bound: an address that streamers listen on. Browsers
// understand an IPv4 one everywhere.
func (c *Config) relayedAddress() netip.Addr {
	var first netip.Addr
	for _, text := range c.Media.Addresses {
		a, err := netip.ParseAddr(text)
		if err == nil && a.Unmap().Is4() {
			return a.Unmap()
		}
		if !first.IsValid() {
			first = a
		}
	}
	return first
}

func (c *Config) validateRelay(bad func(field, format string, args ...any)) {
	r := c.Relay
	for field, addresses := range map[string][]string{"relay.listen": r.Listen, "relay.tls_listen": r.TLSListen} {
		for _, text := range addresses {
			at, err := netip.ParseAddrPort(text)
			if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() {
				bad(field, "%q: want one of this host's addresses and a port, such as 127.0.0.1:3478: answers must come from the address that was asked", text)
			}
		}
	}
	if len(r.TLSListen) > 0 && c.TLS.Cert == "" {
		bad("relay.tls_listen", "needs tls.cert and tls.key")
	}
	if u, err := url.Parse("turn://" + net.JoinHostPort(r.Public, "1")); c.relays() && (err != nil || r.Public == "" || u.Hostname() != r.Public) {
		bad("relay.public", "%q: want a host's name or address without a port, at which browsers reach the relay", r.Public)
	}
	if r.Ports.Last >= c.Media.Ports.First && r.Ports.First <= c.Media.Ports.Last {
		bad("relay.ports", "%s overlaps with media.ports (%s)", r.Ports, c.Media.Ports)
	}
	if r.Allocations < 1 || r.Allocations > r.Ports.Count() {
		bad("relay.allocations", "%d: want 1 to %d, as each takes one of relay.ports", r.Allocations, r.Ports.Count())
	}
	if r.SessionAllocations < 1 || r.SessionAllocations > r.Allocations {
		bad("relay.session_allocations", "%d: want 1 to relay.allocations (%d); a browser opens one for each transport and each of its networks", r.SessionAllocations, r.Allocations)
	}
	for field, b := range map[string]Bytes{"relay.bandwidth": r.Bandwidth, "relay.session_bandwidth": r.SessionBandwidth} {
		if b < minBandwidth {
			bad(field, "%s: want at least %s a second, or a picture will not get through", b, minBandwidth)
		}
	}
}

const minBandwidth Bytes = 256 << 10

// relayPorts is the ports of the relay's allocations, by which a streamer knows that a viewer comes through it.
func (c *Config) relayPorts() []uint16 {
	if !c.relays() {
		return nil
	}
	return []uint16{c.Relay.Ports.First, c.Relay.Ports.Last}
}

// relayHost is the default of relay.public: browsers reach the node by that name anyway.
func relayHost(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// relayAddress is the relay's "host:port" for the cluster; "" when there is none.
func (c *Config) relayAddress() string {
	for _, text := range append(slices.Clone(c.Relay.Listen), c.Relay.TLSListen...) {
		_, port, _ := net.SplitHostPort(text)
		return net.JoinHostPort(c.Relay.Public, port)
	}
	return ""
}

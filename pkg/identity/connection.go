package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	dialTimeout  = 5 * time.Second // to connect and shake hands
	idleTimeout  = 90 * time.Second
	pingAfter    = 5 * time.Second // of silence on a connection with requests under way
	pingPatience = 5 * time.Second
)

// httpProtocols are what servers and clients of members speak beside protocols of their own (ALPN).
var httpProtocols = []string{"h2", "http/1.1"}

// ServerTLS is for servers whose clients must be members. Beside HTTP it offers protocols. Its listener goes through Listen, so
// that connections end when their peer is removed.
func (m *Member) ServerTLS(protocols ...string) *tls.Config { return m.serverTLS(false, protocols) }

// JoinTLS is as ServerTLS, but lets in clients that show no certificate, because they have yet to join: each request must be
// asked who makes it (see Only).
func (m *Member) JoinTLS(protocols ...string) *tls.Config { return m.serverTLS(true, protocols) }

func (m *Member) serverTLS(anonymous bool, protocols []string) *tls.Config {
	base := m.baseTLS(protocols)
	base.ClientAuth = tls.RequireAnyClientCert // VerifyConnection does what crypto/tls would, by the trust of the moment
	if anonymous {
		base.ClientAuth = tls.RequestClientCert
	}
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if anonymous && len(state.PeerCertificates) == 0 {
				return nil
			}
			return m.accept(hello.Conn, state, x509.ExtKeyUsageClientAuth, "", "")
		}
		return c, nil
	}
	return base
}

// ClientTLS accepts a server that is the member of this role and name; "" accepts any name. Use Dial where there is no reason
// not to: its connections end when the peer is removed.
func (m *Member) ClientTLS(role, name string, protocols ...string) *tls.Config {
	return m.clientTLS(nil, role, name, protocols)
}

func (m *Member) clientTLS(conn net.Conn, role, name string, protocols []string) *tls.Config {
	c := m.baseTLS(protocols)
	c.InsecureSkipVerify = true // VerifyConnection does it: members have no host names
	c.VerifyConnection = func(state tls.ConnectionState) error {
		return m.accept(conn, state, x509.ExtKeyUsageServerAuth, role, name)
	}
	return c
}

func (m *Member) baseTLS(protocols []string) *tls.Config {
	if len(protocols) == 0 {
		protocols = httpProtocols
	} else {
		protocols = append(append([]string{}, httpProtocols...), protocols...)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols,
		SessionTicketsDisabled: true, // every connection shows the certificate of now
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.shown(), nil },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.shown(), nil },
	}
}

func (m *Member) shown() *tls.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cert
}

// accept ends a handshake: the peer must be a member, and the one that is wanted. A connection that Listen or Dial made is
// remembered while the trust cannot change, so that no removal falls between.
func (m *Member) accept(conn net.Conn, state tls.ConnectionState, usage x509.ExtKeyUsage, role, name string) error {
	p, err := m.trusted().peer(state.PeerCertificates, usage, m.now())
	if err != nil {
		return err
	}
	if role != "" && p.Role != role || name != "" && p.Name != name {
		return fmt.Errorf("%w: it is %s %s, not %s %s", ErrWrongPeer, p.Role, p.Name, role, name)
	}
	c, ok := conn.(*connection)
	if !ok {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.trust.standing(state.PeerCertificates[0]); err != nil {
		return err
	}
	if c.closed {
		return net.ErrClosed
	}
	c.peer = state.PeerCertificates[0]
	m.open[c] = struct{}{}
	return nil
}

// dropRefused ends the connections of peers that the trust refuses; m.mu is held.
func (m *Member) dropRefused() {
	for c := range m.open {
		if _, err := m.trust.standing(c.peer); err != nil {
			delete(m.open, c)
			_ = c.Conn.Close() // whoever reads from it is told
		}
	}
}

// connection is a member's end of one; peer and closed are guarded by the member's lock.
type connection struct {
	net.Conn
	member *Member
	peer   *x509.Certificate
	closed bool
}

func (c *connection) Close() error {
	c.member.mu.Lock()
	c.closed = true
	delete(c.member.open, c)
	c.member.mu.Unlock()
	return c.Conn.Close()
}

type listener struct {
	net.Listener
	member *Member
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, member: l.member}, nil
}

// Listen wraps the listener of a server that uses ServerTLS or JoinTLS.
func (m *Member) Listen(l net.Listener) net.Listener { return listener{l, m} }

// Dial connects to the member of this role and name ("" is any name) at addr, shakes hands and returns the connection; protocol ""
// means HTTP.
func (m *Member) Dial(ctx context.Context, addr, role, name, protocol string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("reach %s %s: %w", role, name, err)
	}
	guarded := &connection{Conn: raw, member: m}
	conf := m.clientTLS(guarded, role, name, nil)
	if protocol != "" {
		conf.NextProtos = []string{protocol}
	}
	conn := tls.Client(guarded, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("reach %s %s at %s: %w", role, name, addr, err), guarded.Close())
	}
	return conn, nil
}

// HTTP is a client for the member of this role and name, "" for any. The caller sets deadlines by contexts, and calls
// CloseIdleConnections when it needs the client no more.
func (m *Member) HTTP(role, name string) *http.Client {
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return m.Dial(ctx, addr, role, name, "") },
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("members speak https alone; give the address as https://host:port")
		},
		ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 8,
		// A peer that vanished without a word is found out, and its connection is not used again.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingPatience},
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// PeerOf is who is at the other end of a connection, by the trust of this moment. Certificates that expire while a connection
// stands are not its matter: removal ends connections, time only certificates.
func (m *Member) PeerOf(state tls.ConnectionState) (role, name string, err error) {
	p, err := m.peerNow(&state)
	return p.Role, p.Name, err
}

func (m *Member) peerNow(state *tls.ConnectionState) (Peer, error) {
	if state == nil || !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return Peer{}, ErrNoCertificate
	}
	return m.trusted().standing(state.PeerCertificates[0])
}

type peerKey struct{}

// Only lets through requests of members, of one role unless role is "", and tells the handler who asks (see PeerFrom). It is for
// servers that use ServerTLS or JoinTLS.
func (m *Member) Only(role string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := m.peerNow(r.TLS)
		if err == nil && role != "" && p.Role != role {
			err = fmt.Errorf("%w: it is a %s, and only a %s may ask this", ErrWrongPeer, p.Role, role)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, p)))
	})
}

// PeerFrom is the member whose request Only let through.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

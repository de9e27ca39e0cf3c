package state

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"

	"easel/pkg/identity"
)

// OverTLS is the network of coordinators that are members of one cluster.
func OverTLS(m *identity.Member) Network {
	return overTLS{m, m.HTTP(identity.RoleCoordinator, "")}
}

type overTLS struct {
	member *identity.Member
	client *http.Client
}

func (o overTLS) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return o.member.Dial(ctx, addr, identity.RoleCoordinator, "", Protocol)
}

func (o overTLS) Client() *http.Client { return o.client }

func (o overTLS) Peer(ctx context.Context) string {
	peer, _ := identity.PeerFrom(ctx)
	return peer.Name
}

// Handle puts what coordinators ask of each other on the server of the cluster address, and returns what serves raft's
// connections there, by their ALPN protocol. Only coordinators of the cluster are let through.
func (s *Store) Handle(mux *http.ServeMux, m *identity.Member) map[string]func(*http.Server, *tls.Conn, http.Handler) {
	path, handler := s.Handler()
	mux.Handle(path, m.Only(identity.RoleCoordinator, handler))
	return map[string]func(*http.Server, *tls.Conn, http.Handler){
		Protocol: func(_ *http.Server, conn *tls.Conn, _ http.Handler) {
			role, name, err := m.PeerOf(conn.ConnectionState())
			if err == nil && role != identity.RoleCoordinator {
				err = fmt.Errorf("%w: it is the %s %q", identity.ErrWrongPeer, role, name)
			}
			if err != nil {
				s.cfg.Log.Warn("a connection for raft was refused", "from", conn.RemoteAddr(), "error", err)
				return
			}
			s.ServeRaft(conn)
		},
	}
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/turn/v4"

	"easel/noded/session"
	"easel/pkg/mmsg"
	"easel/pkg/pionlog"
)

// server is one of pion's TURN servers and what guards it. Each UDP socket and each stream has its own:
// pion handles one request at a time for each, so what its handlers are told can be matched with the
// request that is under way.
type server struct {
	relay   *Relay
	carrier carrier
	turn    *turn.Server
	request request

	mu    sync.RWMutex
	flows map[netip.AddrPort]*allocation // by client
}

// carrier brings packets to clients.
type carrier interface {
	net.PacketConn
	// deliver sends what was read from an allocation's peer on to its client.
	deliver(a *allocation, b *box)
	// attached is told that an allocation came (1) or went (-1).
	attached(n int)
	// hangUp ends the connection, where there is one.
	hangUp()
}

// request is what pion is handling.
type request struct {
	from    netip.AddrPort
	message []byte
	session string // who asks, when that was checked
	peer    netip.AddrPort
}

func newServer(r *Relay, c carrier) *server {
	return &server{relay: r, carrier: c, flows: map[netip.AddrPort]*allocation{}}
}

// begin starts pion; it reads until the carrier is closed.
func (s *server) begin() (err error) {
	s.turn, err = turn.NewServer(turn.ServerConfig{
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: s.carrier, RelayAddressGenerator: s, PermissionHandler: s.permits}},
		LoggerFactory:     pionlog.Factory{Log: s.relay.Log}, Realm: Realm, InboundMTU: mmsg.MaxPacket + 1,
		AuthHandler: s.authenticates, QuotaHandler: s.hasRoom,
		EventHandler: turn.EventHandler{
			OnAuth: func(_, _ net.Addr, _, _, _ string, _ string, verdict bool) {
				if !verdict {
					s.relay.metrics.refused(refusedCredential, 1)
				}
			},
			OnChannelCreated: func(src, _ net.Addr, _, _, _ string, relayed, peer net.Addr, number uint16) {
				if a := s.flow(addrPort(src)); a != nil && a.isAt(relayed) && addrPort(peer) == a.peer {
					a.channel.Store(uint32(number))
				}
			},
			OnChannelDeleted: func(src, _ net.Addr, _, _, _ string, relayed, _ net.Addr, number uint16) {
				if a := s.flow(addrPort(src)); a != nil && a.isAt(relayed) {
					a.channel.CompareAndSwap(uint32(number), 0)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("start a TURN server: %w", err)
	}
	return nil
}

// flow is a client's allocation, or nil.
func (s *server) flow(client netip.AddrPort) *allocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.flows[client]
}

var errSessionOver = errors.New("the session has ended")

// living is the state of a session that has not ended.
func (r *Relay) living(ctx context.Context, id string) (session.State, error) {
	s, err := r.Sessions.Await(ctx, id, "")
	if err == nil && s.State.Ended() {
		err = errSessionOver
	}
	return s.State, err
}

// askPatience bounds the look at a session, which is in memory.
const askPatience = 2 * time.Second

// authenticates gives the key of who says to be name. A session that has ended has none.
func (s *server) authenticates(name, realm string, from net.Addr) (key []byte, ok bool) {
	id, until, ok := parseUsername(name)
	a := s.flow(addrPort(from))
	switch {
	case !ok || realm != Realm || a != nil && a.session != id:
		s.relay.metrics.refused(refusedCredential, 1)
		return nil, false
	case a == nil && time.Now().After(until):
		s.relay.metrics.refused(refusedExpired, 1)
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askPatience)
	defer cancel()
	found, err := s.relay.Sessions.Await(ctx, id, "")
	if err != nil || found.State.Ended() {
		s.relay.metrics.refused(refusedSession, 1)
		return nil, false
	}
	s.request.session, s.request.peer = id, netip.AddrPortFrom(s.relay.Media, found.UDPPort)
	return turn.GenerateAuthKey(name, Realm, s.relay.password(name)), true
}

func (s *server) hasRoom(string, string, net.Addr) bool {
	ok := s.relay.ledger.room(s.request.session)
	if !ok {
		s.relay.metrics.refused(refusedQuota, 1)
	}
	return ok
}

// permits admits the session's own streamer. A permission names an address alone, a channel a port too.
// Clients that think in RTP, such as coturn's, bind the port of RTCP as well, the next one: that is granted,
// and carries nothing, because the allocation's socket is connected to the streamer.
func (s *server) permits(_ net.Addr, ip net.IP) bool {
	peer, _ := netip.AddrFromSlice(ip)
	own := s.request.peer
	ok := peer.Unmap() == own.Addr()
	if bound, isBind := boundPeer(s.request.message); isBind {
		ok = ok && bound.Addr() == own.Addr() && (bound.Port() == own.Port() || bound.Port() == own.Port()+1)
	}
	if !ok {
		s.relay.metrics.refused(refusedPeer, 1)
	}
	return ok
}

// Validate, AllocatePacketConn and AllocateConn implement turn.RelayAddressGenerator.
func (s *server) Validate() error { return nil }

// AllocatePacketConn opens the socket of an allocation for who was just authenticated.
func (s *server) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	a, err := s.relay.newAllocation(s, port)
	if err != nil {
		s.relay.Log.Info("no allocation", "session", s.request.session, "error", err)
		return nil, nil, err
	}
	return a, a.conn.LocalAddr(), nil
}

// AllocateConn is for peers by TCP, of which there are none.
func (s *server) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.New("streamers speak UDP alone")
}

// attach makes an allocation its client's.
func (s *server) attach(a *allocation) {
	s.mu.Lock()
	s.flows[a.client] = a
	s.mu.Unlock()
	s.carrier.attached(1)
}

func (s *server) detach(a *allocation) {
	s.mu.Lock()
	if s.flows[a.client] == a {
		delete(s.flows, a.client)
	}
	s.mu.Unlock()
	s.carrier.attached(-1)
}

func addrPort(a net.Addr) netip.AddrPort {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		at = a.AddrPort()
	case *net.TCPAddr:
		at = a.AddrPort()
	}
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

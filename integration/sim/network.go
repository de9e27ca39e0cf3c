package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// socketBuffer bounds the packets that wait for a member, as a socket's buffer does.
	socketBuffer = 1024
	// headers is what IPv4 and UDP add to a packet.
	headers = 28
)

// Network carries the gossip of all members, with latency, loss and cuts between the places where they stand.
type Network struct {
	world *World
	loss  atomic.Uint64 // parts per million
	mute  atomic.Bool   // no packet arrives but to and from members that are loud; streams do

	mu   sync.RWMutex
	at   map[string]*Transport // by address
	cut  map[[2]int]bool       // pairs of regions, both ways
	dead map[string]bool       // addresses
}

// NewNetwork returns a network over w.
func NewNetwork(w *World) *Network {
	return &Network{world: w, at: map[string]*Transport{}, cut: map[[2]int]bool{}, dead: map[string]bool{}}
}

// SetLoss makes every packet be lost with the probability p.
func (n *Network) SetLoss(p float64) { n.loss.Store(uint64(p * 1e6)) }

// Mute makes all packets be lost, but no connection, and nothing that members which are loud send or are sent.
func (n *Network) Mute(mute bool) { n.mute.Store(mute) }

// Cut takes a region off the others, or puts it back.
func (n *Network) Cut(region int, off bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.world.Regions {
		if other != region {
			n.cut[[2]int{region, other}], n.cut[[2]int{other, region}] = off, off
		}
	}
}

// Kill makes the member at addr neither send nor receive any more.
func (n *Network) Kill(addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead[addr] = true
}

// Attach gives the member that stands at spot an address.
func (n *Network) Attach(spot Spot, seed uint64) *Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := len(n.at) + 1
	ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	t := &Transport{
		net: n, spot: spot, ip: net.IP(ip.AsSlice()), rng: rand.New(rand.NewPCG(seed, uint64(i))),
		packets: make(chan *memberlist.Packet, socketBuffer), streams: make(chan net.Conn, 16), done: make(chan struct{}),
	}
	t.addr = address(net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	n.at[string(t.addr)] = t
	return t
}

const port = 7946

type address string

func (address) Network() string  { return "sim" }
func (a address) String() string { return string(a) }

// Transport is one member's place on the network.
type Transport struct {
	net     *Network
	spot    Spot
	ip      net.IP
	addr    address
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
	loud    atomic.Bool // Network.Mute does not hold for it

	mu  sync.Mutex
	rng *rand.Rand

	Sent, Received         atomic.Int64 // bytes of packets, with headers
	StreamSent, StreamRead atomic.Int64
	Packets                atomic.Int64 // sent
	Overrun                atomic.Int64 // packets that found the socket's buffer full
}

var _ memberlist.NodeAwareTransport = (*Transport)(nil)

// Addr is host:port of the member.
func (t *Transport) Addr() string { return string(t.addr) }

// FinalAdvertiseAddr tells memberlist where it is.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return t.ip, port, nil }

func (t *Transport) roll() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rng.Float64()
}

// reach returns the one at addr and how long a packet takes there; ok is false where none arrives.
func (t *Transport) reach(addr string) (to *Transport, delay time.Duration, ok bool) {
	t.net.mu.RLock()
	defer t.net.mu.RUnlock()
	to, ok = t.net.at[addr]
	if !ok || t.net.dead[addr] || t.net.dead[t.Addr()] || t.net.cut[[2]int{t.spot.Region, to.spot.Region}] {
		return nil, 0, false
	}
	return to, t.net.world.Delay(t.spot, to.spot), true
}

// WriteToAddress sends a packet, which may be lost.
func (t *Transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	now := time.Now()
	t.Sent.Add(int64(len(b) + headers))
	t.Packets.Add(1)
	to, delay, ok := t.reach(a.Addr)
	if !ok || (t.net.mute.Load() && !t.loud.Load() && !to.loud.Load()) || t.roll() < float64(t.net.loss.Load())/1e6 {
		return now, nil
	}
	// Up to a tenth more: packets overtake one another.
	time.AfterFunc(delay+time.Duration(t.roll()*float64(delay)/10), func() { to.deliver(b, t.addr) })
	return now, nil
}

func (t *Transport) deliver(b []byte, from net.Addr) {
	select {
	case t.packets <- &memberlist.Packet{Buf: b, From: from, Timestamp: time.Now()}:
		t.Received.Add(int64(len(b) + headers))
	case <-t.done:
	default:
		t.Overrun.Add(1)
	}
}

// WriteTo sends a packet.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// PacketCh is where packets arrive.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where connections arrive.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

var errNoAnswer = errors.New("no answer")

// DialAddressTimeout connects to a member: it takes a round trip, and more where packets are lost.
func (t *Transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	to, delay, ok := t.reach(a.Addr)
	wait := 2 * delay
	for ok && wait <= timeout && t.roll() < 2*float64(t.net.loss.Load())/1e6 {
		wait += time.Second // the SYN or its answer is sent again
	}
	if !ok || wait > timeout {
		time.Sleep(timeout)
		return nil, fmt.Errorf("dial %s: %w", a.Addr, errNoAnswer)
	}
	time.Sleep(wait)
	near, far := net.Pipe()
	if !to.accept(&stream{Conn: far, of: to}) {
		return nil, errors.Join(fmt.Errorf("dial %s: refused", a.Addr), near.Close(), far.Close())
	}
	return &stream{Conn: near, of: t}, nil
}

func (t *Transport) accept(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.done:
		return false
	default:
	}
	select {
	case t.streams <- conn:
		return true
	default:
		return false
	}
}

// DialTimeout connects to a member.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// IngestPacket is for transports that share a socket, which this one does not.
func (t *Transport) IngestPacket(conn net.Conn, _ net.Addr, _ time.Time, _ bool) error {
	return errors.Join(errors.New("this network shares no sockets"), conn.Close())
}

// IngestStream is likewise.
func (t *Transport) IngestStream(conn net.Conn) error {
	return errors.Join(errors.New("this network shares no sockets"), conn.Close())
}

// Shutdown takes the member off the network.
func (t *Transport) Shutdown() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.once.Do(func() { close(t.done) })
	for {
		select {
		case conn := <-t.streams:
			_ = conn.Close()
		default:
			return nil
		}
	}
}

// stream counts bytes.
type stream struct {
	net.Conn
	of *Transport
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.of.StreamRead.Add(int64(n))
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.of.StreamSent.Add(int64(n))
	return n, err
}

package cluster

import (
	"log"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
)

// listenTries is how often a free port is asked for until it is free for TCP and UDP alike.
const listenTries = 10

// listen opens the network at host:port.
func listen(host string, port int, logger *log.Logger, count *counters) (*meter, int, error) {
	tries := 1
	if port == 0 {
		tries = listenTries
	}
	var err error
	for range tries {
		var t *memberlist.NetTransport
		if t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{host}, BindPort: port, Logger: logger}); err == nil {
			return newMeter(t, count), t.GetAutoBindPort(), nil
		}
	}
	return nil, 0, err
}

// meter is a transport whose bytes are counted.
type meter struct {
	memberlist.NodeAwareTransport
	count   *counters
	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

func newMeter(t memberlist.NodeAwareTransport, count *counters) *meter {
	m := &meter{NodeAwareTransport: t, count: count, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), stop: make(chan struct{})}
	m.wg.Go(m.forward)
	return m
}

func (m *meter) forward() {
	in := m.count.bytes.WithLabelValues("in", "packet")
	for {
		select {
		case p := <-m.NodeAwareTransport.PacketCh():
			in.Add(float64(len(p.Buf)))
			select {
			case m.packets <- p:
			case <-m.stop:
				return
			}
		case conn := <-m.NodeAwareTransport.StreamCh():
			select {
			case m.streams <- m.meter(conn):
			case <-m.stop:
				_ = conn.Close()
				return
			}
		case <-m.stop:
			return
		}
	}
}

func (m *meter) PacketCh() <-chan *memberlist.Packet { return m.packets }
func (m *meter) StreamCh() <-chan net.Conn           { return m.streams }

func (m *meter) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	m.count.bytes.WithLabelValues("out", "packet").Add(float64(len(b)))
	return m.NodeAwareTransport.WriteToAddress(b, to)
}

func (m *meter) WriteTo(b []byte, addr string) (time.Time, error) {
	return m.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (m *meter) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := m.NodeAwareTransport.DialAddressTimeout(to, timeout)
	if err != nil {
		return nil, err
	}
	return m.meter(conn), nil
}

func (m *meter) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return m.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// Shutdown ends the network before the loop that its readers hand to, for it waits for them.
func (m *meter) Shutdown() error {
	err := m.NodeAwareTransport.Shutdown()
	m.once.Do(func() { close(m.stop) })
	m.wg.Wait()
	return err
}

func (m *meter) meter(conn net.Conn) net.Conn {
	return &meteredConn{conn, m.count.bytes.WithLabelValues("in", "stream"), m.count.bytes.WithLabelValues("out", "stream")}
}

type meteredConn struct {
	net.Conn
	in, out prometheus.Counter
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(float64(n))
	return n, err
}

func (c *meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(float64(n))
	return n, err
}

package relay

import (
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Why the relay did not do what was asked; labels of easel_relay_refusals_total.
const (
	refusedCredential = "credential" // not made by this node, or for another allocation's session
	refusedExpired    = "expired"
	refusedSession    = "session" // it has ended, or was never here
	refusedQuota      = "quota"   // of allocations
	refusedPeer       = "peer"    // not the session's streamer
	refusedBandwidth  = "bandwidth"
	refusedGarbage    = "garbage"     // neither STUN nor ChannelData
	refusedChannel    = "channel"     // no such channel, or no allocation
	refusedFlood      = "flood"       // STUN from who has no allocation, too much of it
	refusedConnection = "connections" // too many without an allocation, or too slow
)

type metrics struct {
	allocations prometheus.GaugeFunc
	packets     *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	refusals    *prometheus.CounterVec

	up, down traffic
}

// traffic counts one direction.
type traffic struct{ packets, bytes prometheus.Counter }

// count adds the first sent of the packets.
func (t *traffic) count(packets []unix.Iovec, sent int) {
	bytes := uint64(0)
	for _, p := range packets[:sent] {
		bytes += p.Len
	}
	t.packets.Add(float64(sent))
	t.bytes.Add(float64(bytes))
}

func newMetrics(registry prometheus.Registerer, allocations func() int) *metrics {
	m := &metrics{
		allocations: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "easel_relay_allocations", Help: "Allocations of the relay that are open."}, func() float64 { return float64(allocations()) }),
		packets:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_relay_packets_total", Help: "Packets relayed, by direction: up is from the viewer."}, []string{"direction"}),
		bytes:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_relay_bytes_total", Help: "Bytes relayed without the relay's headers, by direction."}, []string{"direction"}),
		refusals:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_relay_refusals_total", Help: "What the relay refused or dropped, by reason."}, []string{"reason"}),
	}
	registry.MustRegister(m.allocations, m.packets, m.bytes, m.refusals)
	m.up = traffic{m.packets.WithLabelValues("up"), m.bytes.WithLabelValues("up")}
	m.down = traffic{m.packets.WithLabelValues("down"), m.bytes.WithLabelValues("down")}
	return m
}

func (m *metrics) refused(reason string, n int) {
	if n > 0 {
		m.refusals.WithLabelValues(reason).Add(float64(n))
	}
}

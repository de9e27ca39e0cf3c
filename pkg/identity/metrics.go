package identity

import "github.com/prometheus/client_golang/prometheus"

// Register adds this member's metrics: how old what it holds is.
func (m *Member) Register(registry prometheus.Registerer) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "easel_certificate_expires_timestamp_seconds", Help: "When this member's certificate counts no more, in seconds since 1970.",
		}, func() float64 { return float64(m.Expires().Unix()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "easel_trust_version", Help: "The version of the cluster's trust that this member has applied; equal on all members, but for moments.",
		}, func() float64 { return float64(m.Trust().GetVersion()) }),
	)
}

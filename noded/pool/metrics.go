package pool

import "github.com/prometheus/client_golang/prometheus"

// Metrics is what the pool tells Prometheus, by kind: ready or desktop.
type Metrics struct {
	wanted, up, starting *prometheus.GaugeVec
	refill               prometheus.Histogram
	failures             prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"kind"})
	}
	m := &Metrics{
		wanted:   gauge("easel_warm_wanted", "Warm sessions that are wished for, by kind."),
		up:       gauge("easel_warm_sessions", "Warm sessions that can be claimed, by kind."),
		starting: gauge("easel_warm_starting", "Warm sessions that are not up yet, by kind."),
		refill: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "easel_warm_refill_seconds", Help: "From the begin of a warm session until it could be claimed.",
			Buckets: []float64{.5, 1, 2, 3, 5, 7, 10, 15, 30, 60},
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "easel_warm_failures_total", Help: "Warm sessions that did not come up."}),
	}
	r.MustRegister(m.wanted, m.up, m.starting, m.refill, m.failures)
	return m
}

func (m *Metrics) tell(rows []*row) {
	type count struct{ wanted, up, starting int }
	kinds := map[string]count{"ready": {}, "desktop": {}}
	for _, r := range rows {
		c := kinds[string(r.wish.Kind)]
		kinds[string(r.wish.Kind)] = count{c.wanted + r.wish.Want, c.up + r.up(), c.starting + len(r.warm) - r.up()}
	}
	for kind, c := range kinds {
		m.wanted.WithLabelValues(kind).Set(float64(c.wanted))
		m.up.WithLabelValues(kind).Set(float64(c.up))
		m.starting.WithLabelValues(kind).Set(float64(c.starting))
	}
}

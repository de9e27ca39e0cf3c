package state

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// register shows the state's metrics.
func (s *Store) register(to prometheus.Registerer) {
	gauge := func(name, help string, of func(r *replica) float64, alone float64) {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if r := s.replica.Load(); r != nil {
				return of(r)
			}
			return alone
		}))
	}
	gauge("easel_state_leader", "1 on the coordinator that leads.", func(r *replica) float64 { return oneIf(r.leads()) }, 1)
	gauge("easel_state_term", "Raft's term, 0 on a coordinator that is alone.", func(r *replica) float64 { return float64(r.raft.CurrentTerm()) }, 0)
	gauge("easel_state_voters", "Coordinators that have a vote.", func(r *replica) float64 { return float64(r.voters()) }, 1)
	gauge("easel_state_lag_entries", "Entries of the replicated log that this coordinator has, but has not carried out.", func(r *replica) float64 {
		return float64(r.raft.LastIndex() - min(r.raft.LastIndex(), r.raft.AppliedIndex()))
	}, 0)
	gauge("easel_state_leader_silence_seconds", "How long this coordinator has not heard the leader.", func(r *replica) float64 {
		if last := r.raft.LastContact(); !r.leads() && !last.IsZero() {
			return time.Since(last).Seconds()
		}
		return 0
	}, 0)
	to.MustRegister(s.latency, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "easel_state_barriers_total", Help: "How often the leader was asked how far the state is; many barriers share one.",
	}, func() float64 { return float64(s.Barriers()) }))
}

func newLatency() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "easel_state_commit_seconds", Help: "How long changes of the state took that were made.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
	})
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

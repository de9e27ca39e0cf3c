package placement

import (
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	easelv1 "easel/pkg/api/easel/v1"
)

type metrics struct {
	seconds  *prometheus.HistogramVec
	tries    prometheus.Histogram
	refusals *prometheus.CounterVec
	distance *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "easel_coordinator_placement_seconds", Help: "Time to find or make a session, by outcome: made, found or refused.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"outcome"}),
		tries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "easel_coordinator_placement_tries", Help: "Nodes that were asked for one new session.",
			Buckets: []float64{0, 1, 2, 3, 4, 5, 10, 15},
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_coordinator_placement_refusals_total", Help: "Nodes that did not take a session, by the code of their answer and the reason that they gave.",
		}, []string{"code", "reason"}),
		distance: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "easel_coordinator_placement_distance_seconds", Help: "Round trip to the node of a new session, by how it is known.",
			Buckets: []float64{.002, .005, .01, .02, .03, .05, .075, .1, .15, .25, .5},
		}, []string{"source"}),
	}
	r.MustRegister(m.seconds, m.tries, m.refusals, m.distance)
	return m
}

func (m metrics) placed(created bool, err error, took time.Duration) {
	outcome := "found"
	switch {
	case err != nil:
		outcome = "refused"
	case created:
		outcome = "made"
	}
	m.seconds.WithLabelValues(outcome).Observe(took.Seconds())
}

// reasons are those that are counted by name.
var reasons = []string{
	easelv1.RefusalClass, easelv1.RefusalGPU, easelv1.RefusalEncoder,
	"full", "memory", "disk", "ports", "image", "late", "cordoned", "draining", "isolated", "containerd", "ending",
}

func (m metrics) refused(err error) {
	code := "ended"
	var c *connect.Error
	if errors.As(err, &c) {
		code = c.Code().String()
	}
	word := reason(err)
	if !slices.Contains(reasons, word) {
		word = ""
	}
	m.refusals.WithLabelValues(code, word).Inc()
}

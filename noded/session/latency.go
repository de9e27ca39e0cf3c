package session

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/stream/contract"
)

// latencies sums up what the streamers of this node count of the way from the hand to the picture, and tells Prometheus. It is safe for several goroutines.
type latencies struct {
	desc *prometheus.Desc

	mu  sync.Mutex
	all contract.Latency
}

func newLatencies() *latencies {
	return &latencies{
		desc: prometheus.NewDesc("easel_latency_seconds",
			"Each stage of the way from an artist's hand to the picture that it changed, and the whole of it (input). Stages from node to send are measured by the streamers, the others by the viewers' pages; damage to send are of all pictures, whatever changed them.",
			[]string{"stage"}, nil),
		all: contract.NewLatency(),
	}
}

// add counts what a streamer told after it told before. What it counted before it was first heard is left out.
func (l *latencies) add(before, now contract.Latency) {
	d, ok := now.Since(before)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range d {
		l.all[i].Add(d[i])
	}
}

// Describe implements prometheus.Collector.
func (l *latencies) Describe(c chan<- *prometheus.Desc) { c <- l.desc }

// Collect implements prometheus.Collector.
func (l *latencies) Collect(c chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, name := range contract.StageNames() {
		buckets, count := make(map[float64]uint64), uint64(0)
		for j, bound := range contract.LatencyBounds() {
			count += l.all[i].N[j]
			buckets[bound/1000] = count
		}
		count += l.all[i].N[len(l.all[i].N)-1]
		c <- prometheus.MustNewConstHistogram(l.desc, count, l.all[i].MS/1000, buckets, name)
	}
}

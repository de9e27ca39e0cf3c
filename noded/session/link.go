package session

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/noded/stream/contract"
)

// linkEvery is how often a session's link is counted at most: what chatters counts no more than others.
const linkEvery = 10 * time.Second

// links counts how the ways to this node's viewers are, for Prometheus. Each session that is watched counts every 10 to 25 seconds.
type links struct {
	rtt, loss, target, acked, scale prometheus.Histogram
}

func newLinks(r prometheus.Registerer) *links {
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		r.MustRegister(h)
		return h
	}
	rates := []float64{0.5e6, 1e6, 2e6, 5e6, 10e6, 20e6, 50e6, 100e6}
	return &links{
		rtt:    histogram("easel_link_rtt_seconds", "Round trip to the viewer that a session's picture is made for, a sample every 10 to 25 seconds.", 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1),
		loss:   histogram("easel_link_loss_ratio", "Share of the packets to that viewer that were lost of late.", 0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
		target: histogram("easel_link_target_bits_per_second", "What the rate control lets go out to that viewer.", rates...),
		acked:  histogram("easel_link_acknowledged_bits_per_second", "What that viewer has confirmed of late; little where the screen is still.", rates...),
		scale:  histogram("easel_link_video_scale_ratio", "The video's sides beside the screen's: less than 1 where the way carries no more.", 0.34, 0.5, 0.75, 1),
	}
}

// add counts a link, if there is one.
func (l *links) add(now contract.Link) {
	if now.Target == 0 {
		return
	}
	l.rtt.Observe(now.RTT / 1000)
	l.loss.Observe(now.Loss)
	l.target.Observe(now.Target * 1000)
	l.acked.Observe(now.Acked * 1000)
	l.scale.Observe(now.Scale)
}

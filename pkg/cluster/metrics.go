package cluster

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What gossip may be refused for.
const (
	refusedKey    = "key"    // it is encrypted with a key that this member does not have, or not at all
	refusedLabel  = "label"  // it is another cluster's, or another program's
	refusedRecord = "record" // what it says is malformed, or out of range
	refusedMember = "member" // the member is not admitted, or describes itself falsely
)

// counters are what a member counts by itself.
type counters struct {
	refused *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	dropped prometheus.Counter
}

func newCounters() *counters {
	return &counters{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_cluster_refused_total", Help: "Gossip that was refused, by reason.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_cluster_bytes_total", Help: "Bytes of gossip, by direction and by packets or streams.",
		}, []string{"direction", "by"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "easel_cluster_dropped_total", Help: "Messages dropped because too many came at once.",
		}),
	}
}

var (
	membersDesc = prometheus.NewDesc("easel_cluster_members", "Members, by role and state (heard, suspect, silent, refused).", []string{"role", "state"}, nil)
	ageDesc     = prometheus.NewDesc("easel_cluster_record_age_seconds", "Since the node that was silent longest was heard.", nil, nil)
	queueDesc   = prometheus.NewDesc("easel_cluster_queued_broadcasts", "Records that wait to be passed on.", nil, nil)
)

// Describe and Collect make a Cluster a prometheus.Collector.
func (c *Cluster) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect tells what the members are, how old the view is, and what was counted.
func (c *Cluster) Collect(out chan<- prometheus.Metric) {
	c.count.refused.Collect(out)
	c.count.bytes.Collect(out)
	c.count.dropped.Collect(out)
	states, age := c.states()
	for key, n := range states {
		out <- prometheus.MustNewConstMetric(membersDesc, prometheus.GaugeValue, float64(n), key[0], key[1])
	}
	out <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, age.Seconds())
	out <- prometheus.MustNewConstMetric(queueDesc, prometheus.GaugeValue, float64(c.queue.NumQueued()))
}

// states counts the members by role and state, and tells how long the quietest node of the view has been silent.
func (c *Cluster) states() (states map[[2]string]int, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	states = map[[2]string]int{}
	for _, m := range c.members {
		state := "heard"
		switch {
		case m.refused:
			state = "refused"
		case m.silent():
			state = "silent"
		case c.suspectLocked(m):
			state = "suspect"
		}
		role := m.said.Value().meta.Role
		states[[2]string{role, state}]++
		if role == RoleNode && m.beats != nil && !m.refused && !m.silent() {
			age = max(age, c.clock.now()-m.beats.heard)
		}
	}
	return states, age
}

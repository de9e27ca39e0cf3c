package session

import (
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"easel/noded/stream/contract"
)

func TestLatencyOfAllStreamersIsOneHistogramAStage(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewMetrics(r)
	first, second, later := contract.NewLatency(), contract.NewLatency(), contract.NewLatency()
	first[contract.StageInput].Observe(1000) // of before this noded
	later[contract.StageInput].Observe(1000)
	for _, ms := range []float64{7, 20, 3000} {
		later[contract.StageInput].Observe(ms)
	}
	m.latency.add(nil, first)
	m.latency.add(first, later)
	m.latency.add(later, later)
	m.latency.add(later, first) // another streamer took its place
	other := contract.NewLatency()
	other[contract.StageInput].Observe(6)
	m.latency.add(second, other)
	want := `easel_latency_seconds_bucket{stage="input",le="0.008"} 2
easel_latency_seconds_bucket{stage="input",le="0.033"} 3
easel_latency_seconds_bucket{stage="input",le="+Inf"} 4
easel_latency_seconds_sum{stage="input"} 3.033
easel_latency_seconds_count{stage="input"} 4
easel_latency_seconds_count{stage="hand"} 0`
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	text := answer.Body.String()
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

func TestLatencyThatMakesNoSenseIsRefused(t *testing.T) {
	good := contract.Health{Latency: contract.NewLatency()}
	if _, err := checkHealth(good); err != nil {
		t.Fatal(err)
	}
	good.Latency[3].MS = math.Inf(1)
	if _, err := checkHealth(good); err == nil || !strings.Contains(err.Error(), "damage") {
		t.Fatalf("taken: %v", err)
	}
}

func TestLatencyThatAStreamerTellsIsCounted(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	first, then := contract.NewLatency(), contract.NewLatency()
	then[contract.StageInput].Observe(12)
	h.say(s.ID, func(x *contract.Health) {
		x.Viewers, x.Path, x.Encoder, x.Latency = 1, contract.PathDirect, "x264", first
	})
	n.until(s.ID, "watched", func(s Session) bool { return s.Proto().GetEncoder() == "x264" })
	h.say(s.ID, func(x *contract.Health) { // while the keeper looks at the session anew, as it does after a claim
		n.take(s.ID)
		for k, end := n.keeperOf(s.ID), time.Now().Add(5*time.Second); len(k.claimed) > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		x.Latency = then
	})
	n.until(s.ID, "counted", func(Session) bool {
		n.metrics.latency.mu.Lock()
		defer n.metrics.latency.mu.Unlock()
		return n.metrics.latency.all[contract.StageInput].MS == 12
	})
}

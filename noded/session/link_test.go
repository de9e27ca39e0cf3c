package session

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"easel/noded/stream/contract"
)

func TestLinksOfWatchedSessionsAreCounted(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewMetrics(r)
	m.links.add(contract.Link{}) // nobody watches
	m.links.add(contract.Link{RTT: 40, Loss: 0.03, Target: 1800, Acked: 1500, Scale: 0.5})
	m.links.add(contract.Link{RTT: 3, Target: 20_000, Acked: 90, Scale: 1})
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`easel_link_rtt_seconds_count 2`, `easel_link_rtt_seconds_bucket{le="0.005"} 1`,
		`easel_link_loss_ratio_bucket{le="0"} 1`, `easel_link_loss_ratio_bucket{le="0.05"} 2`,
		`easel_link_target_bits_per_second_sum 2.18e+07`, `easel_link_acknowledged_bits_per_second_bucket{le="500000"} 1`,
		`easel_link_video_scale_ratio_bucket{le="0.5"} 1`, `easel_link_video_scale_ratio_count 2`,
	} {
		if !strings.Contains(answer.Body.String(), want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestHealthWithAnAbsurdLinkIsRefused(t *testing.T) {
	h := contract.Health{GIMP: contract.GIMP{State: contract.Starting}, Link: contract.Link{Loss: 7}}
	if _, err := checkHealth(h); err == nil {
		t.Error("a health whose link lost seven times what was sent was taken")
	}
	h.Link.Loss = 0.5
	if _, err := checkHealth(h); err != nil {
		t.Errorf("a health with a link: %v", err)
	}
}

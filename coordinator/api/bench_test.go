package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"easel/pkg/cluster"
)

// BenchmarkClaim is warm claims through one coordinator over HTTP: who asks is found out, a node is chosen, the
// intent is written to disk, the node is asked and gives a warm session, and that is written too. Client,
// coordinator and simulated nodes share the machine.
func BenchmarkClaim(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			var names []string
			for i := range 20 {
				names = append(names, fmt.Sprint("node-", i))
			}
			f := start(b, names...)
			for _, n := range f.nodes {
				n.Tell(func(c *cluster.Capacity) {
					c.Total, c.Used = 100_000, 50_000
					c.Warm = []cluster.Warm{{Image: "easel/gimp", Class: "none", Kind: "ready", Count: 50_000}}
				})
			}
			claim(b, f, clients)
		})
	}
}

func claim(b *testing.B, f *front, clients int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				if err := f.post(client, fmt.Sprintf(`{"key":"k%d","image":"easel/gimp"}`, i)); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "claims/s")
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}

// post asks for a session that is not there yet.
func (f *front) post(client *http.Client, body string) error {
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.url+"/api/v1/sessions", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.tokens["ada"])
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%d %s", resp.StatusCode, answer)
	}
	return err
}

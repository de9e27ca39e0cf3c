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
// intent is written to disk, the node is asked over mutual TLS and gives a warm session, and that is written too.
// Client, coordinator and simulated nodes share the machine. The clients ask one after the other, or together as
// many times a second as the rate says, whether answers come or not.
func BenchmarkClaim(b *testing.B) {
	for _, bench := range []struct{ clients, rate int }{{1, 0}, {16, 0}, {64, 0}, {64, 400}} {
		b.Run(fmt.Sprintf("clients=%d/rate=%d", bench.clients, bench.rate), func(b *testing.B) {
			f := crowd(b, 20)
			claim(b, f, bench.clients, bench.rate)
		})
	}
}

// crowd is a coordinator whose nodes have room and warm sessions enough.
func crowd(b *testing.B, nodes int) *front {
	b.Helper()
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprint("node-", i))
	}
	f := start(b, names...)
	for _, n := range f.nodes {
		n.Tell(func(c *cluster.Capacity) {
			c.Total, c.Used = 100_000, 50_000
			c.Warm = []cluster.Warm{{Image: "easel/gimp", Class: "none", Kind: "ready", Count: 50_000}}
		})
	}
	f.do("GET", "/api/v1/sessions?all=true", "root", "") // opens the connections, as a coordinator's watch over its nodes does
	return f
}

func claim(b *testing.B, f *front, clients, rate int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				began := time.Now()
				if rate > 0 { // counted from when it was due, so that a stall shows in all that it holds up
					began = start.Add(time.Duration(i) * time.Second / time.Duration(rate))
					time.Sleep(time.Until(began))
				}
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

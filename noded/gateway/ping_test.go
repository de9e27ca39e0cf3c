package gateway

import (
	"io"
	"net/http"
	"testing"
)

func TestPingAnswersPagesOfAnySite(t *testing.T) {
	n := newNode(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.server.URL+"/ping", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://portal.example")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	limited := false
	for i := range 2 * pingBurst {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Cross-Origin-Resource-Policy") != "cross-origin" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("headers %v", resp.Header)
		}
		if resp.StatusCode == http.StatusTooManyRequests {
			limited = true
			break
		}
		if resp.StatusCode != http.StatusNoContent || len(body) > 0 {
			t.Fatalf("ping %d: %d %q", i, resp.StatusCode, body)
		}
	}
	if !limited {
		t.Error("one address may ping as often as it likes")
	}
}

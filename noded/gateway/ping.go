package gateway

import (
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"easel/pkg/problem"
)

// A page of the portal measures a node with a few pings; behind one address there may be a school.
const (
	pingRate  = rate.Limit(20) // a second, after the first pingBurst
	pingBurst = 300
)

// ping answers pages of any site at once and with nothing: how long that takes is the answer.
func (g *Gateway) ping(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if !g.pings.allow(r.RemoteAddr, time.Now()) {
		h.Set("Retry-After", "1")
		problem.Write(w, http.StatusTooManyRequests, "", "too many pings from this address")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

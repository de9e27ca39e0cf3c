package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests   *prometheus.CounterVec
	placements *prometheus.CounterVec
	signIns    *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry, nodes Nodes) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_coordinator_requests_total", Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		placements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_coordinator_placements_total", Help: "Requests for a session by outcome: made, found or refused.",
		}, []string{"outcome"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "easel_coordinator_sign_ins_total", Help: "Sign-ins by password by outcome: ok, wrong, limited or error.",
		}, []string{"outcome"}),
	}
	r.MustRegister(m.requests, m.placements, m.signIns, newRoomCollector(nodes),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "easel_coordinator_nodes", Help: "Nodes in the view.",
		}, func() float64 { return float64(len(nodes.Nodes())) }))
	return m
}

func (m metrics) placed(created bool, err error) {
	outcome := "found"
	switch {
	case err != nil:
		outcome = "refused"
	case created:
		outcome = "made"
	}
	m.placements.WithLabelValues(outcome).Inc()
}

// Count counts the requests that mux answers, by the pattern that matched, so that the number of series
// is bounded whatever clients ask for.
func (a *API) Count(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		mux.ServeHTTP(sw, r)
		_, path, found := strings.Cut(r.Pattern, " ")
		if !found {
			path = r.Pattern
		}
		a.metrics.requests.WithLabelValues(path, method(r.Method), strconv.Itoa(sw.status)).Inc()
	})
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodPut, http.MethodOptions:
		return m
	}
	return "other"
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the writer beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

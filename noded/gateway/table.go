package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"easel/pkg/problem"
)

// table is the routes by path and method. It answers for paths and methods that are not there, as the
// standard multiplexer does in plain text.
type table struct {
	g     *Gateway
	paths map[string]map[string]http.Handler
}

func newTable(g *Gateway) *table { return &table{g: g, paths: map[string]map[string]http.Handler{}} }

// add sets a route; limit bounds the whole request, 0 not at all.
func (t *table) add(method, path string, limit time.Duration, h http.HandlerFunc) {
	if t.paths[path] == nil {
		t.paths[path] = map[string]http.Handler{}
	}
	t.paths[path][method] = t.counted(method+" "+path, limited(limit, h))
}

func (t *table) handler() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range t.paths {
		mux.Handle(path, byMethod(methods))
	}
	mux.Handle("/", t.counted("other", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem.Write(w, http.StatusNotFound, "", fmt.Sprintf("there is nothing at %q", r.URL.Path))
	})))
	return mux
}

func byMethod(methods map[string]http.Handler) http.Handler {
	var names []string
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	allow := strings.Join(names, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := methods[method]
		if h == nil {
			w.Header().Set("Allow", allow)
			problem.Write(w, http.StatusMethodNotAllowed, "", "use "+allow+" here")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// limited bounds a request's reading, work and writing.
func limited(limit time.Duration, h http.Handler) http.Handler {
	if limit == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control, at := http.NewResponseController(w), time.Now().Add(limit)
		_ = control.SetReadDeadline(at) // not every server can: then the listener's own bounds hold
		_ = control.SetWriteDeadline(at)
		ctx, cancel := context.WithDeadline(r.Context(), at)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// counted tells the metrics what was asked and how it went.
func (t *table) counted(route string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w}
		defer func() {
			t.g.requests.WithLabelValues(route, fmt.Sprintf("%dxx", seen.class())).Inc()
		}()
		h.ServeHTTP(seen, r)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) class() int {
	if w.status == 0 {
		return 2
	}
	return w.status / 100
}

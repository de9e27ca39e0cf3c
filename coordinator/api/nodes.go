package api

import (
	"context"
	"net"
	"net/http"
	"time"

	"easel/pkg/telemetry"
)

// Node is a node as the API tells of it.
type Node struct {
	Name      string    `json:"name"`
	URL       string    `json:"url"`
	Version   string    `json:"version"`
	Total     int       `json:"total"`
	Used      int       `json:"used"`
	Draining  bool      `json:"draining"`
	Full      string    `json:"full,omitempty"` // why it takes no session
	Images    []string  `json:"images"`
	Seen      time.Time `json:"seen"` // when its last record arrived
	Reachable bool      `json:"reachable"`
	Error     string    `json:"error,omitempty"` // why it cannot be reached
	Degraded  []string  `json:"degraded"`
}

func (a *API) listNodes(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	if !who.Admin() {
		return errAdminOnly
	}
	return writeJSON(w, http.StatusOK, map[string][]Node{"nodes": a.ListNodes(r.Context())})
}

// ListNodes returns the nodes in the view, each asked how it is.
func (a *API) ListNodes(ctx context.Context) []Node {
	nodes := []Node{}
	for _, n := range a.Nodes.Statuses(ctx) {
		one := Node{
			Name: n.Meta.Name, URL: n.Meta.URL, Version: n.Meta.Version, Total: n.Capacity.Total, Used: n.Capacity.Used,
			Draining: n.Capacity.Draining, Full: n.Capacity.Full, Images: append([]string{}, n.Capacity.Images...),
			Seen: n.Seen.UTC(), Reachable: n.Err == nil, Degraded: []string{},
		}
		if n.Err != nil {
			one.Error = n.Err.Error()
		} else {
			one.Degraded = append(one.Degraded, n.Status.GetDegraded()...)
		}
		nodes = append(nodes, one)
	}
	return nodes
}

// healthz answers while the process can serve.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 200 when a session could be made here: the database works and a node is known.
func (a *API) readyz(w http.ResponseWriter, _ *http.Request) error {
	if err := a.Guard.Store.Ping(); err != nil {
		a.Log.Error("not ready", "error", err)
		return &statusError{http.StatusServiceUnavailable, "the account database cannot be read"}
	}
	if len(a.Nodes.Nodes()) == 0 {
		return &statusError{http.StatusServiceUnavailable, "no node is known yet"}
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// serveMetrics is open to this host, and to administrators from elsewhere. A request that a proxy on this
// host passed on is from elsewhere.
func (a *API) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	if !local(r) {
		who, err := a.identify(r)
		if err != nil {
			return err
		}
		if !who.Admin() {
			return errAdminOnly
		}
	}
	telemetry.MetricsHandler(a.Registry, a.Log).ServeHTTP(w, r)
	return nil
}

func local(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

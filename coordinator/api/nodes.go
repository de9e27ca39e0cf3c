package api

import (
	"context"
	"net"
	"net/http"
	"time"

	"easel/coordinator/directory"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/telemetry"
)

// Node is a node as the API tells of it.
type Node struct {
	Name      string     `json:"name"`
	URL       string     `json:"url"`
	Version   string     `json:"version"`
	Region    string     `json:"region,omitempty"`
	Zone      string     `json:"zone,omitempty"`
	Total     int        `json:"total"`
	Used      int        `json:"used"`
	Classes   []Room     `json:"classes"`
	Cards     []Card     `json:"cards"`
	Slices    []Slice    `json:"slices"` // of the cards
	Pools     []Pool     `json:"pools"`  // warm sessions
	Load      Load       `json:"load"`
	Duty      string     `json:"duty"` // serving, cordoned or draining; "" when the node did not say
	Deadline  *time.Time `json:"deadline,omitempty"`
	Draining  bool       `json:"draining"`       // it takes no session, for whatever reason
	Full      string     `json:"full,omitempty"` // why it takes no session
	Isolated  bool       `json:"isolated"`       // it says that it sees no coordinator
	Images    []string   `json:"images"`
	Relay     string     `json:"relay,omitempty"` // address of its TURN server
	Seen      time.Time  `json:"seen"`            // when its last record arrived
	Reachable bool       `json:"reachable"`
	Lost      bool       `json:"lost"`            // it has been silent for so long that its sessions are given up
	Error     string     `json:"error,omitempty"` // why it cannot be reached
	Degraded  []string   `json:"degraded"`
}

// Room is the sessions of a class that a node can hold and holds.
type Room struct {
	Class    string `json:"class"`
	Total    int    `json:"total"`
	Used     int    `json:"used"`
	Encoders int    `json:"encoders"` // of the free ones, those with a card's encoder
}

// Card is the cards of one model.
type Card struct {
	Model     string `json:"model"`
	Count     int    `json:"count"`
	Unhealthy int    `json:"unhealthy"`
	Encoder   bool   `json:"encoder"` // the model has an encoder engine
}

// Slice is the parts of one kind into which cards are divided.
type Slice struct {
	Profile string `json:"profile"`
	Total   int    `json:"total"`
	Used    int    `json:"used"`
}

// Pool is the warm sessions of one kind.
type Pool struct {
	Image    string `json:"image,omitempty"` // "" means the node's default
	Class    string `json:"class"`
	Kind     string `json:"kind"`
	Want     int    `json:"want"`
	Warm     int    `json:"warm"` // ready to be claimed
	Starting int    `json:"starting"`
}

// Load is how busy a node's host is.
type Load struct {
	CPUs        int    `json:"cpus"`
	CPUPercent  int    `json:"cpu_percent"` // of all of them
	MemoryTotal uint64 `json:"memory_total"`
	MemoryFree  uint64 `json:"memory_free"`
}

func (a *API) listNodes(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.administrator(r); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string][]Node{"nodes": a.ListNodes(r.Context())})
}

// ListNodes returns the nodes in the view, each asked how it is, and then those that have left it of late.
func (a *API) ListNodes(ctx context.Context) []Node {
	nodes := []Node{}
	for _, n := range a.Nodes.Statuses(ctx) {
		nodes = append(nodes, describeNode(n))
	}
	for _, m := range a.Nodes.Missing() {
		nodes = append(nodes, Node{
			Name: m.Meta.Name, URL: m.Meta.URL, Version: m.Meta.Version, Region: m.Meta.Place.Region, Zone: m.Meta.Place.Zone,
			Classes: []Room{}, Cards: []Card{}, Slices: []Slice{}, Pools: []Pool{}, Images: []string{}, Degraded: []string{},
			Seen: m.Seen.UTC(), Lost: m.Lost, Error: "it has not been heard of since " + m.Seen.UTC().Format("15:04:05 UTC"),
		})
	}
	return nodes
}

func describeNode(n directory.NodeStatus) Node {
	c, load := n.Capacity, n.Capacity.Load
	one := Node{
		Name: n.Meta.Name, URL: n.Meta.URL, Version: n.Meta.Version, Region: n.Meta.Place.Region, Zone: n.Meta.Place.Zone,
		Total: c.Total, Used: c.Used, Classes: []Room{}, Cards: []Card{}, Slices: []Slice{}, Pools: []Pool{}, Draining: c.Draining, Full: c.Full,
		Load:   Load{CPUs: load.CPUs, CPUPercent: int(100*load.CPU + .5), MemoryTotal: load.MemoryTotal, MemoryFree: load.MemoryFree},
		Images: append([]string{}, c.Images...), Relay: n.Meta.Relay, Seen: n.Seen.UTC(), Reachable: n.Err == nil, Degraded: []string{},
	}
	for _, r := range c.Classes {
		one.Classes = append(one.Classes, Room{Class: r.Class, Total: r.Total, Used: r.Used, Encoders: r.Encoders})
	}
	for _, g := range c.GPUs {
		one.Cards = append(one.Cards, Card{Model: g.Model, Count: g.Count, Unhealthy: g.Unhealthy, Encoder: g.Encoder})
	}
	for _, s := range c.Slices {
		one.Slices = append(one.Slices, Slice{Profile: s.Profile, Total: s.Total, Used: s.Used})
	}
	if n.Err != nil {
		one.Error = n.Err.Error()
		return one
	}
	one.Degraded = append(one.Degraded, n.Status.GetDegraded()...)
	one.Duty, one.Deadline, one.Isolated = dutyName(n.Status.GetDuty()), timeOrNil(n.Status.GetDrainDeadline()), n.Status.GetIsolated()
	for _, p := range n.Status.GetPool() {
		one.Pools = append(one.Pools, Pool{
			Image: p.GetPool().GetImage(), Class: p.GetPool().GetClass(), Kind: p.GetPool().GetKind(),
			Want: int(p.GetPool().GetWant()), Warm: int(p.GetWarm()), Starting: int(p.GetStarting()),
		})
	}
	return one
}

func dutyName(d easelv1.Duty) string {
	switch d {
	case easelv1.Duty_DUTY_SERVING:
		return "serving"
	case easelv1.Duty_DUTY_CORDONED:
		return "cordoned"
	case easelv1.Duty_DUTY_DRAINING:
		return "draining"
	}
	return ""
}

// healthz answers while the process can serve.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz answers 200 when a session could be made here: the database works, the coordinators can agree and a node is known.
func (a *API) readyz(w http.ResponseWriter, _ *http.Request) error {
	if err := a.Guard.Store.Ping(); err != nil {
		a.Log.Error("not ready", "error", err)
		return &statusError{http.StatusServiceUnavailable, "the account database cannot be read"}
	}
	if err := a.Guard.Store.Ready(); err != nil {
		return &statusError{http.StatusServiceUnavailable, err.Error()}
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

package api

import (
	"net/http"
	"strings"

	"easel/coordinator/auth"
	"easel/coordinator/placement"
)

// maxNear is how many candidates a browser is told to measure.
const maxNear = 5

// Candidate is a node that suits, for a browser to measure.
type Candidate struct {
	Node       string  `json:"node"`
	Ping       string  `json:"ping"` // answers 204 at once
	DistanceMS float64 `json:"distance_ms"`
	DistanceBy string  `json:"distance_by"`
	Score      float64 `json:"score"`
}

// Route is where a session would go.
type Route struct {
	Candidates []Candidate             `json:"candidates"` // best first
	Nodes      []placement.Explanation `json:"nodes,omitempty"`
	More       int                     `json:"more,omitempty"` // nodes that are not told of
}

// maxExplained is of how many nodes an administrator is told why; others are told of the best alone, where their session would go.
const maxExplained = 200

func (a *API) route(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	explain, err := flag(q, "explain")
	if err != nil {
		return err
	}
	req := SessionRequest{Key: q.Get("key"), Image: q.Get("image"), Class: q.Get("class"), Encoder: q.Get("encoder")}
	if req.Key, err = chooseKey(req.Key, nil); err != nil {
		return err
	}
	wanted, err := a.Prepare(r, who, req)
	if err != nil {
		return err
	}
	out := Route{}
	if out.Candidates, err = a.Near(wanted); err != nil {
		return err
	}
	if explain {
		most := 1
		if who.Admin() {
			most = maxExplained
		}
		total := 0
		if out.Nodes, total, err = a.Placer.Explain(wanted, most); err != nil {
			return err
		}
		out.More = total - len(out.Nodes)
	}
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) classes(w http.ResponseWriter, r *http.Request) error {
	who, err := a.identify(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string][]placement.Choice{"classes": a.Choices(who)})
}

// Choices is what kinds of sessions somebody may ask for.
func (a *API) Choices(who auth.Who) []placement.Choice { return a.Placer.Choices(who.Name, who.Role) }

// Near returns the nodes that a browser should measure before it asks for a session.
func (a *API) Near(req placement.Request) ([]Candidate, error) {
	found, err := a.Placer.Candidates(req)
	if err != nil {
		return nil, err
	}
	near := []Candidate{}
	for _, c := range found[:min(len(found), maxNear)] {
		near = append(near, Candidate{
			Node: c.Node.Meta.Name, Ping: strings.TrimSuffix(c.Node.Meta.URL, "/") + "/ping",
			DistanceMS: c.Distance, DistanceBy: c.Source, Score: c.Score,
		})
	}
	return near, nil
}

// Prepare makes a request for a session of what somebody asks for and of what is known of where they are.
func (a *API) Prepare(r *http.Request, who auth.Who, req SessionRequest) (placement.Request, error) {
	if len(req.Image) > 255 || len(req.Class) > 64 {
		return placement.Request{}, &statusError{http.StatusBadRequest, "image has at most 255 bytes and class at most 64"}
	}
	if err := checkEncoder(req); err != nil {
		return placement.Request{}, err
	}
	if err := placement.CheckPings(req.Pings); err != nil {
		return placement.Request{}, &statusError{http.StatusBadRequest, err.Error()}
	}
	wanted := placement.Request{
		User: who.Name, Role: who.Role, Key: req.Key, Image: req.Image, Class: req.Class, Encoder: req.Encoder, Pings: req.Pings,
	}
	a.Clients.Complete(&wanted, a.Guard.ClientAddress(r))
	return wanted, nil
}

func checkEncoder(req SessionRequest) error {
	switch {
	case req.Encoder != "" && req.Encoder != placement.Hardware && req.Encoder != placement.Any:
		return &statusError{http.StatusBadRequest, "encoder is hardware, any, or absent for what this cluster is set to"}
	case req.Encoder == placement.Hardware && (req.Class == "" || req.Class == placement.ClassNone):
		return &statusError{http.StatusBadRequest, "encoder hardware needs a class with a GPU; GET /api/v1/classes lists them"}
	}
	return nil
}

package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"easel/coordinator/nodetest"
	"easel/coordinator/placement"
	"easel/pkg/cluster"
)

// gpus gives the first node an H100 without an encoder, the second an L40S that is shared, and leaves the third without a card.
func (f *front) gpus() {
	f.nodes[0].SetSlices(nodetest.Slice{ID: "MIG-1", Class: "1g.10gb"}, nodetest.Slice{ID: "MIG-2", Class: "1g.10gb"})
	f.nodes[0].Tell(func(c *cluster.Capacity) {
		c.Classes = []cluster.Room{{Class: "none", Total: 8}, {Class: "1g.10gb", Total: 2}}
		c.Slices = []cluster.Slice{{Profile: "1g.10gb", Total: 2}}
		c.GPUs = []cluster.GPU{{Model: "NVIDIA H100 80GB HBM3", Count: 2, Unhealthy: 1}}
	})
	f.nodes[1].SetSlices(nodetest.Slice{ID: "GPU-1#1", Class: "shared", Encoder: true})
	f.nodes[1].Tell(func(c *cluster.Capacity) {
		c.Classes = []cluster.Room{{Class: "none", Total: 8}, {Class: "shared", Total: 1, Encoders: 1}}
		c.GPUs = []cluster.GPU{{Model: "NVIDIA L40S", Count: 1, Encoder: true}}
	})
}

func TestSessionsGoWhereTheirClassAndEncoderAre(t *testing.T) {
	f := start(t, "h100", "l40s", "cpu")
	f.gpus()
	for _, tt := range []struct{ user, body, node, gpu string }{
		{"ada", `{"key":"1","class":"shared"}`, "l40s", "GPU-1#1"},
		{"ada", `{"key":"2","class":"1g.10gb","encoder":"any"}`, "h100", "MIG-1"},
		{"bob", `{"key":"3"}`, "cpu", ""},
		{"root", `{"key":"4","class":"none","encoder":"any"}`, "cpu", ""},
	} {
		s := decode[Session](t, f.do("POST", "/api/v1/sessions", tt.user, tt.body), http.StatusCreated)
		if s.Node != tt.node || s.GPU != tt.gpu {
			t.Errorf("%s: on %s with %q, want %s with %q", tt.body, s.Node, s.GPU, tt.node, tt.gpu)
		}
	}
	// Now the L40S is taken, which its record does not tell yet; and the H100 never encodes.
	f.wantProblem(f.do("POST", "/api/v1/sessions", "bob", `{"class":"shared"}`), http.StatusServiceUnavailable, "l40s: no free slice of class shared has an encoder")
	f.wantProblem(f.do("POST", "/api/v1/sessions", "bob", `{"class":"1g.10gb"}`), http.StatusServiceUnavailable, `h100: it has no hardware encoder for class 1g.10gb`)
	f.wantProblem(f.do("POST", "/api/v1/sessions", "bob", `{"class":"whole"}`), http.StatusServiceUnavailable, `it has no sessions of class "whole"`)
	if n := f.nodes[0].Calls("Reserve"); n != 1 {
		t.Errorf("the node without an encoder was asked %d times", n)
	}
	for body, says := range map[string]string{
		`{"encoder":"nvenc"}`:                     "hardware",
		`{"encoder":"hardware"}`:                  "class with a GPU",
		`{"class":"none","encoder":"hardware"}`:   "class with a GPU",
		`{"class":"shared","encoder":"software"}`: "hardware",
	} {
		f.wantProblem(f.do("POST", "/api/v1/sessions", "bob", body), http.StatusBadRequest, says)
	}
	f.wantProblem(f.do("GET", "/api/v1/route?encoder=x", "bob", ""), http.StatusBadRequest, "hardware")
}

func TestClassesAndCardsAreTold(t *testing.T) {
	f := start(t, "h100", "l40s", "cpu")
	f.gpus()
	answer := decode[struct{ Classes []placement.Choice }](t, f.do("GET", "/api/v1/classes", "ada", ""), http.StatusOK)
	want := []placement.Choice{{Class: "none", Free: 24, Total: 24}, {Class: "1g.10gb", Encoder: "any", Free: 2, Total: 2}, {Class: "shared", Encoder: "hardware", Free: 1, Total: 1}}
	if !slices.Equal(answer.Classes, want) {
		t.Errorf("one may ask for %+v, want %+v", answer.Classes, want)
	}
	f.wantProblem(f.do("GET", "/api/v1/classes", "", ""), http.StatusUnauthorized, "sign in")
	nodes := decode[struct{ Nodes []Node }](t, f.do("GET", "/api/v1/nodes", "root", ""), http.StatusOK).Nodes
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == "h100" })
	if i < 0 || !slices.Equal(nodes[i].Cards, []Card{{Model: "NVIDIA H100 80GB HBM3", Count: 2, Unhealthy: 1}}) || !slices.Equal(nodes[i].Slices, []Slice{{Profile: "1g.10gb", Total: 2}}) {
		t.Errorf("the node with an H100 is %+v", nodes)
	}
	metrics := f.do("GET", "/metrics", "", "")
	for _, line := range []string{`easel_coordinator_room{class="shared",state="encoders"} 1`, `easel_coordinator_room{class="none",state="free"} 16`, `easel_coordinator_cards{state="unhealthy"} 1`} {
		if !strings.Contains(string(metrics.body), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	route := decode[Route](t, f.do("GET", "/api/v1/route?class=1g.10gb&encoder=any&explain=1", "root", ""), http.StatusOK)
	if len(route.Candidates) != 1 || route.Candidates[0].Node != "h100" || len(route.Nodes) != 3 || route.More != 0 {
		t.Errorf("%+v", route)
	}
}

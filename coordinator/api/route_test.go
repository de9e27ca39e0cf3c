package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"easel/pkg/cluster"
)

func TestRouteExplainsEveryNode(t *testing.T) {
	f := start(t, "node-a", "node-b", "node-c")
	f.nodes[0].Tell(func(c *cluster.Capacity) { c.Used = 6 })
	f.nodes[1].Tell(func(c *cluster.Capacity) { c.Images = []string{"krita"} })
	f.nodes[2].Tell(func(c *cluster.Capacity) { c.Used = 1 })
	plain := decode[Route](t, f.do("GET", "/api/v1/route?image=easel/gimp", "ada", ""), http.StatusOK)
	if len(plain.Candidates) != 2 || plain.Candidates[0].Node != "node-c" || plain.Candidates[0].Ping != f.nodes[2].URL+"/ping" || plain.Nodes != nil {
		t.Errorf("got %+v", plain)
	}
	own := decode[Route](t, f.do("GET", "/api/v1/route?image=easel/gimp&explain=1", "ada", ""), http.StatusOK)
	if len(own.Nodes) != 1 || own.Nodes[0].Node != "node-c" || own.More != 2 {
		t.Errorf("who is no administrator is told of %+v and %d more", own.Nodes, own.More)
	}
	explained := decode[Route](t, f.do("GET", "/api/v1/route?image=easel/gimp&explain=1", "root", ""), http.StatusOK)
	var order []string
	for _, n := range explained.Nodes {
		order = append(order, fmt.Sprint(n.Rank, n.Node))
		if len(n.Filters) != 6 || len(n.Scores) != 7 {
			t.Errorf("%s: %d filters, %d scores", n.Node, len(n.Filters), len(n.Scores))
		}
	}
	if got := strings.Join(order, " "); got != "1node-c 2node-a 0node-b" {
		t.Errorf("order %s", got)
	}
	made := decode[Session](t, f.do("POST", "/api/v1/sessions", "ada", `{"image":"easel/gimp"}`), http.StatusCreated)
	if made.Node != explained.Nodes[0].Node {
		t.Errorf("placed on %s", made.Node)
	}
}

func TestReportedPingsMoveTheReportersSessionsAlone(t *testing.T) {
	f := start(t, "node-a", "node-b")
	f.nodes[0].Tell(func(c *cluster.Capacity) { c.Used = 5 })
	for _, tt := range []struct {
		user, key, body, want string
	}{
		{"ada", "1", `{"key":"1","pings":{"node-a":8,"node-b":170,"elsewhere":1}}`, "node-a"},
		{"bob", "1", `{"key":"1"}`, "node-b"},
	} {
		if got := decode[Session](t, f.do("POST", "/api/v1/sessions", tt.user, tt.body), http.StatusCreated); got.Node != tt.want {
			t.Errorf("%s %s: on %s, want %s", tt.user, tt.key, got.Node, tt.want)
		}
	}
	for body, says := range map[string]string{
		`{"pings":{"node-a":-1}}`:         "node-a",
		`{"pings":{"node-a":1e9}}`:        "10000",
		`{"pings":{"node-a":"far"}}`:      "JSON",
		`{"pings":{` + manyPings() + `}}`: "limit is 32",
	} {
		f.wantProblem(f.do("POST", "/api/v1/sessions", "ada", body), http.StatusBadRequest, says)
	}
}

func manyPings() string {
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf(`"n%d":1`, i))
	}
	return strings.Join(all, ",")
}

func TestRouteRefuses(t *testing.T) {
	f := start(t, "node-a")
	f.wantProblem(f.do("GET", "/api/v1/route?explain=perhaps", "ada", ""), http.StatusBadRequest, "explain")
	f.wantProblem(f.do("GET", "/api/v1/route?image="+strings.Repeat("x", 300), "ada", ""), http.StatusBadRequest, "image")
	f.wantProblem(f.do("GET", "/api/v1/route", "", ""), http.StatusUnauthorized, "sign in")
}

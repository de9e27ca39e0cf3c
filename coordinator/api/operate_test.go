package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/events"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

func TestAdministratorSetsADuty(t *testing.T) {
	f := start(t, "node-a", "node-b")
	f.do("POST", "/api/v1/sessions", "ada", "")
	answer := decode[DutyAnswer](t, f.do("POST", "/api/v1/nodes/node-a/drain", "root", `{"reason":"a new kernel","deadline_seconds":600}`), http.StatusOK)
	order := f.nodes[0].Order()
	left := time.Until(order.GetDeadline().AsTime())
	if order.GetDuty() != easelv1.Duty_DUTY_DRAINING || order.GetReason() != "a new kernel" || left < 9*time.Minute || left > 10*time.Minute || answer.Duty != "draining" {
		t.Fatalf("the node was told %v; the answer is %+v", order, answer)
	}
	decode[DutyAnswer](t, f.do("POST", "/api/v1/nodes/node-a/cordon", "root", ""), http.StatusOK)
	if f.nodes[0].Order().GetDuty() != easelv1.Duty_DUTY_CORDONED || f.nodes[1].Order() != nil {
		t.Fatal("the duty is not what was asked for, or went to another node")
	}
	nodes := decode[map[string][]Node](t, f.do("GET", "/api/v1/nodes", "root", ""), http.StatusOK)["nodes"]
	if nodes[0].Duty != "cordoned" || !nodes[0].Draining || len(nodes[0].Pools) != 1 || nodes[0].Pools[0].Warm != 1 {
		t.Fatalf("%+v", nodes[0])
	}
	decode[DutyAnswer](t, f.do("POST", "/api/v1/nodes/node-a/uncordon", "root", "{}"), http.StatusOK)
	told := decode[map[string][]events.Event](t, f.do("GET", "/api/v1/events", "root", ""), http.StatusOK)["events"]
	if len(told) != 3 || told[2].Text != "drained by root: a new kernel" || told[2].Subject != "node-a" {
		t.Fatalf("events %+v", told)
	}
}

func TestDutyIsForAdministratorsAndMakesSense(t *testing.T) {
	f := start(t, "node-a")
	for _, c := range []struct {
		path, user, body string
		status           int
	}{
		{"/api/v1/nodes/node-a/drain", "", "", http.StatusUnauthorized},
		{"/api/v1/nodes/node-a/drain", "ada", "", http.StatusForbidden},
		{"/api/v1/nodes/node-a/cordon", "ada", "", http.StatusForbidden},
		{"/api/v1/nodes/nowhere/drain", "root", "", http.StatusNotFound},
		{"/api/v1/nodes/node-a/drain", "root", `{"deadline_seconds":-1}`, http.StatusUnprocessableEntity},
		{"/api/v1/nodes/node-a/drain", "root", `{"deadline_seconds":99999999}`, http.StatusUnprocessableEntity},
		{"/api/v1/nodes/node-a/cordon", "root", `{"deadline_seconds":1}`, http.StatusUnprocessableEntity},
		{"/api/v1/nodes/node-a/drain", "root", `{"reason":"` + strings.Repeat("x", 400) + `"}`, http.StatusUnprocessableEntity},
		{"/api/v1/nodes/node-a/drain", "root", `{"deadline":"soon"}`, http.StatusBadRequest},
	} {
		if a := f.do("POST", c.path, c.user, c.body); a.StatusCode != c.status {
			t.Errorf("%s as %q with %.60s: %d %s, want %d", c.path, c.user, c.body, a.StatusCode, a.body, c.status)
		}
	}
	if a := f.do("GET", "/api/v1/events", "ada", ""); a.StatusCode != http.StatusForbidden {
		t.Errorf("events for everybody: %d", a.StatusCode)
	}
	f.nodes[0].Break(100)
	if a := f.do("POST", "/api/v1/nodes/node-a/drain", "root", ""); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a node that does not answer: %d %s", a.StatusCode, a.body)
	}
	if f.nodes[0].Order() != nil {
		t.Error("a refused request reached the node")
	}
}

func TestRefusalIsAnEvent(t *testing.T) {
	f := start(t, "node-a")
	f.nodes[0].Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("8 of 8")))
	f.do("POST", "/api/v1/sessions", "ada", "")
	told := decode[map[string][]events.Event](t, f.do("GET", "/api/v1/events", "root", ""), http.StatusOK)["events"]
	if len(told) != 1 || told[0].Kind != events.Session || told[0].Subject != "ada" || !told[0].Bad || !strings.Contains(told[0].Text, "8 of 8") {
		t.Fatalf("%+v", told)
	}
}

func TestNodeIsToldWithPlaceRoomAndLoad(t *testing.T) {
	f := start(t, "node-a")
	f.nodes[0].Tell(func(c *cluster.Capacity) {
		c.Used, c.Classes = 3, []cluster.Room{{Class: "none", Total: 8, Used: 3}}
		c.Load = cluster.Load{CPUs: 16, CPU: .25, MemoryTotal: 64 << 30, MemoryFree: 32 << 30}
	})
	n := decode[map[string][]Node](t, f.do("GET", "/api/v1/nodes", "root", ""), http.StatusOK)["nodes"][0]
	if n.Used != 3 || len(n.Classes) != 1 || n.Classes[0] != (Room{Class: "none", Total: 8, Used: 3}) || n.Load.CPUPercent != 25 || n.Load.CPUs != 16 || n.Lost || !n.Reachable {
		t.Fatalf("%+v", n)
	}
}

// TestOperatorsSocketAsksNobody who they are, and does not make sessions, which need a user.
func TestOperatorsSocketAsksNobody(t *testing.T) {
	f := start(t, "node-a")
	f.do("POST", "/api/v1/sessions", "ada", "")
	server := httptest.NewServer(f.api.Operator())
	defer server.Close()
	for want, request := range map[int][]string{
		http.StatusOK:               {"GET /api/v1/nodes", "GET /api/v1/events", "GET /api/v1/sessions?all=true", "POST /api/v1/nodes/node-a/cordon"},
		http.StatusMethodNotAllowed: {"POST /api/v1/sessions"},
		http.StatusNotFound:         {"GET /api/v1/me", "GET /metrics", "POST /api/v1/signin"},
	} {
		for _, one := range request {
			method, path, _ := strings.Cut(one, " ")
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %d, want %d", one, resp.StatusCode, want)
			}
		}
	}
}

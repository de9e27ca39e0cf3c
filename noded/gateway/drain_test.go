package gateway

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"easel/noded/session"
	"easel/noded/stream/contract"
	easelv1 "easel/pkg/api/easel/v1"
)

// TestPortalMayMove: portal_url is taken up by a reload, in the page's policy too.
func TestPortalMayMove(t *testing.T) {
	n := newNode(t, nil)
	n.gate.SetPortal("http://elsewhere.example")
	if at := n.ask("GET", "/", "").Header.Get("Location"); at != "http://elsewhere.example" {
		t.Errorf("the node's bare address leads to %q", at)
	}
	if policy := n.ask("GET", "/s/"+living, "").Header.Get("Content-Security-Policy"); !strings.Contains(policy, "http://elsewhere.example") {
		t.Errorf("the page's policy is %q", policy)
	}
}

// TestDrainIsPassedOnAndShown: NodeService.Drain reaches the sessions, and a session's status tells its viewer.
func TestDrainIsPassedOnAndShown(t *testing.T) {
	n := newNode(t, nil)
	until := time.Now().Add(time.Minute).Round(0)
	req := &easelv1.DrainRequest{Duty: easelv1.Duty_DUTY_DRAINING, Deadline: timestamppb.New(until), Reason: "a new kernel", UntilBoot: true}
	resp, err := (&nodeService{sessions: n}).Drain(t.Context(), connect.NewRequest(req))
	if err != nil || resp.Msg.Sessions != 1 {
		t.Fatalf("%v, %v", resp, err)
	}
	if o := n.order; o.Duty != session.Draining || !o.Deadline.Equal(until) || o.Reason != "a new kernel" || !n.untilBoot {
		t.Fatalf("it was told %+v, %v", o, n.untilBoot)
	}
	s := n.all[living]
	s.Notice = contract.Notice{Text: "Save your work", Until: until}
	n.all[living] = s
	var status struct {
		Notice struct {
			Text  string    `json:"text"`
			Until time.Time `json:"until"`
			Left  int64     `json:"left_ms"`
		} `json:"notice"`
	}
	if err := json.NewDecoder(n.ask("GET", "/s/"+living+"/status", "", n.in).Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	if got := status.Notice; got.Text != "Save your work" || !got.Until.Equal(until) || got.Left < 50_000 || got.Left > 60_000 {
		t.Fatalf("status has the notice %+v", got)
	}
}

package gpulayout

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"easel/integration/gpunode"
	"easel/noded/gpu"
)

// faulty waits until a card has a fault of this code, or with "" none.
func (n *node) faulty(card int, code string) gpu.Status {
	n.t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-ticker.C {
		s := gpunode.Status(n.t, n.stack)
		faults := s.Inventory.Cards[card].Faults
		if code == "" && len(faults) == 0 || code != "" && len(faults) > 0 && faults[0].Code == code {
			return s
		}
		if time.Now().After(end) {
			n.t.Fatalf("card %d does not become %q within two minutes: %+v", card, code, faults)
		}
	}
}

func (n *node) metrics() string {
	n.t.Helper()
	resp, err := http.Get(n.stack.NodeURL() + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

// A real noded sees a card fall off the bus and keep calls, hands out nothing of it, goes on with the other, and takes it back.
func TestCardFails(t *testing.T) {
	n := start(t)
	n.stack.Noded.Env = append(n.stack.Noded.Env, n.machine.Env()) // for doctor, which asks the library itself
	lost, silent := n.machine.Card(0), n.machine.Card(1)
	t.Cleanup(silent.Return) // before the stack stops
	n.faulty(0, "")

	lost.Lose()
	s := n.faulty(0, "lost")
	if why, ok := s.Inventory.Cards[1].Well(); !ok {
		t.Errorf("its neighbour: %s", why)
	}
	for _, slice := range s.Slices {
		if unfit := slice.Card == lost.UUID(); unfit != (slice.Unfit != "") {
			t.Errorf("slice %s is unfit: %q", slice.ID, slice.Unfit)
		}
	}
	if fault := fmt.Sprintf(`easel_gpu_fault{card=%q,code="lost"} 1`, lost.UUID()); !strings.Contains(n.metrics(), fault) {
		t.Errorf("the metrics have no %s", fault)
	}
	findings, _ := n.stack.NodedCLI(t.Context(), "doctor", "--json") // its status is about other checks too
	if !strings.Contains(findings, "has fallen off the bus") {
		t.Errorf("doctor finds nothing wrong with the cards:\n%s", findings)
	}

	silent.Hang("*")
	n.faulty(1, "asking")
	if out, err := n.stack.NodedCLI(t.Context(), "gpu", "status"); err != nil || strings.Count(out, "FAULTY since") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := n.stack.NodedCLI(t.Context(), "status"); err != nil || strings.Count(out, "is faulty, nothing of it is handed out") != 2 {
		t.Errorf("the node's status with two faulty cards, one of which keeps calls: %v\n%s", err, out)
	}

	lost.Return()
	silent.Return()
	n.faulty(0, "")
	n.faulty(1, "")
	if got := n.slices(); got != "whole whole" {
		t.Errorf("afterwards there is %s", got)
	}
	for end := time.Now().Add(time.Minute); len(gpunode.Status(n.t, n.stack).Inventory.Cards[0].Faults) == 0; { // events are followed again a moment later
		if time.Now().After(end) {
			t.Fatal("an XID error is not seen")
		}
		lost.XID(79)
	}
	n.faulty(0, "xid")
}

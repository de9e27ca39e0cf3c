// Package gpulayout proves that a real noded, on the double of NVIDIA's library, survives kill -9 at every step of dividing its cards.
package gpulayout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/integration/devstack"
	"easel/integration/gpunode"
	"easel/noded/gpu/nvmltest"
)

// node is a stack without the session image, whose node has a card for MIG and one without.
type node struct {
	t       *testing.T
	stack   *devstack.Stack
	machine *nvmltest.Machine
	dir     string
}

func start(t *testing.T) *node {
	t.Helper()
	machine := nvmltest.NewMachine(t, nvmltest.A100(), nvmltest.L40S())
	stack := gpunode.Start(t, gpunode.Options{Machine: machine, Library: nvmltest.BuildDouble(t), NoImage: true})
	return &node{t: t, stack: stack, machine: machine, dir: t.TempDir()}
}

// restart ends noded, if it is there, and starts it with failpoints.
func (n *node) restart(points string) {
	n.t.Helper()
	if n.stack.Noded.PID() != 0 {
		if err := n.stack.Noded.Stop(n.t.Context()); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := n.stack.Noded.Start(n.t.Context(), n.machine.Env(), "EASEL_FAILPOINTS="+points); err != nil {
		n.t.Fatalf("noded does not start with the failpoints %q: %v", points, err)
	}
}

// apply applies a layout, given as rules.
func (n *node) apply(rules string) (string, error) {
	n.t.Helper()
	file := filepath.Join(n.dir, "layout.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ncards:\n"+rules), 0o600); err != nil {
		n.t.Fatal(err)
	}
	return n.stack.NodedCLI(n.t.Context(), "gpu", "apply", file, "--drain", "0s")
}

// slices is what noded hands out, by class; it fails when anything is not to be handed out.
func (n *node) slices() string {
	n.t.Helper()
	var classes []string
	for _, h := range gpunode.Status(n.t, n.stack).Slices {
		if h.Unfit != "" || h.Holder != nil {
			n.t.Fatalf("slice %s: unfit %q, held by %v", h.ID, h.Unfit, h.Holder)
		}
		classes = append(classes, h.Class)
	}
	return strings.Join(classes, " ")
}

const (
	divided = "  - model: NVIDIA A100*\n    mig: [3g.20gb, 1g.5gb, 1g.5gb]\n"
	whole   = "  - model: NVIDIA A100*\n    whole: true\n"
	shared  = "  - index: 1\n    shares: 2\n    memory: 16GiB\n"
)

func TestOperatorsCommands(t *testing.T) {
	n := start(t)
	out, err := n.apply(divided + shared)
	if err != nil || !strings.Contains(out, "turn MIG mode on") || !strings.Contains(out, "Done.") {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := n.slices(); got != "3g.20gb 1g.5gb 1g.5gb shared shared" && got != "1g.5gb 1g.5gb 3g.20gb shared shared" {
		t.Fatal(got)
	}
	out, err = n.apply("  - index: 0\n    mig: [7g.40gb, 1g.5gb]\n")
	if err == nil || !strings.Contains(err.Error()+out, "do not fit on it together") {
		t.Fatalf("%v\n%s", err, out)
	}
	n.restart("")
	if got := n.slices(); strings.Count(got, "1g.5gb") != 2 {
		t.Fatalf("after a restart there is %s", got)
	}
	file := filepath.Join(n.dir, "layout.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ncards:\n"+whole), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(n.machine.Calls())
	for _, args := range [][]string{{"gpu", "plan", file}, {"gpu", "apply", file, "--dry-run"}, {"gpu", "plan", file, "--json"}} {
		out, err := n.stack.NodedCLI(t.Context(), args...)
		if err != nil || !strings.Contains(out, "turn MIG mode off") || len(n.machine.Calls()) != before {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}

// kill -9 of noded at every step: its next start has finished or undone what was begun, and hands out all that there is.
func TestKillWalk(t *testing.T) {
	n := start(t)
	out, err := n.stack.NodedCLI(t.Context(), "failpoints", "--gpu")
	if err != nil {
		t.Fatal(err)
	}
	points := strings.Fields(out)
	if len(points) < 20 {
		t.Fatalf("noded names only %q", points)
	}
	is, next := "whole whole", divided // what there is, and what is asked for
	for _, point := range points {
		back := strings.HasPrefix(point, "gpu/und")
		if next == whole && (point == "gpu/instance" || point == "gpu/half") { // met on the way to MIG alone
			if out, err := n.apply(whole); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			is, next = n.slices(), divided
		}
		armed := point + "=kill"
		if back {
			armed += ",gpu/made-verify=error"
		}
		n.restart(armed)
		_, _ = n.apply(next) // it does not survive this
		select {
		case <-n.stack.Noded.Exited():
		case <-time.After(30 * time.Second):
			t.Fatalf("noded did not meet %s", point)
		}
		n.restart("")
		got := n.slices()
		changed := got != is
		if want := !back && point != "gpu/closed"; changed != want {
			t.Fatalf("killed at %s noded has %s, before it had %s", point, got, is)
		}
		if is = got; changed {
			next = map[string]string{divided: whole, whole: divided}[next]
		}
	}
}

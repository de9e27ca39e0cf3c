package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"easel/coordinator/api"
	"easel/coordinator/placement"
	"easel/noded/gpu/nvmltest"
)

// withCards gives a node cards of the double of NVIDIA's library, divided as an operator does, until the test ends. The node's noded is
// restarted for it.
func withCards(t *testing.T, c *Cluster, n *Node, layout string, models ...nvmltest.Model) *nvmltest.Machine {
	t.Helper()
	library, machine := nvmltest.BuildDouble(t), nvmltest.NewMachine(t, models...)
	before, err := os.ReadFile(n.config())
	must(t, err)
	env := n.Noded.Env
	restart := func(ctx context.Context, config []byte, env []string) error {
		stopped := n.Noded.Stop(ctx)
		n.Noded.Env = env
		return errors.Join(stopped, os.WriteFile(n.config(), config, 0o600), n.Noded.Start(ctx))
	}
	var doc map[string]any
	must(t, yaml.Unmarshal(before, &doc))
	file := filepath.Join(machine.Dir, "gpu.yaml")
	must(t, os.WriteFile(file, []byte(layout), 0o600))
	doc["gpu"] = map[string]any{"library": library, "driver_root": machine.DriverRoot(), "layout": file}
	config, err := yaml.Marshal(doc)
	must(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(c.EndAll(ctx), restart(ctx, before, env)); err != nil {
			t.Errorf("take the cards of %s away: %v", n.name, err)
		}
	})
	must(t, restart(t.Context(), config, append(slices.Clone(env), machine.Env())))
	n.order(t, "gpu", "apply", "--drain", "0s")
	return machine
}

// ask asks for a session, and waits until it is ready.
func ask(t *testing.T, c *Cluster, user, class, encoder string) (api.Session, error) {
	t.Helper()
	body, made := map[string]string{"class": class, "encoder": encoder}, api.Session{}
	if err := c.call(t.Context(), c.Coordinators[0], user, http.MethodPost, "/api/v1/sessions", body, &made); err != nil {
		return made, err
	}
	_, err := c.Node(made.Node).Await(t.Context(), made.ID, time.Minute, settled)
	return made, err
}

// wantOn asks for a session that must come to lie on a node, with a slice or without.
func wantOn(t *testing.T, c *Cluster, n *Node, user, class, encoder string) api.Session {
	t.Helper()
	made, err := ask(t, c, user, class, encoder)
	must(t, err)
	if made.Node != n.name || (made.GPU != "") != (class != placement.ClassNone) || made.Class != class {
		t.Fatalf("%s asked for class %s, encoder %q: got %s on %s with %q, want %s", user, class, encoder, made.Class, made.Node, made.GPU, n.name)
	}
	return made
}

// wantNone asks for a session that no node can have, and must be told why.
func wantNone(t *testing.T, c *Cluster, user, class, encoder string, says ...string) {
	t.Helper()
	made, err := ask(t, c, user, class, encoder)
	if statusOf(err) != http.StatusServiceUnavailable {
		t.Fatalf("%s asked for class %s, encoder %q: %s on %s with %q, %v", user, class, encoder, made.ID, made.Node, made.GPU, err)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s is told %v, want %q", user, err, text)
		}
	}
}

// awaitCards waits until every coordinator sees a node's cards and room so.
func awaitCards(t *testing.T, c *Cluster, n *Node, unhealthy int, room api.Room) {
	t.Helper()
	for _, k := range c.Coordinators {
		must(t, eventually(t.Context(), time.Minute, k.name+" sees the cards of "+n.name, func() error {
			view, err := c.View(t.Context(), k)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(view, func(one api.Node) bool { return one.Name == n.name })
			if i < 0 || len(view[i].Cards) != 1 {
				return fmt.Errorf("it sees %+v", view)
			}
			if got := view[i].Cards[0].Unhealthy; got != unhealthy {
				return fmt.Errorf("%d of its cards are not well, want %d", got, unhealthy)
			}
			for _, r := range view[i].Classes {
				if r.Class == room.Class && r == room {
					return nil
				}
			}
			return fmt.Errorf("its room is %+v, want %+v", view[i].Classes, room)
		}))
	}
}

// Three machines: an H100, which cannot encode, shared by two; an L40S, shared by two; and one without a card. Whatever is asked for lands where it
// must or nowhere, the rooms that are told are true, and a card that falls off the bus takes its room with it.
func TestGPUSessionsLandWhereTheyMust(t *testing.T) {
	c := get(t)
	h100, l40s, cpu := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	const shared = "version: 1\ncards:\n  - index: 0\n    shares: 2\n"
	withCards(t, c, h100, shared, nvmltest.H100())
	card := withCards(t, c, l40s, shared, nvmltest.L40S()).Card(0)
	must(t, c.AwaitView(t.Context(), members))
	awaitCards(t, c, h100, 0, api.Room{Class: "shared", Total: 2})
	awaitCards(t, c, l40s, 0, api.Room{Class: "shared", Total: 2, Encoders: 2})

	wantOn(t, c, cpu, "gpu-none", "none", "")
	first := wantOn(t, c, l40s, "gpu-one", "shared", "") // hardware, as the coordinators are set
	awaitCards(t, c, l40s, 0, api.Room{Class: "shared", Total: 2, Used: 1, Encoders: 1})
	wantOn(t, c, l40s, "gpu-two", "shared", "hardware")
	awaitCards(t, c, l40s, 0, api.Room{Class: "shared", Total: 2, Used: 2})
	wantNone(t, c, "gpu-three", "shared", "", h100.name+": it has no hardware encoder for class shared", l40s.name+": ", cpu.name+": it has no sessions of class")
	wantOn(t, c, h100, "gpu-three", "shared", "any")
	awaitCards(t, c, h100, 0, api.Room{Class: "shared", Total: 2, Used: 1})
	wantNone(t, c, "gpu-four", "whole", "any", l40s.name+": it has no sessions of class")

	must(t, c.End(t.Context(), c.Coordinators[0], "gpu-one", first.ID))
	awaitCards(t, c, l40s, 0, api.Room{Class: "shared", Total: 2, Used: 1, Encoders: 1})
	card.XID(79)
	card.Lose()
	awaitCards(t, c, l40s, 1, api.Room{Class: "shared", Total: 1, Used: 1})
	wantNone(t, c, "gpu-four", "shared", "hardware", l40s.name+": ")
	wantOn(t, c, h100, "gpu-four", "shared", "any")
	// No slice is free that one without a card could stand in the way of: any node may have it.
	made, err := ask(t, c, "gpu-five", "none", "")
	must(t, err)
	if made.GPU != "" {
		t.Fatalf("a session without a card was given %q on %s", made.GPU, made.Node)
	}
}

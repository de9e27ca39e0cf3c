package events

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"easel/pkg/cluster"
)

func TestLogKeepsTheLastEventsAndCountsRepeats(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l := New(3)
	l.now = func() time.Time { return now }
	changed := l.Changed()
	for i := range 5 {
		l.Add(Node, fmt.Sprintf("n%d", i), "happened", false)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the event")
	}
	l.Add(Node, "n3", "happened", false)
	got := l.Recent(10)
	if len(got) != 3 || got[0].Subject != "n3" || got[0].Times != 2 || got[0].Seq != 6 || got[1].Subject != "n4" || got[2].Subject != "n2" {
		t.Fatalf("%+v", got)
	}
	now = now.Add(again)
	l.Add(Node, "n3", "happened", false)
	if got := l.Recent(1); len(got) != 1 || got[0].Times != 1 {
		t.Errorf("much later it is news again: %+v", got)
	}
	l.Add(Node, "n9", strings.Repeat("x", 10_000), true)
	if got := l.Recent(1); len(got[0].Text) != maxText {
		t.Errorf("a text of %d bytes was kept", len(got[0].Text))
	}
}

// TestRepeatAfterAnotherEventOfTheSameIsNews: full, room again, full is three events and no count.
func TestRepeatAfterAnotherEventOfTheSameIsNews(t *testing.T) {
	l := New(10)
	for _, text := range []string{"full", "has room", "full"} {
		l.Add(Node, "n1", text, false)
	}
	if got := l.Recent(10); len(got) != 3 {
		t.Fatalf("%+v", got)
	}
}

// gossip is a view that the test sets.
type gossip struct {
	mu      sync.Mutex
	members []cluster.Member
	nodes   []cluster.Node
	changed chan struct{}
}

func (g *gossip) Members() []cluster.Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.members
}

func (g *gossip) Nodes() []cluster.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes
}

func (g *gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func (g *gossip) set(members []cluster.Member, nodes []cluster.Node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members, g.nodes = members, nodes
	close(g.changed)
	g.changed = make(chan struct{})
}

func TestWatchTellsWhatBecomesOfMembersAndNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		meta := cluster.Meta{Role: cluster.RoleNode, Name: "n1", Version: "1"}
		members := func(suspect bool) []cluster.Member {
			return []cluster.Member{{Meta: meta, Address: "10.0.0.1:7946", Suspect: suspect}}
		}
		nodes := func(c cluster.Capacity) []cluster.Node { return []cluster.Node{{Meta: meta, Capacity: c}} }
		g, l := &gossip{changed: make(chan struct{})}, New(100)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); Watch(ctx, l, g) }()
		for _, step := range []struct {
			members []cluster.Member
			nodes   []cluster.Node
			says    string
		}{
			{members(false), nodes(cluster.Capacity{}), "joined from 10.0.0.1:7946, version 1"},
			{members(false), nodes(cluster.Capacity{Full: "8 of 8"}), "has no room: 8 of 8"},
			{members(false), nodes(cluster.Capacity{}), "has room again"},
			{members(false), nodes(cluster.Capacity{Draining: true, Full: "a new kernel"}), "takes no sessions: a new kernel"},
			{members(false), nodes(cluster.Capacity{}), "takes sessions again"},
			{members(true), nodes(cluster.Capacity{}), "misses heartbeats"},
			{members(true), nil, "out of the view"},
			{nil, nil, "taken for dead"},
			{members(false), nil, "joined"},
			{members(false), nodes(cluster.Capacity{}), "back in the view"},
		} {
			before := l.Recent(100)
			g.set(step.members, step.nodes)
			time.Sleep(lookEvery + lookPause)
			synctest.Wait()
			after := l.Recent(100)
			if len(after) != len(before)+1 || !strings.Contains(after[0].Text, step.says) {
				t.Fatalf("want one event that says %q; before %+v, after %+v", step.says, before, after)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := l.Recent(100); len(got) != 10 {
			t.Fatalf("events without a cause: %+v", got[:len(got)-10])
		}
		cancel()
		<-done
	})
}

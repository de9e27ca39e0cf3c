package events

import (
	"context"
	"fmt"
	"time"

	"easel/pkg/cluster"
)

// View is what the gossip knows of the cluster.
type View interface {
	Members() []cluster.Member
	Nodes() []cluster.Node
	Changed() <-chan struct{}
}

// Bounds of watching.
const (
	lookEvery = time.Second            // silence changes nothing but the time
	lookPause = 200 * time.Millisecond // changes come in bursts
)

// Watch notes what happens to the cluster's members until ctx ends.
func Watch(ctx context.Context, log *Log, view View) {
	w := watcher{log: log, members: map[string]bool{}, nodes: map[string]nodeState{}}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		changed := view.Changed()
		w.look(view.Members(), view.Nodes())
		select {
		case <-changed:
		case <-look.C:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return
		}
	}
}

// watcher remembers what was seen last.
type watcher struct {
	log     *Log
	members map[string]bool // by role and name: whether it was suspect
	nodes   map[string]nodeState
}

type nodeState struct {
	silent   bool // out of the view
	draining bool
	full     string
}

func (w *watcher) look(members []cluster.Member, nodes []cluster.Node) {
	w.lookAtMembers(members)
	w.lookAtNodes(nodes)
}

func (w *watcher) lookAtMembers(members []cluster.Member) {
	here := map[string]bool{}
	for _, m := range members {
		name := m.Meta.Role + " " + m.Meta.Name
		here[name] = true
		was, known := w.members[name]
		switch {
		case !known:
			w.log.Add(Member, name, fmt.Sprintf("joined from %s, version %s", m.Address, m.Meta.Version), false)
		case m.Suspect && !was:
			w.log.Add(Member, name, "misses heartbeats", true)
		case !m.Suspect && was:
			w.log.Add(Member, name, "is heard again", false)
		}
		w.members[name] = m.Suspect
	}
	for name := range w.members {
		if !here[name] {
			w.log.Add(Member, name, "left, or is taken for dead", true)
			delete(w.members, name)
		}
	}
}

func (w *watcher) lookAtNodes(nodes []cluster.Node) {
	here := map[string]bool{}
	for _, n := range nodes {
		name := n.Meta.Name
		here[name] = true
		old, known := w.nodes[name]
		now := nodeState{draining: n.Capacity.Draining, full: n.Capacity.Full}
		w.nodes[name] = now
		switch {
		case known && old.silent:
			w.log.Add(Node, name, "is back in the view", false)
		case now.draining && !old.draining:
			w.log.Add(Node, name, "takes no sessions: "+orText(now.full, "it is drained, cordoned, cut off or just starting"), true)
		case !now.draining && old.draining:
			w.log.Add(Node, name, "takes sessions again", false)
		case !now.draining && now.full != "" && old.full == "":
			w.log.Add(Node, name, "has no room: "+now.full, false)
		case !now.draining && now.full == "" && old.full != "":
			w.log.Add(Node, name, "has room again", false)
		}
	}
	for name, old := range w.nodes {
		if !here[name] && !old.silent {
			w.log.Add(Node, name, "is out of the view: it has gone silent, and no session is placed there", true)
			w.nodes[name] = nodeState{silent: true}
		}
	}
	w.forget()
}

// maxSilent bounds how many nodes that are gone are remembered.
const maxSilent = 10000

func (w *watcher) forget() {
	for name, n := range w.nodes {
		if len(w.nodes) <= maxSilent {
			return
		}
		if n.silent {
			delete(w.nodes, name)
		}
	}
}

func orText(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

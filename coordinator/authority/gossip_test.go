package authority

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"easel/coordinator/state"
	"easel/pkg/cluster"
	"easel/pkg/identity"
)

// gossiper is a member with its gossip.
type gossiper struct {
	member *identity.Member
	*cluster.Cluster
	stop func()
}

// newGossiper starts the gossip of m, which follows m's trust until stop is called or the test ends.
func newGossiper(t *testing.T, m *identity.Member, join ...string) *gossiper {
	t.Helper()
	g, err := cluster.Start(t.Context(), cluster.Config{
		Name: m.Name(), Role: m.Role(), Bind: "127.0.0.1:0", Join: join, Keys: m.Trust().GetGossipKeys(), Heartbeat: 200 * time.Millisecond, Meta: cluster.Meta{URL: "http://127.0.0.1:1"},
		Admit: func(meta cluster.Meta) error { return m.Admits(meta.Role, meta.Name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.Role() == identity.RoleNode {
		if err := g.Publish(cluster.Capacity{Total: 1}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.FollowTrust(ctx, m) })
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); wg.Wait(); _ = g.Close() }) }
	t.Cleanup(stop)
	return &gossiper{m, g, stop}
}

// gossipingCluster is a coordinator that leads, and two nodes.
func gossipingCluster(t *testing.T) (*host, *gossiper, []*gossiper) {
	t.Helper()
	h := newHost(t)
	front := newGossiper(t, h.self)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { h.lead(ctx, front.Cluster, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	var nodes []*gossiper
	for _, name := range []string{"n1", "n2"} {
		m, err := identity.Join(t.Context(), t.TempDir(), "node", name, h.token(t, "node"))
		if err != nil {
			t.Fatal(err)
		}
		follow(t, m)
		nodes = append(nodes, newGossiper(t, m, front.Addr()))
	}
	for _, g := range append(nodes, front) {
		eventually(t, "all see both nodes", func() bool { return len(g.Nodes()) == 2 })
	}
	return h, front, nodes
}

func (a *Authority) gossip(t *testing.T) (g gossipRecord) {
	t.Helper()
	err := a.store.View(func(tx state.Tx) (err error) {
		g, _, err = get[gossipRecord](tx, bucketCluster, keyGossip)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A rotation passes all its phases without a moment in which a node is out of the view.
func TestGossipKeyRotatesWithoutAGap(t *testing.T) {
	h, front, nodes := gossipingCluster(t)
	old := h.gossip(t).Keys[0]
	began := time.Now()
	if err := h.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key is another", func() bool {
		for _, g := range append(nodes, front) {
			if len(g.Nodes()) != 2 {
				t.Fatalf("%s sees %d nodes", g.member.Name(), len(g.Nodes()))
			}
		}
		g := h.gossip(t)
		return g.Phase == phaseSteady && !bytes.Equal(g.Keys[0], old)
	})
	if took := time.Since(began); took > phaseBound {
		t.Errorf("took %v: it waited for the bound instead of its members", took)
	}
	for _, g := range append(nodes, front) {
		eventually(t, "every member has the new key alone", func() bool {
			keys := g.member.Trust().GetGossipKeys()
			return len(keys) == 1 && bytes.Equal(keys[0], h.gossip(t).Keys[0])
		})
	}
	// The next heartbeats arrive by the new key: the nodes outlive what the view would keep of silent ones.
	seen := front.Nodes()[0].Seen
	eventually(t, "a heartbeat after the rotation", func() bool { all := front.Nodes(); return len(all) == 2 && all[0].Seen.After(seen) })
}

// A removed node is out of the view at once, whatever it still sends, and after the rotation it cannot even read along.
func TestRemovedNodeIsOutOfTheGossip(t *testing.T) {
	h, front, nodes := gossipingCluster(t)
	old := h.gossip(t).Keys[0]
	if err := h.Remove(t.Context(), "node", "n1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the view is without it", func() bool { all := front.Nodes(); return len(all) == 1 && all[0].Meta.Name == "n2" })
	eventually(t, "the other node's view is without it", func() bool { return len(nodes[1].Nodes()) == 1 })
	eventually(t, "the key is another", func() bool { g := h.gossip(t); return g.Phase == phaseSteady && !bytes.Equal(g.Keys[0], old) })
	if err := nodes[0].Publish(cluster.Capacity{Total: 7}); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(nodes[0].member.Trust().GetGossipKeys()[0], h.gossip(t).Keys[0]) {
		t.Error("the removed node was told the new key")
	}
	nodes[0].stop()
	// It joins again, and is welcome.
	m, err := identity.Join(t.Context(), t.TempDir(), "node", "n1", h.token(t, "node"))
	if err != nil {
		t.Fatal(err)
	}
	follow(t, m)
	newGossiper(t, m, front.Addr())
	eventually(t, "it is back", func() bool { return len(front.Nodes()) == 2 })
}

// A member that is off holds a rotation up for a while, not for ever, and a removal in its midst has another follow it.
func TestRotationPassesAnAbsentMember(t *testing.T) {
	a, clock := newAuthority(t, somewhere)
	for _, name := range []string{"n1", "n2"} {
		if _, err := a.Join(t.Context(), a.secret(t, "node", ""), "node", name, request(t)); err != nil {
			t.Fatal(err)
		}
	}
	view := func(version uint64, names ...string) (all []cluster.Member) {
		all = append(all, cluster.Member{Meta: cluster.Meta{Role: "coordinator", Name: "c1", Trust: version}})
		for _, name := range names {
			all = append(all, cluster.Member{Meta: cluster.Meta{Role: "node", Name: name, Trust: version}})
		}
		return all
	}
	step := func(want bool, view []cluster.Member) gossipRecord {
		t.Helper()
		if moved, err := a.advance(t.Context(), func() []cluster.Member { return view }); err != nil || moved != want {
			t.Fatalf("moved %v, want %v: %v", moved, want, err)
		}
		return a.gossip(t)
	}
	old := a.gossip(t).Keys[0]
	step(false, view(0, "n1", "n2"))
	if err := a.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	g := a.gossip(t)
	step(false, view(g.Version, "n1"))
	step(false, view(g.Version-1, "n1", "n2"))
	clock.set(phaseBound + time.Second)
	if g = step(true, view(g.Version, "n1")); g.Phase != phaseUse || !bytes.Equal(g.Keys[1], old) {
		t.Fatalf("after the bound: phase %q", g.Phase)
	}
	step(false, view(g.Version-1, "n1", "n2"))
	if err := a.Remove(t.Context(), "node", "n2"); err != nil { // it knows both keys
		t.Fatal(err)
	}
	middle := g.Keys[0]
	if g = step(true, view(g.Version, "n1")); g.Phase != phaseAdd || !bytes.Equal(g.Keys[0], middle) || bytes.Equal(g.Keys[1], old) {
		t.Fatalf("the removal has no rotation follow: phase %q", g.Phase)
	}
	g = step(true, view(g.Version, "n1"))
	if g = step(true, view(g.Version, "n1")); g.Phase != phaseSteady || len(g.Keys) != 1 || bytes.Equal(g.Keys[0], middle) || g.Again {
		t.Fatalf("at last: phase %q with %d keys", g.Phase, len(g.Keys))
	}
	step(false, view(g.Version, "n1"))
	clock.set(rotateEvery + time.Hour)
	if g = step(true, view(g.Version, "n1")); g.Phase != phaseAdd {
		t.Errorf("an old key stays")
	}
}

func TestWrongKeyIsNotHeard(t *testing.T) {
	h, front, _ := gossipingCluster(t)
	stranger, err := cluster.Start(t.Context(), cluster.Config{
		Name: "n9", Role: cluster.RoleNode, Bind: "127.0.0.1:0", Join: []string{front.Addr()}, Meta: cluster.Meta{URL: "http://127.0.0.1:1"}, Keys: [][]byte{newGossipKey()}, Heartbeat: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Publish(cluster.Capacity{Total: 1}); err != nil {
		t.Fatal(err)
	}
	// A friend that comes later is seen: so the stranger's words had arrived too.
	m, err := identity.Join(t.Context(), t.TempDir(), "node", "n3", h.token(t, "node"))
	if err != nil {
		t.Fatal(err)
	}
	newGossiper(t, m, front.Addr())
	eventually(t, "the friend is seen", func() bool { return len(front.Nodes()) == 3 })
	for _, m := range front.Members() {
		if m.Meta.Name == "n9" {
			t.Error("a stranger with another key is a member")
		}
	}
	if _, err := net.DialTimeout("tcp", stranger.Addr(), time.Second); err != nil {
		t.Errorf("the stranger was not even there: %v", err)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"easel/coordinator/api"
	"easel/coordinator/placement"
	easelv1 "easel/pkg/api/easel/v1"
)

// awaitGone returns how long it takes until no coordinator would place a session on the node.
func awaitGone(t *testing.T, c *Cluster, n *Node, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for _, k := range c.Coordinators {
		must(t, eventually(t.Context(), limit, n.name+" is out of "+k.name+"'s placement", func() error {
			var told api.Route
			if err := c.call(t.Context(), k, operator, http.MethodGet, "/api/v1/route?explain=1", nil, &told); err != nil {
				return err
			}
			for _, one := range told.Nodes {
				if one.Node == n.name && one.Rank > 0 && !slices.ContainsFunc(one.Filters, func(f placement.FilterResult) bool { return !f.Passes }) {
					return fmt.Errorf("it would place there: %+v", one)
				}
			}
			return nil
		}))
	}
	return time.Since(began)
}

// awaitLost returns how long it takes until every coordinator says that the session is lost.
func awaitLost(t *testing.T, c *Cluster, user, id string, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for _, k := range c.Coordinators {
		must(t, eventually(t.Context(), limit, k.name+" says that session "+id+" is lost", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a node that swallows packets holds a question up
			defer cancel()
			told, err := c.Get(ctx, k, user, id)
			if err == nil && told.State != "lost" {
				err = fmt.Errorf("it is %s", told.State)
			}
			return err
		}))
	}
	return time.Since(began)
}

// A node whose power fails is out of placement in 5 s, its sessions are lost in 10 s, and their artists get new ones elsewhere. When it
// is back, it has cleared up and takes sessions.
func TestNodeLost(t *testing.T) {
	c := get(t)
	n, s, _ := session(t, c, "a")
	must(t, c.PullPlug(t.Context(), n))
	began := time.Now()
	t.Logf("out of placement after %v", awaitGone(t, c, n, 5*time.Second).Round(10*time.Millisecond))
	awaitLost(t, c, user(t), s.GetId(), 11*time.Second-time.Since(began)) // 10 s, and one for a machine that is three nodes and three coordinators
	t.Logf("its session lost after %v", time.Since(began).Round(10*time.Millisecond))
	other, fresh, err := c.Session(t.Context(), c.Coordinators[1], user(t), "a")
	must(t, err)
	if other == n || fresh.GetId() == s.GetId() {
		t.Fatalf("the same key gives %s on %s again", fresh.GetId(), other.name)
	}
	must(t, n.Containerd.Start(t.Context()))
	must(t, n.Noded.Start(t.Context()))
	must(t, c.AwaitView(t.Context(), members))
	old, err := n.Await(t.Context(), s.GetId(), 30*time.Second, func(s *easelv1.Session) bool { return !living(s) })
	must(t, err)
	if old.GetReason() == "" {
		t.Error("the session that the power cut ended has no reason")
	}
	untouched(t, other, fresh)
	must(t, takes(t, n))
}

// A node that is cut off from all others keeps its sessions and serves their viewers, also those who come again, but takes no new ones.
// When the network is whole again, whom the cut sent elsewhere has one session, and who stayed has the same one as before.
func TestNodeCutOff(t *testing.T) {
	c := get(t)
	n, stays, v := session(t, c, "stays")
	leaves := onNode(t, c, n, "leaves")
	must(t, c.Partition(t.Context(), []*place{n.at}))
	began := time.Now()
	awaitGone(t, c, n, 5*time.Second)
	refusedBecause(t, n, "coordinator")
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, v.Connect(t.Context()))
	awaitLost(t, c, user(t), leaves.GetId(), 12*time.Second-time.Since(began))
	other, fresh, err := c.Session(t.Context(), c.Coordinators[2], user(t), leaves.GetKey())
	must(t, err)
	if other == n {
		t.Fatalf("%s made a session on %s, which it cannot reach", c.Coordinators[2].name, n.name)
	}
	must(t, v.Streams(t.Context(), 5*time.Second))
	untouched(t, n, stays)

	must(t, n.at.filter(t.Context(), rules{}))
	must(t, c.AwaitView(t.Context(), members))
	must(t, c.CheckTwins(t.Context()))
	untouched(t, n, stays)
	untouched(t, other, fresh)
	again, err := c.Create(t.Context(), c.Coordinators[1], user(t), "stays")
	must(t, err)
	if again.ID != stays.GetId() {
		t.Errorf("the key of the session that stayed gives %s, not %s", again.ID, stays.GetId())
	}
}

// onNode makes a session on a certain node, by way of the coordinators: the others are cordoned for that moment.
func onNode(t *testing.T, c *Cluster, want *Node, key string) *easelv1.Session {
	t.Helper()
	for _, n := range c.Nodes {
		if n != want {
			n.order(t, "cordon")
			defer n.order(t, "uncordon")
		}
	}
	var made *easelv1.Session
	must(t, eventually(t.Context(), 15*time.Second, "a session comes to lie on "+want.name, func() error {
		n, s, err := c.Session(t.Context(), c.Coordinators[0], user(t), key)
		if err == nil && n != want {
			err = errors.Join(fmt.Errorf("it lies on %s", n.name), c.End(t.Context(), c.Coordinators[0], user(t), s.GetId()))
		}
		made = s
		return err
	}))
	return made
}

// order gives the node an operator's command.
func (n *Node) order(t *testing.T, args ...string) {
	t.Helper()
	_, err := run(t.Context(), n.at, n.Noded.Path, append(args, "--config", n.config())...)
	must(t, err)
}

// A node that coordinators hear of, by way of other nodes, but cannot reach costs an artist no more than a moment.
func TestNodeHeardOfButNotReached(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	must(t, n.at.filter(t.Context(), rules{cut: c.coordinatorAddresses()}))
	for i := range 4 {
		began := time.Now()
		other, _, err := c.Session(t.Context(), c.Coordinators[i%members], user(t), fmt.Sprintf("b%d", i))
		must(t, err)
		if other == n {
			t.Errorf("a session was made on %s, which no coordinator reaches", n.name)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the session was usable after %s", took)
		}
	}
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, n.at.filter(t.Context(), rules{}))
	must(t, c.AwaitView(t.Context(), members))
	must(t, c.CheckTwins(t.Context()))
	untouched(t, n, s)
}

// Lost packets lose no session and make none twice.
func TestPacketsLost(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	for _, p := range c.places() {
		if p != c.artist {
			must(t, c.Lose(t.Context(), p, 5))
		}
	}
	for i := range 4 {
		must(t, c.through(t.Context(), mendLimit, func(ctx context.Context, k *Coordinator) error {
			_, err := c.Create(ctx, k, user(t), fmt.Sprintf("b%d", i))
			return err
		}))
	}
	must(t, v.Streams(t.Context(), 10*time.Second))
	untouched(t, n, s)
}

// A cordoned node keeps its sessions and takes none; a drained one tells its artists and ends them at the deadline.
func TestCordonAndDrain(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	n.order(t, "cordon")
	refusedBecause(t, n, "cordon")
	for i, k := range c.Coordinators {
		other, _, err := c.Session(t.Context(), k, user(t), fmt.Sprintf("b%d", i))
		must(t, err)
		if other == n {
			t.Errorf("%s placed a session on a cordoned node", k.name)
		}
	}
	untouched(t, n, s)
	n.order(t, "uncordon")
	n.order(t, "drain", "--deadline", "4s")
	must(t, n.Noded.Kill()) // the order outlives the daemon
	must(t, n.Noded.Start(t.Context()))
	refusedBecause(t, n, "drain")
	must(t, v.Streams(t.Context(), 3*time.Second))
	ended, err := n.Await(t.Context(), s.GetId(), 30*time.Second, func(s *easelv1.Session) bool { return s.GetState() == easelv1.State_STATE_STOPPED })
	must(t, err)
	t.Logf("it ended: %s", ended.GetReason())
	n.order(t, "uncordon")
	must(t, takes(t, n))
}

package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	easelv1 "easel/pkg/api/easel/v1"
)

// shared is the cluster of all tests, started by the first that asks.
var shared struct {
	once    sync.Once
	err     error
	cluster *Cluster
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.Stop(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: at the end:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// get returns the shared cluster, whole. At the test's end all faults are taken back, the invariants hold and no session is left.
func get(t *testing.T) *Cluster {
	t.Helper()
	shared.once.Do(func() {
		shared.cluster, shared.err = Start(context.Background(), Options{LogLevel: os.Getenv("CLUSTER_LOG")})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	c := shared.cluster
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := c.Heal(ctx); err != nil {
			t.Errorf("heal the cluster: %v", err)
		}
		if err := c.Check(ctx); err != nil {
			t.Errorf("an invariant is broken: %v", err)
		}
		if err := c.EndAll(ctx); err != nil {
			t.Errorf("end all sessions: %v", err)
		}
		if t.Failed() {
			for _, p := range c.daemons() {
				t.Logf("the log of %s ends:\n%s", p.LogPath, p.LogTail(25))
			}
		}
	})
	return c
}

// must fails the test when err is one.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// user is an account that no other test uses.
func user(t *testing.T) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return strings.ToLower(name[len("Test"):min(len(name), 30)])
}

// session makes a session that is ready, and looks at it.
func session(t *testing.T, c *Cluster, key string) (*Node, *easelv1.Session, *Viewer) {
	t.Helper()
	k := c.Coordinators[0]
	n, s, err := c.Session(t.Context(), k, user(t), key)
	must(t, err)
	made, err := c.Get(t.Context(), k, user(t), s.GetId())
	must(t, err)
	v, err := c.Look(t.Context(), made.URL)
	must(t, err)
	t.Cleanup(func() { must(t, v.Close()) })
	return n, s, v
}

// untouched fails the test unless the session lives with the processes that it had.
func untouched(t *testing.T, n *Node, before *easelv1.Session) {
	t.Helper()
	after, err := n.Await(t.Context(), before.GetId(), 30*time.Second, settled)
	must(t, err)
	if a, b := after.GetPids(), before.GetPids(); a.GetInit() != b.GetInit() || a.GetStreamer() != b.GetStreamer() || a.GetGimp() != b.GetGimp() {
		t.Errorf("the session %s had the processes %v, has %v", before.GetId(), b, a)
	}
}

// A session of the small image is a real one on every node: its picture comes to a viewer, and it leaves nothing.
func TestSessionOnEveryNode(t *testing.T) {
	c := get(t)
	for _, n := range c.Nodes {
		s := onNode(t, c, n, n.name)
		made, err := c.Get(t.Context(), c.Coordinators[0], user(t), s.GetId())
		must(t, err)
		v, err := c.Look(t.Context(), made.URL)
		must(t, err)
		must(t, v.Streams(t.Context(), 10*time.Second))
		untouched(t, n, s)
		must(t, v.Close())
	}
}

// kill -9 of a node's daemons touches no session and leaks nothing.
func TestDaemonsKilled(t *testing.T) {
	c := get(t)
	n, s, v := session(t, c, "a")
	must(t, n.Noded.Kill())
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, n.Containerd.Kill())
	must(t, v.Streams(t.Context(), 5*time.Second))
	must(t, n.Containerd.Start(t.Context()))
	must(t, n.Noded.Start(t.Context()))
	untouched(t, n, s)
	must(t, v.Streams(t.Context(), 5*time.Second))
}

package placement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/pkg/cluster"
	"easel/pkg/identity"
)

func node(name string, total, used int, change ...func(*cluster.Capacity)) cluster.Node {
	n := cluster.Node{Meta: cluster.Meta{Name: name}, Capacity: cluster.Capacity{Name: name, Total: total, Used: used, Images: []string{"gimp"}}}
	for _, f := range change {
		f(&n.Capacity)
	}
	return n
}

func full(c *cluster.Capacity)     { c.Full = "no memory" }
func draining(c *cluster.Capacity) { c.Draining = true }
func otherImage(c *cluster.Capacity) {
	c.Images = []string{"krita"}
}

func TestRank(t *testing.T) {
	tests := []struct {
		name    string
		req     Request
		nodes   []cluster.Node
		want    string
		reasons string
	}{
		{"none", Request{}, nil, "", ""},
		{"emptiest first", Request{}, []cluster.Node{node("a", 10, 8), node("b", 10, 1), node("c", 10, 4)}, "b c a", ""},
		{"share, not number", Request{}, []cluster.Node{node("big", 100, 80), node("small", 4, 1)}, "small big", ""},
		{"full ones last", Request{}, []cluster.Node{node("a", 10, 0, full), node("b", 4, 4), node("c", 10, 9)}, "c a b", ""},
		{"draining after full", Request{}, []cluster.Node{node("a", 10, 0, draining), node("b", 10, 0, full), node("c", 10, 9)}, "c b a", ""},
		{"image", Request{Image: "gimp"}, []cluster.Node{node("a", 10, 0, otherImage), node("b", 10, 9)}, "b", "a: it does not have the image gimp"},
		{"any image", Request{}, []cluster.Node{node("a", 10, 0, otherImage)}, "a", ""},
		{"image unknown", Request{Image: "gimp"}, []cluster.Node{node("a", 1, 0, func(c *cluster.Capacity) { c.Images = nil })}, "a", ""},
		{"no capacity", Request{}, []cluster.Node{node("a", 0, 0)}, "a", ""},
	}
	p := New(nil, slog.New(slog.DiscardHandler))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			candidates, reasons := p.rank(tt.req, tt.nodes)
			var names []string
			for _, n := range candidates {
				names = append(names, n.Meta.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("order %q, want %q", got, tt.want)
			}
			if got := strings.Join(reasons, "; "); !strings.HasPrefix(got, tt.reasons) || (got == "") != (tt.reasons == "") {
				t.Errorf("reasons %q, want %q", got, tt.reasons)
			}
		})
	}
}

func TestAffinityAgreesAndSpreads(t *testing.T) {
	p := New(nil, slog.New(slog.DiscardHandler))
	nodes := []cluster.Node{node("n1", 8, 0), node("n2", 8, 0), node("n3", 8, 0)}
	turned := []cluster.Node{nodes[2], nodes[0], nodes[1]}
	first := map[string]int{}
	for i := range 300 {
		req := Request{User: fmt.Sprint("user", i), Key: "default"}
		a, _ := p.rank(req, nodes)
		b, _ := p.rank(req, turned)
		if a[0].Meta.Name != b[0].Meta.Name {
			t.Fatalf("%s: two coordinators choose %s and %s", req.User, a[0].Meta.Name, b[0].Meta.Name)
		}
		first[a[0].Meta.Name]++
	}
	for name, n := range first {
		if n < 60 || n > 140 {
			t.Errorf("%s got %d of 300 users", name, n)
		}
	}
}

func fleet(t *testing.T, names ...string) (*Placer, nodetest.Members) {
	t.Helper()
	signer, err := identity.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	var members nodetest.Members
	for _, name := range names {
		members = append(members, nodetest.Start(t, name, signer.Public()))
	}
	d := directory.New("front", members, signer, slog.New(slog.DiscardHandler))
	t.Cleanup(d.Close)
	return New(d, slog.New(slog.DiscardHandler)), members
}

func TestSimultaneousRequestsGetOneSession(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	for _, n := range members {
		n.Slow(30 * time.Millisecond)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, made := map[string]bool{}, 0
	for range 8 {
		wg.Go(func() {
			s, created, err := p.Place(t.Context(), Request{User: "ada", Key: "default"})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[s.GetId()] = true
			if created {
				made++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || made != 1 {
		t.Errorf("eight requests made %d sessions and got %d", made, len(ids))
	}
	if len(p.turns) != 0 {
		t.Errorf("%d turns left behind", len(p.turns))
	}
}

func TestExistingSessionIsFoundWhereverItIs(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	first, _, err := p.Place(t.Context(), Request{User: "ada", Key: "default"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range members { // now the other node looks better
		if n.Name == first.Node.Name {
			n.Tell(func(c *cluster.Capacity) { c.Used = c.Total - 1 })
		}
	}
	again, created, err := p.Place(t.Context(), Request{User: "ada", Key: "default"})
	if err != nil || created || again.GetId() != first.GetId() {
		t.Errorf("got %s, created %v, %v; want %s", again.GetId(), created, err, first.GetId())
	}
	other, created, err := p.Place(t.Context(), Request{User: "bob", Key: "default"})
	if err != nil || !created || other.Node.Name == first.Node.Name {
		t.Errorf("bob's session: created %v on %s, %v", created, other.Node.Name, err)
	}
}

func TestNextNodeIsAskedAfterARefusal(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	members[0].Tell(func(c *cluster.Capacity) { c.Total = 100 })
	members[0].Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("stale view: full")))
	members[1].Tell(func(c *cluster.Capacity) { c.Used = 4 })
	s, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1"})
	if err != nil || s.Node.Name != "node-b" {
		t.Fatalf("placed on %q, %v", s.Node.Name, err)
	}
	if members[0].Calls("Reserve") != 1 {
		t.Error("the better node was not asked first")
	}
}

func TestNoRoomSaysWhyForEachNode(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	members[0].Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("8 of 8 sessions")))
	members[1].Tell(otherImage)
	_, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1", Image: "easel/gimp"})
	var none *NoRoom
	if !errors.As(err, &none) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"node-a: 8 of 8 sessions", "node-b: it does not have the image easel/gimp"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	empty, _ := fleet(t)
	if _, _, err := empty.Place(t.Context(), Request{User: "ada", Key: "1"}); !errors.As(err, &none) || !strings.Contains(err.Error(), "noded") {
		t.Errorf("without nodes: %v", err)
	}
}

func TestDrainingNodeIsAskedWhenThereIsNoOther(t *testing.T) {
	p, members := fleet(t, "node-a")
	members[0].Tell(draining) // it has come back since, and its next record is on its way
	if s, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1"}); err != nil || s.Node.Name != "node-a" {
		t.Errorf("placed on %q, %v", s.Node.Name, err)
	}
	members[0].Refuse(connect.NewError(connect.CodeFailedPrecondition, errors.New("it is draining")))
	if _, _, err := p.Place(t.Context(), Request{User: "ada", Key: "2"}); err == nil || !strings.Contains(err.Error(), "node-a: it is draining") {
		t.Errorf("got %v", err)
	}
}

func TestFaultyRequestIsAskedOnce(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	for _, n := range members {
		n.Refuse(connect.NewError(connect.CodeInvalidArgument, errors.New("no such class")))
	}
	if _, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1", Class: "h900"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no such class") {
		t.Errorf("got %v", err)
	}
	if got := members[0].Calls("Reserve") + members[1].Calls("Reserve"); got != 1 {
		t.Errorf("asked %d nodes", got)
	}
}

func TestWaitingForATurnEndsWithTheRequest(t *testing.T) {
	p, members := fleet(t, "node-a")
	members[0].Slow(300 * time.Millisecond)
	var wg sync.WaitGroup
	wg.Go(func() { _, _, _ = p.Place(t.Context(), Request{User: "ada", Key: "1"}) })
	for members[0].Calls("Reserve") == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := p.Place(ctx, Request{User: "ada", Key: "1"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	wg.Wait()
	if len(p.turns) != 0 {
		t.Errorf("%d turns left behind", len(p.turns))
	}
}

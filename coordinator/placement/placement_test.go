package placement

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/coordinator/state"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

var signer = func() *identity.Signer {
	s, err := identity.NewSigner(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		panic(err)
	}
	return s
}()

// placer is a coordinator's, over nodes that it sees as view tells.
func placer(t testing.TB, peers directory.Peers, view Members, shared *state.Store, every time.Duration) *Placer {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	d := directory.New(directory.Options{Members: view, Peers: peers, Signer: signer, Index: directory.NewIndex(shared), Log: log, LookEvery: every})
	t.Cleanup(d.Close)
	router := NewRouter(RouterOptions{Config: Defaults(), Members: view, Every: every})
	return New(Options{Router: router, Fleet: d, Index: d.Index, Log: log, Registry: prometheus.NewRegistry()})
}

func store(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(filepath.Join(t.TempDir(), "state.db"), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func fleet(t *testing.T, names ...string) (*Placer, nodetest.Members) {
	t.Helper()
	var members nodetest.Members
	c := identitytest.New(t)
	for _, name := range names {
		members = append(members, nodetest.Start(t, name, c))
	}
	return placer(t, members.Coordinator(), members, store(t), -1), members
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
	if len(p.turns.of) != 0 {
		t.Errorf("%d turns left behind", len(p.turns.of))
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
	members[1].Tell(func(c *cluster.Capacity) { c.Images = []string{"krita"} })
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
	members[0].Tell(func(c *cluster.Capacity) { c.Draining = true }) // it has come back since, and its next record is on its way
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
		n.Refuse(connect.NewError(connect.CodeInvalidArgument, errors.New("no such user")))
	}
	if _, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1"}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "no such user") {
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
	if len(p.turns.of) != 0 {
		t.Errorf("%d turns left behind", len(p.turns.of))
	}
}

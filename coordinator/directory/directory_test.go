package directory_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	"easel/coordinator/state"
	easelv1 "easel/pkg/api/easel/v1"
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

// view is a membership that tests change.
type view struct {
	mu    sync.Mutex
	nodes []cluster.Node
	peer  *identity.Member
}

func (v *view) Nodes() []cluster.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.nodes)
}

// Changed is closed: the view may change at any time.
func (v *view) Changed() <-chan struct{} { return nodetest.Members(nil).Changed() }

func (v *view) set(nodes ...cluster.Node) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.nodes = nodes
}

// Coordinator is a coordinator of the nodes' cluster.
func (v *view) Coordinator() *identity.Member { return v.peer }

func two(t *testing.T) (*directory.Directory, *nodetest.Node, *nodetest.Node, *view) {
	t.Helper()
	c := identitytest.New(t)
	a, b := nodetest.Start(t, "node-a", c), nodetest.Start(t, "node-b", c)
	v := &view{peer: c.Member(identity.RoleCoordinator, "front")}
	v.set(nodetest.Members{a, b}.Nodes()...)
	return front(t, v, store(t)), a, b, v
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

func front(t *testing.T, v directory.Members, s *state.Store, change ...func(*directory.Options)) *directory.Directory {
	t.Helper()
	o := directory.Options{Members: v, Peers: v.(interface{ Coordinator() *identity.Member }).Coordinator(), Signer: signer, Index: directory.NewIndex(s), Log: slog.New(slog.DiscardHandler), LookEvery: -1}
	for _, f := range change {
		f(&o)
	}
	d := directory.New(o)
	t.Cleanup(d.Close)
	return d
}

// reserve makes a session as a Placer does.
func reserve(t *testing.T, d *directory.Directory, n *nodetest.Node, user, key string) directory.Session {
	t.Helper()
	before, _, err := d.Index.Get(user, key)
	if err != nil {
		t.Fatal(err)
	}
	after := directory.Placement{Intent: rand.Text(), Node: n.Name, At: time.Now().UnixMilli()}
	s, created, err := d.Reserve(t.Context(), nodetest.Members{n}.Nodes()[0].Meta, &easelv1.ReserveRequest{User: user, Key: key, Intent: after.Intent})
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	after.Session = s.GetId()
	if err := d.Index.Swap(t.Context(), user, key, before, after); err != nil {
		t.Fatal(err)
	}
	return s
}

func list(t *testing.T, d *directory.Directory, user string, ended bool) directory.Listing {
	t.Helper()
	l, err := d.List(t.Context(), user, ended)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListGathersFromEveryNode(t *testing.T) {
	d, a, b, _ := two(t)
	first := reserve(t, d, a, "ada", "1")
	second := reserve(t, d, b, "ada", "2")
	reserve(t, d, b, "bob", "1")
	got := list(t, d, "ada", false)
	if len(got.Sessions) != 2 || got.Sessions[0].GetId() != second.GetId() || got.Sessions[1].GetId() != first.GetId() {
		t.Errorf("got %v, want ada's two, newest first", got.Sessions)
	}
	if got.Sessions[0].Node.Name != "node-b" || len(got.Unreachable) != 0 {
		t.Errorf("got node %q, unreachable %v", got.Sessions[0].Node.Name, got.Unreachable)
	}
	if all := list(t, d, "", false); len(all.Sessions) != 3 {
		t.Errorf("everybody has %d sessions, want 3", len(all.Sessions))
	}
}

func TestListSaysWhichNodesDidNotAnswer(t *testing.T) {
	d, a, b, _ := two(t)
	reserve(t, d, a, "ada", "1")
	reserve(t, d, b, "ada", "2")
	b.Break(100)
	got := list(t, d, "ada", false)
	if len(got.Sessions) != 1 || !slices.Equal(got.Unreachable, []string{"node-b"}) {
		t.Errorf("got %d sessions, unreachable %v", len(got.Sessions), got.Unreachable)
	}
}

func TestAskingIsRepeatedWhileANodeIsAway(t *testing.T) {
	d, a, _, _ := two(t)
	s := reserve(t, d, a, "ada", "1")
	a.Break(2)
	if _, err := d.Find(t.Context(), s.GetId()); err != nil || a.Calls("Get") != 3 {
		t.Errorf("asked %d times, want 3: %v", a.Calls("Get"), err)
	}
}

func TestRefusalIsNotRepeated(t *testing.T) {
	d, a, _, _ := two(t)
	a.Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("4 of 4 sessions")))
	_, _, err := d.Reserve(t.Context(), nodetest.Members{a}.Nodes()[0].Meta, &easelv1.ReserveRequest{User: "ada", Key: "1"})
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "4 of 4") {
		t.Errorf("got %v", err)
	}
	if got := a.Calls("Reserve"); got != 1 {
		t.Errorf("asked %d times, want once", got)
	}
}

func TestFind(t *testing.T) {
	c := identitytest.New(t)
	a, b := nodetest.Start(t, "node-a", c), nodetest.Start(t, "node-b", c)
	shared, v := store(t), nodetest.Members{a, b}
	d := front(t, v, shared)
	s := reserve(t, d, b, "ada", "1")
	for _, d := range []*directory.Directory{d, front(t, v, shared)} {
		got, err := d.Find(t.Context(), s.GetId())
		if err != nil || got.GetUser() != "ada" || got.Node.Name != "node-b" {
			t.Fatalf("got %v on %q, %v", got.Session, got.Node.Name, err)
		}
	}
	for _, bad := range []string{"", "x", "../etc", "s" + strings.Repeat("b", 16), s.GetId() + "/"} {
		if _, err := d.Find(t.Context(), bad); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if a.Calls("Get") != 0 {
		t.Error("a node was asked for another's session")
	}
	b.Break(100)
	if _, err := d.Find(t.Context(), s.GetId()); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("a node that is away made its session %v, want ErrUnreachable", err)
	}
}

// A restarting node says goodbye to the gossip, but its sessions run on and must not seem gone.
func TestNodeThatLeftTheViewIsStillAsked(t *testing.T) {
	d, _, b, v := two(t)
	s := reserve(t, d, b, "ada", "1")
	d.Nodes()
	v.set()
	if got, err := d.Find(t.Context(), s.GetId()); err != nil || got.GetId() != s.GetId() {
		t.Errorf("its session: %v, %v", got.Session, err)
	}
	b.Break(100)
	if got := list(t, d, "ada", false); !slices.Contains(got.Unreachable, "node-b") {
		t.Errorf("unreachable %v, want node-b named", got.Unreachable)
	}
}

func TestStop(t *testing.T) {
	d, a, _, _ := two(t)
	s := reserve(t, d, a, "ada", "1")
	got, err := d.Stop(t.Context(), s, "the artist ended it")
	if err != nil || got.Live() || got.GetReason() != "the artist ended it" {
		t.Errorf("got %v, %v", got.Session, err)
	}
}

func TestStatuses(t *testing.T) {
	d, _, b, _ := two(t)
	b.Break(100)
	got := d.Statuses(t.Context())
	if len(got) != 2 || got[0].Status.GetDegraded()[0] != "no GPU" || got[1].Status != nil || got[1].Err == nil {
		t.Errorf("got %+v", got)
	}
}

// The operator's page asks again and again: it waits for a node that hangs once.
func TestAHungNodeIsWaitedForOnce(t *testing.T) {
	d, _, b, _ := two(t)
	if first := d.Statuses(t.Context()); first[0].Err != nil || first[1].Err != nil {
		t.Fatalf("at first %+v", first)
	}
	resume := b.Hang()
	d.AskWithin = 50 * time.Millisecond
	if got := d.Statuses(t.Context()); got[1].Err == nil {
		t.Fatalf("a node that hangs is said to be well: %+v", got)
	}
	d.AskWithin = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 3 {
		got := d.Statuses(ctx)
		if ctx.Err() != nil || got[1].Err == nil || got[1].Status != nil {
			t.Fatalf("asked again: %+v, %v", got, ctx.Err())
		}
	}
	if got := b.Calls("Status"); got != 3 {
		t.Errorf("it was asked %d times, want 3: who comes later joins in", got)
	}
	resume()
	for got := d.Statuses(ctx); got[1].Err != nil; got = d.Statuses(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("it answers again, and is said to be silent: %+v", got)
		}
	}
}

// A coordinator and a node of two clusters do not find together, whoever of them is asked.
func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	d, a, _, _ := two(t)
	stranger := nodetest.Start(t, "node-a", identitytest.New(t))
	meta := nodetest.Members{stranger}.Nodes()[0].Meta
	if _, _, err := d.Reserve(t.Context(), meta, &easelv1.ReserveRequest{User: "ada", Key: "1"}); !errors.Is(err, identity.ErrForeign) {
		t.Errorf("got %v", err)
	}
	meta.API = a.API // a node that gossips another's address gets nothing that is meant for it
	meta.Name = "node-c"
	if _, _, err := d.Reserve(t.Context(), meta, &easelv1.ReserveRequest{User: "ada", Key: "1"}); !errors.Is(err, identity.ErrWrongPeer) {
		t.Errorf("got %v", err)
	}
	if stranger.Calls("Reserve")+a.Calls("Reserve") != 0 {
		t.Error("a request went to a node that it was not meant for")
	}
}

func TestNodesAreAskedByTLSAlone(t *testing.T) {
	d, _, _, _ := two(t)
	for _, meta := range []cluster.Meta{
		{Name: "n", URL: "http://192.0.2.1:8443"}, {Name: "n", URL: "https://n", API: "http://gpu1.example.org:1"}, {Name: "n", API: "https://n/x"},
	} {
		if _, _, err := d.Reserve(t.Context(), meta, &easelv1.ReserveRequest{User: "ada", Key: "1"}); err == nil || !strings.Contains(err.Error(), "api.url") {
			t.Errorf("%+v: %v", meta, err)
		}
	}
}

// serveNode answers NodeService's requests in the name of node n.
func serveNode(t *testing.T, c *identitytest.Cluster, handler http.Handler) cluster.Meta {
	t.Helper()
	m := c.Member(identity.RoleNode, "n")
	server := httptest.NewUnstartedServer(handler)
	l := tls.NewListener(m.Listen(server.Listener), m.ServerTLS())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return cluster.Meta{Name: "n", API: "https://" + l.Addr().String()}
}

func one(t *testing.T, c *identitytest.Cluster) *directory.Directory {
	return front(t, &view{peer: c.Member(identity.RoleCoordinator, "front")}, store(t))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	stolen := make(chan string, 1)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.URL.Path }))
	defer thief.Close()
	c := identitytest.New(t)
	meta := serveNode(t, c, http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	if _, _, err := one(t, c).Reserve(t.Context(), meta, &easelv1.ReserveRequest{User: "ada", Key: "1"}); err == nil {
		t.Error("a redirect counted as an answer")
	}
	select {
	case <-stolen:
		t.Error("the request went on to another host")
	default:
	}
}

func TestForeignSessionIDsAreRefused(t *testing.T) {
	c := identitytest.New(t)
	meta := serveNode(t, c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer, err := proto.Marshal(&easelv1.ReserveResponse{Session: &easelv1.Session{Id: "../../etc/passwd", User: "ada"}})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/proto")
		_, _ = w.Write(answer)
	}))
	if s, _, err := one(t, c).Reserve(t.Context(), meta, &easelv1.ReserveRequest{User: "ada"}); err == nil || !strings.Contains(err.Error(), "which is none") {
		t.Errorf("took %v, %v", s.Session, err)
	}
}

func TestLinkLetsOneUserIntoOneSession(t *testing.T) {
	d, a, _, _ := two(t)
	s := reserve(t, d, a, "ada", "1")
	link, err := d.Link(s)
	if err != nil {
		t.Fatal(err)
	}
	base, token, _ := strings.Cut(link, "#token=")
	if base != a.URL+"/s/"+s.GetId() {
		t.Errorf("the link goes to %s", base)
	}
	v, err := identity.NewVerifier(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.Verify(token, identity.SessionAudience(s.GetId()), time.Now())
	if err != nil || c.Subject != "ada" || c.Scope != identity.ScopeView || c.Expires.Sub(c.IssuedAt) > time.Minute {
		t.Errorf("the token says %+v, %v", c, err)
	}
	if again, _ := d.Link(s); again == link {
		t.Error("two links carry the same token, but a token works once")
	}
}

func TestEndAll(t *testing.T) {
	d, a, b, _ := two(t)
	reserve(t, d, a, "ada", "1")
	reserve(t, d, b, "ada", "2")
	reserve(t, d, b, "bob", "1")
	if n, err := d.EndAll(t.Context(), "ada"); n != 2 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	if a.Living() != 0 || b.Living() != 1 {
		t.Errorf("%d and %d sessions live on, want bob's alone", a.Living(), b.Living())
	}
	b.Break(100)
	if _, err := d.EndAll(t.Context(), "ada"); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("with a node away: %v", err)
	}
}

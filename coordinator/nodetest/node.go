// Package nodetest is a node for the coordinator's tests: NodeService over real mutual TLS, whose sessions are kept in memory.
package nodetest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

// Node is one fake node.
type Node struct {
	easelv1connect.UnimplementedNodeServiceHandler
	Name string
	URL  string // for browsers; nothing answers there
	API  string // NodeService

	t       testing.TB
	cluster *identitytest.Cluster

	mu       sync.Mutex
	sessions []*easelv1.Session
	refuse   error
	broken   int // requests that find no node behind the address
	enforce  bool
	delay    time.Duration
	calls    map[string]int
	made     int
	capacity cluster.Capacity
	slices   []Slice
	order    *easelv1.DrainRequest
	hung     chan struct{} // closed when Status is to answer again; nil when it does
}

// Start runs a node of a cluster, until the test ends.
func Start(t testing.TB, name string, c *identitytest.Cluster) *Node {
	t.Helper()
	n := StartAs(t, c.Member(identity.RoleNode, name))
	n.cluster = c
	return n
}

// StartAs runs the node that member is, until the test ends.
func StartAs(t testing.TB, member *identity.Member) *Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	name := member.Name()
	n := &Node{
		Name: name, URL: "http://" + name + ".example", API: "https://" + l.Addr().String(), t: t, calls: map[string]int{},
		capacity: cluster.Capacity{Name: name, Seq: 1, Total: 8, Images: []string{"easel/gimp"}, At: time.Now()},
	}
	_, service := easelv1connect.NewNodeServiceHandler(n)
	server := &http.Server{
		Handler: n.flaky(member.Only(identity.RoleCoordinator, service)), TLSConfig: member.ServerTLS(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ServeTLS(member.Listen(l), "", "") }) // ends with Close
	t.Cleanup(func() { _ = server.Close(); wg.Wait() })
	return n
}

// Refuse makes Reserve fail with err; nil ends that.
func (n *Node) Refuse(err error) { n.set(func() { n.refuse = err }) }

// Enforce makes Reserve refuse when there are as many living sessions as the capacity's total.
func (n *Node) Enforce() { n.set(func() { n.enforce = true }) }

// SetViewers says how many browsers a session has.
func (n *Node) SetViewers(id string, viewers uint32) {
	n.set(func() {
		for _, s := range n.sessions {
			if s.GetId() == id {
				s.Viewers = viewers
			}
		}
	})
}

// Forget drops a session as if it had ended long ago.
func (n *Node) Forget(id string) {
	n.set(func() {
		n.sessions = slices.DeleteFunc(n.sessions, func(s *easelv1.Session) bool { return s.GetId() == id })
	})
}

// Break makes the next requests find a proxy without a node behind it.
func (n *Node) Break(requests int) { n.set(func() { n.broken = requests }) }

// Slow makes Reserve take a while.
func (n *Node) Slow(d time.Duration) { n.set(func() { n.delay = d }) }

// Hang makes Status not answer until resume is called, which the test's end does too.
func (n *Node) Hang() (resume func()) {
	hung := make(chan struct{})
	n.set(func() { n.hung = hung })
	resume = sync.OnceFunc(func() {
		n.set(func() { n.hung = nil })
		close(hung)
	})
	n.t.Cleanup(resume)
	return resume
}

// Tell changes what gossip says of the node.
func (n *Node) Tell(change func(*cluster.Capacity)) { n.set(func() { change(&n.capacity) }) }

// SetNotice makes a session tell its artist something.
func (n *Node) SetNotice(id, text string, until time.Time) {
	n.set(func() {
		for _, s := range n.sessions {
			if s.GetId() == id {
				s.Notice, s.NoticeUntil = text, timestamppb.New(until)
			}
		}
	})
}

// SetState moves a session to another state.
func (n *Node) SetState(id string, state easelv1.State, reason string) {
	n.set(func() {
		for _, s := range n.sessions {
			if s.GetId() == id {
				s.State, s.Reason = state, reason
			}
		}
	})
}

// Calls returns how often a procedure, such as "Reserve", was called.
func (n *Node) Calls(procedure string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[procedure]
}

// Living returns how many sessions have not ended.
func (n *Node) Living() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.living("", "")
}

func (n *Node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// Members is what gossip knows of some nodes.
type Members []*Node

// Nodes is the view.
func (m Members) Nodes() []cluster.Node {
	var all []cluster.Node
	for _, n := range m {
		n.mu.Lock()
		all = append(all, cluster.Node{
			Meta:     cluster.Meta{Role: cluster.RoleNode, Name: n.Name, URL: n.URL, API: n.API, Version: "test"},
			Capacity: n.capacity, Seen: time.Now(),
		})
		n.mu.Unlock()
	}
	return all
}

// Coordinator is a coordinator of the nodes' cluster, nil when there are no nodes.
func (m Members) Coordinator() *identity.Member {
	if len(m) == 0 {
		return nil
	}
	return m[0].cluster.Member(identity.RoleCoordinator, "front")
}

// Changed is closed: the view may change at any time.
func (m Members) Changed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (n *Node) flaky(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.mu.Lock()
		n.calls[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]++
		broken := n.broken > 0
		n.broken = max(0, n.broken-1)
		n.mu.Unlock()
		if broken {
			http.Error(w, "no upstream", http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// living counts; n.mu is held.
func (n *Node) living(user, key string) (count int) {
	for _, s := range n.sessions {
		ended := s.GetState() == easelv1.State_STATE_STOPPED || s.GetState() == easelv1.State_STATE_FAILED
		if !ended && (user == "" || s.GetUser() == user && s.GetKey() == key) {
			count++
		}
	}
	return count
}

// sessionID is that of the node's i-th session.
func sessionID(node string, i int) string {
	sum := sha256.Sum256(fmt.Append(nil, node, "/", i))
	return "s" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// Reserve implements NodeService. An intent gives one session, however often it comes; but two intents for one
// key make two sessions: that coordinators do not is what tests want to see.
func (n *Node) Reserve(ctx context.Context, req *connect.Request[easelv1.ReserveRequest]) (*connect.Response[easelv1.ReserveResponse], error) {
	n.mu.Lock()
	delay, refuse := n.delay, n.refuse
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(delay):
	}
	if refuse != nil {
		return nil, refuse
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		if intent := req.Msg.GetIntent(); intent != "" && s.GetIntent() == intent {
			return connect.NewResponse(&easelv1.ReserveResponse{Session: clone(s)}), nil
		}
	}
	if late := req.Msg.GetNotAfter(); late != nil && time.Now().After(late.AsTime()) {
		return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the reservation came too late"))
	}
	if n.enforce && n.living("", "") >= n.capacity.Total {
		return nil, connect.NewError(connect.CodeResourceExhausted, fmt.Errorf("%d of %d sessions", n.capacity.Total, n.capacity.Total))
	}
	gpu, err := n.slice(cmp.Or(req.Msg.GetClass(), "none"), req.Msg.GetEncoder())
	if err != nil {
		return nil, err
	}
	s := &easelv1.Session{
		Id:   sessionID(n.Name, n.made),
		User: req.Msg.GetUser(), Key: req.Msg.GetKey(), Image: "easel/gimp", Class: cmp.Or(req.Msg.GetClass(), "none"), Gpu: gpu, Intent: req.Msg.GetIntent(),
		State: easelv1.State_STATE_STARTING, Created: timestamppb.New(time.Now()),
		XSocket: "/secret/host/path", Pids: &easelv1.Pids{Streamer: 42},
		Times: []*easelv1.StateTime{{State: easelv1.State_STATE_RESERVED, At: timestamppb.Now()}},
	}
	n.sessions = append(n.sessions, s)
	n.made++
	return connect.NewResponse(&easelv1.ReserveResponse{Session: clone(s), Created: true}), nil
}

// slice is what a session of a class holds, or the node's refusal as noded words it; n.mu is held.
func (n *Node) slice(class, encoder string) (string, error) {
	if class == "none" {
		return "", nil
	}
	for _, s := range n.slices {
		if s.Class != class {
			continue
		}
		taken := slices.ContainsFunc(n.sessions, func(have *easelv1.Session) bool {
			return have.GetGpu() == s.ID && have.GetState() != easelv1.State_STATE_STOPPED
		})
		if !taken && (s.Encoder || encoder != "hardware") {
			return s.ID, nil
		}
	}
	switch {
	case !slices.ContainsFunc(n.slices, func(s Slice) bool { return s.Class == class }):
		return "", Refusal("class", "this node has no GPU to give for class "+class)
	case encoder == "hardware":
		return "", Refusal("encoder", "no free slice of class "+class+" has an encoder")
	}
	return "", Refusal("gpu", "no slice of class "+class+" is free")
}

// Slice is a part of a GPU that a node gives to one session.
type Slice struct {
	ID, Class string
	Encoder   bool
}

// SetSlices says what GPUs the node has to give. What gossip tells of them is said by Tell.
func (n *Node) SetSlices(all ...Slice) { n.set(func() { n.slices = all }) }

// Refusal is a node's refusal that gives its reason, as noded's are.
func Refusal(reason, text string) error {
	code := connect.CodeResourceExhausted
	if reason == easelv1.RefusalClass {
		code = connect.CodeFailedPrecondition
	}
	err := connect.NewError(code, errors.New(text))
	err.Meta().Set(easelv1.RefusalHeader, reason)
	return err
}

// Sessions returns those that have not ended.
func (n *Node) Sessions() (all []*easelv1.Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		if s.GetState() != easelv1.State_STATE_STOPPED && s.GetState() != easelv1.State_STATE_FAILED {
			all = append(all, clone(s))
		}
	}
	return all
}

// Get implements NodeService.
func (n *Node) Get(_ context.Context, req *connect.Request[easelv1.GetRequest]) (*connect.Response[easelv1.GetResponse], error) {
	s, err := n.find(req.Msg.GetId(), nil)
	return connect.NewResponse(&easelv1.GetResponse{Session: s}), err
}

// List implements NodeService.
func (n *Node) List(_ context.Context, req *connect.Request[easelv1.ListRequest]) (*connect.Response[easelv1.ListResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := &easelv1.ListResponse{}
	for _, s := range n.sessions {
		ended := s.GetState() == easelv1.State_STATE_STOPPED || s.GetState() == easelv1.State_STATE_FAILED
		if (req.Msg.GetUser() == "" || req.Msg.GetUser() == s.GetUser()) && (!ended || req.Msg.GetEnded()) {
			answer.Sessions = append(answer.Sessions, clone(s))
		}
	}
	return connect.NewResponse(answer), nil
}

// Stop implements NodeService.
func (n *Node) Stop(_ context.Context, req *connect.Request[easelv1.StopRequest]) (*connect.Response[easelv1.StopResponse], error) {
	s, err := n.find(req.Msg.GetId(), func(s *easelv1.Session) {
		s.State, s.Reason = easelv1.State_STATE_STOPPED, req.Msg.GetReason()
	})
	return connect.NewResponse(&easelv1.StopResponse{Session: s}), err
}

// Status implements NodeService.
func (n *Node) Status(ctx context.Context, _ *connect.Request[easelv1.StatusRequest]) (*connect.Response[easelv1.StatusResponse], error) {
	n.mu.Lock()
	hung := n.hung
	n.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return connect.NewResponse(&easelv1.StatusResponse{
		Name: n.Name, Version: "test", Capacity: 8, Degraded: []string{"no GPU"}, Duty: n.order.GetDuty(), DrainDeadline: n.order.GetDeadline(),
		Pool: []*easelv1.PoolStatus{{Pool: &easelv1.Pool{Image: "easel/gimp", Class: "none", Kind: "ready", Want: 2}, Warm: 1, Starting: 1}},
	}), nil
}

// Drain implements NodeService.
func (n *Node) Drain(_ context.Context, req *connect.Request[easelv1.DrainRequest]) (*connect.Response[easelv1.DrainResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.order = req.Msg
	n.capacity.Draining = req.Msg.GetDuty() != easelv1.Duty_DUTY_SERVING
	return connect.NewResponse(&easelv1.DrainResponse{Sessions: uint32(n.living("", ""))}), nil
}

// Order is what the node was told last to do for new sessions; nil when nothing.
func (n *Node) Order() *easelv1.DrainRequest {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.order
}

func (n *Node) find(id string, change func(*easelv1.Session)) (*easelv1.Session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.sessions {
		if s.GetId() == id {
			if change != nil {
				change(s)
			}
			return clone(s), nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no such session"))
}

func clone(s *easelv1.Session) *easelv1.Session { return proto.Clone(s).(*easelv1.Session) }

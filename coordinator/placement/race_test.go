package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
	"easel/pkg/identity/identitytest"
)

// A crowd comes at once to two coordinators whose views are old: every slot is taken once, and who gets none
// was told by the nodes.
func TestHerdNeverDoubleBooks(t *testing.T) {
	const users, nodes, slots = 200, 10, 5
	c := identitytest.New(t)
	var members nodetest.Members
	for i := range nodes {
		n := nodetest.Start(t, fmt.Sprint("node-", i), c)
		n.Tell(func(c *cluster.Capacity) { c.Total = slots })
		n.Enforce()
		members = append(members, n)
	}
	stale, shared := static(members.Nodes()), store(t)
	placers := []*Placer{placer(t, members.Coordinator(), stale, shared, time.Hour), placer(t, members.Coordinator(), stale, shared, time.Hour)}
	for _, p := range placers { // which opens the connections, as Run does
		if _, err := p.Fleet.(*directory.Directory).List(t.Context(), "", false); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	var made, none atomic.Int32
	for i := range users {
		wg.Go(func() {
			s, created, err := placers[i%2].Place(t.Context(), Request{User: fmt.Sprint("user-", i), Key: "default"})
			var noRoom *NoRoom
			switch {
			case err == nil && created && s.GetUser() == fmt.Sprint("user-", i):
				made.Add(1)
			case errors.As(err, &noRoom):
				none.Add(1)
			default:
				t.Errorf("user %d: created %v, %v", i, created, err)
			}
		})
	}
	wg.Wait()
	for _, n := range members {
		if n.Living() != slots {
			t.Errorf("%s has %d sessions, want %d", n.Name, n.Living(), slots)
		}
	}
	if made.Load() != nodes*slots || none.Load() != users-nodes*slots {
		t.Errorf("%d sessions made, %d refused", made.Load(), none.Load())
	}
}

func TestTwoCoordinatorsAtOnceMakeOneSession(t *testing.T) {
	c := identitytest.New(t)
	var members nodetest.Members
	for i := range 4 {
		n := nodetest.Start(t, fmt.Sprint("node-", i), c)
		n.Slow(time.Duration(5*i) * time.Millisecond)
		members = append(members, n)
	}
	shared := store(t)
	placers := []*Placer{placer(t, members.Coordinator(), members, shared, -1), placer(t, members.Coordinator(), members, shared, -1), placer(t, members.Coordinator(), members, shared, -1)}
	for round := range 20 {
		req := Request{User: "ada", Key: fmt.Sprint("key-", round)}
		ids := placeAtOnce(t, placers, req)
		living := 0
		for _, n := range members {
			living += n.Living()
		}
		if len(ids) != 1 || living != round+1 {
			t.Fatalf("round %d: nine requests got %d sessions, %d live in all", round, len(ids), living)
		}
	}
}

// placeAtOnce asks nine times, through these coordinators, and returns the IDs of the sessions.
func placeAtOnce(t *testing.T, placers []*Placer, req Request) map[string]bool {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]bool{}
	for i := range 9 {
		wg.Go(func() {
			s, _, err := placers[i%len(placers)].Place(t.Context(), req)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[s.GetId()] = true
		})
	}
	wg.Wait()
	return ids
}

var errKilled = errors.New("the coordinator was killed")

// mortal is a coordinator's way to the nodes and to the state, which ends at one of its steps: what is done
// then stays done, and nothing is done after.
type mortal struct {
	Fleet
	Index
	steps atomic.Int32 // that are left
	late  bool         // it dies after the step, not before
}

func (m *mortal) step(do func() error) error {
	left := m.steps.Add(-1)
	if left < 0 || left == 0 && !m.late {
		return errKilled
	}
	err := do()
	if left == 0 {
		return errKilled
	}
	return err
}

func (m *mortal) Get(user, key string) (directory.Placement, []string, error) {
	if m.steps.Load() <= 0 {
		return directory.Placement{}, nil, errKilled
	}
	return m.Index.Get(user, key)
}

func (m *mortal) Swap(ctx context.Context, user, key string, before, after directory.Placement) error {
	return m.step(func() error { return m.Index.Swap(ctx, user, key, before, after) })
}

func (m *mortal) Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (s directory.Session, created bool, err error) {
	err = m.step(func() error {
		s, created, err = m.Fleet.Reserve(ctx, node, req)
		return err
	})
	return s, created, err
}

func (m *mortal) Stop(ctx context.Context, s directory.Session, reason string) (directory.Session, error) {
	return s, m.step(func() error { _, err := m.Fleet.Stop(ctx, s, reason); return err })
}

// A coordinator is killed before or after each thing that it does outside itself; who asks another one then
// gets a session, and there is one.
func TestKilledCoordinatorLeavesOneSession(t *testing.T) {
	for steps := 1; steps <= 3; steps++ {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("step=%d/done=%v", steps, late), func(t *testing.T) {
				c := identitytest.New(t)
				members := nodetest.Members{nodetest.Start(t, "node-a", c), nodetest.Start(t, "node-b", c)}
				shared := store(t)
				first, second := placer(t, members.Coordinator(), members, shared, -1), placer(t, members.Coordinator(), members, shared, -1)
				m := &mortal{Fleet: first.Fleet, Index: first.Index, late: late}
				m.steps.Store(int32(steps))
				first.Fleet, first.Index = m, m
				req := Request{User: "ada", Key: "default"}
				if _, _, err := first.Place(t.Context(), req); err == nil {
					t.Fatal("the coordinator outlived its end")
				}
				s, _, err := second.Place(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if living := members[0].Living() + members[1].Living(); living != 1 {
					t.Errorf("%d sessions live", living)
				}
				p, _, err := second.Index.Get("ada", "default")
				if err != nil || p.Session != s.GetId() || p.Node != s.Node.Name {
					t.Errorf("the index has %+v, %v; the session is %s", p, err, s.GetId())
				}
			})
		}
	}
}

func TestNodeThatDoesNotAnswerIsAskedAgainWhenThereIsNoOther(t *testing.T) {
	p, members := fleet(t, "node-a")
	members[0].Break(2)
	if s, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1"}); err != nil || s.Node.Name != "node-a" {
		t.Errorf("placed on %q, %v", s.Node.Name, err)
	}
	if got := members[0].Calls("Reserve"); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
}

func TestNodeThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	members[0].Tell(func(c *cluster.Capacity) { c.Total = 100 })
	members[0].Break(1000)
	members[1].Tell(func(c *cluster.Capacity) { c.Used = 4 })
	for i := range 3 {
		if s, _, err := p.Place(t.Context(), Request{User: "ada", Key: fmt.Sprint(i)}); err != nil || s.Node.Name != "node-b" {
			t.Errorf("placed on %q, %v", s.Node.Name, err)
		}
	}
	if got := members[0].Calls("Reserve"); got != 1 {
		t.Errorf("the node without an answer was asked %d times before its next record", got)
	}
}

// An intent whose node answered late must not give a second session, or one that has ended meanwhile.
func TestIntentOfAnEndedSessionIsUsedUp(t *testing.T) {
	p, members := fleet(t, "node-a")
	intent := directory.Placement{Intent: "i1", Node: "node-a", At: time.Now().UnixMilli()}
	if err := p.Index.Swap(t.Context(), "ada", "1", directory.Placement{}, intent); err != nil {
		t.Fatal(err)
	}
	old, _, err := p.Fleet.Reserve(t.Context(), members.Nodes()[0].Meta, &easelv1.ReserveRequest{User: "ada", Key: "1", Intent: "i1"})
	if err != nil {
		t.Fatal(err)
	}
	members[0].SetState(old.GetId(), easelv1.State_STATE_STOPPED, "ended")
	s, created, err := p.Place(t.Context(), Request{User: "ada", Key: "1"})
	if err != nil || !created || s.GetId() == old.GetId() || members[0].Living() != 1 {
		t.Errorf("got %s, created %v, %v; %d live", s.GetId(), created, err, members[0].Living())
	}
}

// A coordinator died with an intent that its node never heard of, and a minute later the node must not take it.
func TestOldIntentIsReplaced(t *testing.T) {
	p, members := fleet(t, "node-a")
	old := directory.Placement{Intent: "i1", Node: "node-a", At: time.Now().Add(-2 * reserveWithin).UnixMilli()}
	if err := p.Index.Swap(t.Context(), "ada", "1", directory.Placement{}, old); err != nil {
		t.Fatal(err)
	}
	s, created, err := p.Place(t.Context(), Request{User: "ada", Key: "1"})
	if err != nil || !created || s.GetIntent() == "i1" || members[0].Living() != 1 {
		t.Errorf("created %v with intent %q, %v", created, s.GetIntent(), err)
	}
}

func TestRefusedRequestLeavesNoIntent(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	for _, n := range members {
		n.Refuse(connect.NewError(connect.CodeResourceExhausted, errors.New("full")))
	}
	if _, _, err := p.Place(t.Context(), Request{User: "ada", Key: "1"}); err == nil {
		t.Fatal("placed on a full node")
	}
	if got, _, err := p.Index.Get("ada", "1"); err != nil || got.Intent != "" {
		t.Errorf("the index has %+v, %v", got, err)
	}
}

// deaf is a way to the nodes by which one node's answers get lost.
type deaf struct {
	Fleet
	to string
}

func (d deaf) Reserve(ctx context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (directory.Session, bool, error) {
	s, created, err := d.Fleet.Reserve(ctx, node, req)
	if node.Name == d.to {
		return directory.Session{}, false, connect.NewError(connect.CodeUnavailable, errors.New("connection reset"))
	}
	return s, created, err
}

func TestSessionWhoseNodeCouldNotTellEndsSoon(t *testing.T) {
	p, members := fleet(t, "node-a", "node-b")
	members[0].Tell(func(c *cluster.Capacity) { c.Total = 100 })
	members[1].Tell(func(c *cluster.Capacity) { c.Used = 4 })
	d := p.Fleet.(*directory.Directory)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() { _ = d.Run(ctx) })
	// A node is settled with when it comes into view: that must be over, or it finds the session before node-b is asked.
	for (members[0].Calls("List") == 0 || members[1].Calls("List") == 0) && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	p.Fleet = deaf{d, "node-a"}
	s, _, err := p.Place(ctx, Request{User: "ada", Key: "1"})
	if err != nil || s.Node.Name != "node-b" || members[0].Calls("Reserve") != 1 {
		t.Fatalf("placed on %q, %v", s.Node.Name, err)
	}
	for members[0].Living() > 0 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	if members[0].Living() != 0 || members[1].Living() != 1 {
		t.Errorf("%d and %d sessions live", members[0].Living(), members[1].Living())
	}
	cancel()
	watch.Wait()
}

// changing is a view that a test changes.
type changing struct {
	nodetest.Members
	mu   sync.Mutex
	gone string
}

func (c *changing) Nodes() []cluster.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(c.Members.Nodes(), func(n cluster.Node) bool { return n.Meta.Name == c.gone })
}

func (c *changing) lose(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = node
}

func TestLostSessionIsPlacedElsewhere(t *testing.T) {
	c := identitytest.New(t)
	members := nodetest.Members{nodetest.Start(t, "node-a", c), nodetest.Start(t, "node-b", c)}
	view, ahead := &changing{Members: members}, atomic.Int64{}
	p := placer(t, members.Coordinator(), view, store(t), -1)
	d := p.Fleet.(*directory.Directory)
	d.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	req := Request{User: "ada", Key: "default"}
	first, _, err := p.Place(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	view.lose(first.Node.Name)
	for _, n := range members {
		if n.Name == first.Node.Name {
			n.Break(1000)
		}
	}
	if _, _, err := p.Place(t.Context(), req); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("while it may come back: %v, want ErrUnreachable", err)
	}
	ahead.Store(int64(10 * time.Second))
	second, created, err := p.Place(t.Context(), req)
	if err != nil || !created || second.Node.Name == first.Node.Name {
		t.Fatalf("placed on %q, created %v, %v", second.Node.Name, created, err)
	}
	again, created, err := p.Place(t.Context(), req)
	if err != nil || created || again.GetId() != second.GetId() {
		t.Errorf("asked again: %s, created %v, %v", again.GetId(), created, err)
	}
}

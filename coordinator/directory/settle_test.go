package directory_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"easel/coordinator/directory"
	"easel/coordinator/nodetest"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
	"easel/pkg/identity"
	"easel/pkg/identity/identitytest"
)

// world is two nodes, a coordinator and its clock.
type world struct {
	t     *testing.T
	a, b  *nodetest.Node
	view  *view
	d     *directory.Directory
	ahead atomic.Int64 // of the coordinator's clock
}

func newWorld(t *testing.T) *world {
	c := identitytest.New(t)
	w := &world{t: t, a: nodetest.Start(t, "node-a", c), b: nodetest.Start(t, "node-b", c), view: &view{peer: c.Member(identity.RoleCoordinator, "front")}}
	w.d = front(t, w.view, store(t), func(o *directory.Options) { o.Now = w.now })
	w.see(w.a, w.b)
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// see makes the view of these nodes, with records of this moment.
func (w *world) see(nodes ...*nodetest.Node) {
	all := nodetest.Members(nodes).Nodes()
	for i := range all {
		all[i].Seen = w.now()
	}
	w.view.set(all...)
	w.d.Nodes()
}

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

// settle is what the leading coordinator does with nodes that have come into its view.
func (w *world) settle(nodes ...*nodetest.Node) {
	w.t.Helper()
	var metas []cluster.Meta
	for _, n := range nodetest.Members(nodes).Nodes() {
		metas = append(metas, n.Meta)
	}
	if again := w.d.Settle(w.t.Context(), metas); len(again) > 0 {
		w.t.Errorf("not settled: %v", again)
	}
}

func (w *world) find(id string) directory.Session {
	w.t.Helper()
	s, err := w.d.Find(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) placed(user, key string) directory.Placement {
	w.t.Helper()
	p, _, err := w.d.Index.Get(user, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestSessionsOfASilentNodeAreLostWithinTenSeconds(t *testing.T) {
	w := newWorld(t)
	s := reserve(t, w.d, w.b, "ada", "1")
	w.pass(5 * time.Second) // the gossip's patience
	w.see(w.a)
	w.b.Break(1000)
	if _, err := w.d.Find(t.Context(), s.GetId()); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("a node that has just gone: %v, want ErrUnreachable", err)
	}
	w.pass(4500 * time.Millisecond)
	got := w.find(s.GetId())
	if got.Live() || got.Lost == "" || got.GetUser() != "ada" || got.Node.Name != "node-b" || got.GetCreated().AsTime().IsZero() {
		t.Errorf("after 9.5 s: %+v", got)
	}
	if l := list(t, w.d, "ada", false); len(l.Sessions) != 1 || l.Sessions[0].Lost == "" || len(l.Unreachable) != 0 {
		t.Errorf("listed %+v", l)
	}
	w.see(w.a, w.b)
	w.b.Break(0)
	if got := w.find(s.GetId()); !got.Live() {
		t.Errorf("after its node came back: %+v", got)
	}
}

// A restarting node says goodbye and is back a moment later; its last record was fresh.
func TestSessionsOfARestartingNodeAreNotLost(t *testing.T) {
	w := newWorld(t)
	s := reserve(t, w.d, w.b, "ada", "1")
	w.see(w.a)
	w.b.Break(1000)
	w.pass(7 * time.Second)
	if _, err := w.d.Find(t.Context(), s.GetId()); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

// A coordinator that starts knows nobody yet; it must not take that for the end of everybody's sessions.
func TestStartingCoordinatorDoesNotGiveSessionsUp(t *testing.T) {
	w := newWorld(t)
	shared := store(t)
	first := front(t, w.view, shared)
	s := reserve(t, first, w.b, "ada", "1")
	empty := &view{}
	second := front(t, empty, shared, func(o *directory.Options) { o.Now = w.now })
	if _, err := second.Find(t.Context(), s.GetId()); !errors.Is(err, directory.ErrUnreachable) {
		t.Errorf("at the start: %v, want ErrUnreachable", err)
	}
	w.pass(10 * time.Second)
	if got, err := second.Find(t.Context(), s.GetId()); err != nil || got.Lost == "" {
		t.Errorf("after ten seconds: %+v, %v", got, err)
	}
}

func TestEndOfALostSessionIsCarriedOutWhenItsNodeIsBack(t *testing.T) {
	w := newWorld(t)
	s := reserve(t, w.d, w.b, "ada", "1")
	w.see(w.a)
	w.pass(20 * time.Second)
	ended, err := w.d.Stop(t.Context(), w.find(s.GetId()), "ended by ada")
	if err != nil || ended.Live() || ended.GetReason() != "ended by ada" {
		t.Fatalf("%+v, %v", ended, err)
	}
	if _, err := w.d.Find(t.Context(), s.GetId()); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("it is still found: %v", err)
	}
	w.see(w.a, w.b)
	w.settle(w.b)
	if w.b.Living() != 0 {
		t.Error("it lives on")
	}
}

func TestTwoSessionsOfOneKeyBecomeOne(t *testing.T) {
	tests := []struct {
		name               string
		oldSees, newSees   uint32 // browsers
		newEnds, newIsLost bool
		stays              string
	}{
		{name: "nobody is connected", stays: "new"},
		{name: "somebody is connected to the new one", newSees: 1, stays: "new"},
		{name: "somebody is connected to the old one alone", oldSees: 1, stays: "old"},
		{name: "somebody is connected to both", oldSees: 1, newSees: 1, stays: "new"},
		{name: "the new one has ended", newEnds: true, stays: "old"},
		{name: "the new one is lost", newIsLost: true, stays: "old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			old := reserve(t, w.d, w.b, "ada", "1")
			w.see(w.a)
			w.pass(20 * time.Second)
			w.see(w.a)
			fresh := reserve(t, w.d, w.a, "ada", "1")
			w.b.SetViewers(old.GetId(), tt.oldSees)
			w.a.SetViewers(fresh.GetId(), tt.newSees)
			if tt.newEnds {
				w.a.SetState(fresh.GetId(), easelv1.State_STATE_STOPPED, "ended")
			}
			if tt.newIsLost {
				w.see(w.b)
				w.pass(20 * time.Second)
				w.see(w.b)
				w.settle(w.b)
				w.see(w.a, w.b)
				w.settle(w.a)
			} else {
				w.see(w.a, w.b)
				w.settle(w.b)
			}
			stays, ends := fresh, old
			if tt.stays == "old" {
				stays, ends = old, fresh
			}
			if got := w.placed("ada", "1"); got.Session != stays.GetId() || got.Node != stays.Node.Name {
				t.Errorf("the index has %+v, want %s", got, stays.GetId())
			}
			if !w.find(stays.GetId()).Live() || w.find(ends.GetId()).Live() || w.a.Living()+w.b.Living() != 1 {
				t.Errorf("%d sessions live", w.a.Living()+w.b.Living())
			}
			if why := w.find(ends.GetId()).GetReason(); !tt.newEnds && why == "" {
				t.Error("the artist is not told why it ended")
			}
		})
	}
}

// Sessions that no coordinator placed, an operator's or those of before there was an index, are found all the same.
func TestUnknownSessionsAreTakenIntoTheIndex(t *testing.T) {
	w := newWorld(t)
	s, _, err := w.d.Reserve(t.Context(), nodetest.Members{w.a}.Nodes()[0].Meta, &easelv1.ReserveRequest{User: "ada", Key: "1"})
	if err != nil {
		t.Fatal(err)
	}
	w.settle(w.a, w.b)
	if got := w.find(s.GetId()); got.GetUser() != "ada" || w.placed("ada", "1").Session != s.GetId() {
		t.Errorf("found %+v", got)
	}
}

func TestIndexForgetsWhatHasEnded(t *testing.T) {
	w := newWorld(t)
	ended, gone, stays := reserve(t, w.d, w.a, "ada", "ended"), reserve(t, w.d, w.a, "ada", "gone"), reserve(t, w.d, w.a, "ada", "stays")
	w.a.SetState(ended.GetId(), easelv1.State_STATE_STOPPED, "")
	w.a.Forget(gone.GetId())
	w.pass(2 * time.Minute)
	w.see(w.a, w.b)
	w.settle(w.a)
	for key, want := range map[string]string{"ended": "", "gone": "", "stays": stays.GetId()} {
		if got := w.placed("ada", key).Session; got != want {
			t.Errorf("%s: the index has %q, want %q", key, got, want)
		}
	}
	if got := w.find(ended.GetId()); got.Live() {
		t.Error("a session that its node still remembers is not found")
	}
	if _, err := w.d.Find(t.Context(), gone.GetId()); !errors.Is(err, directory.ErrNotFound) {
		t.Errorf("a session that its node has forgotten: %v", err)
	}
}

func TestLongLostSessionsAreForgotten(t *testing.T) {
	w := newWorld(t)
	lost, stays := reserve(t, w.d, w.b, "ada", "1"), reserve(t, w.d, w.a, "ada", "2")
	w.see(w.a)
	for _, after := range []time.Duration{time.Hour, 8 * 24 * time.Hour} {
		w.pass(after)
		w.see(w.a)
		w.d.Forget(t.Context())
		_, err := w.d.Find(t.Context(), lost.GetId())
		if old := after > 24*time.Hour; errors.Is(err, directory.ErrNotFound) != old {
			t.Errorf("after %v: %v", after, err)
		}
		w.find(stays.GetId())
	}
}

func TestAbandonedIntentsAreSwept(t *testing.T) {
	w := newWorld(t)
	intent := directory.Placement{Intent: "i", Node: "node-a", At: w.now().UnixMilli()}
	if err := w.d.Index.Swap(t.Context(), "ada", "1", directory.Placement{}, intent); err != nil {
		t.Fatal(err)
	}
	w.settle(w.a)
	if w.placed("ada", "1") != intent {
		t.Error("an intent of a moment ago is gone: its session may be on its way")
	}
	w.pass(2 * time.Minute)
	w.see(w.a, w.b)
	w.settle(w.a)
	if got := w.placed("ada", "1"); got.Intent != "" {
		t.Errorf("left behind: %+v", got)
	}
}

// The coordinator that wrote the intent died before it wrote what became of it.
func TestUnrecordedSessionIsRecorded(t *testing.T) {
	w := newWorld(t)
	intent := directory.Placement{Intent: "i", Node: "node-a", At: w.now().UnixMilli()}
	if err := w.d.Index.Swap(t.Context(), "ada", "1", directory.Placement{}, intent); err != nil {
		t.Fatal(err)
	}
	s, _, err := w.d.Reserve(t.Context(), nodetest.Members{w.a}.Nodes()[0].Meta, &easelv1.ReserveRequest{User: "ada", Key: "1", Intent: "i"})
	if err != nil {
		t.Fatal(err)
	}
	w.settle(w.a)
	if got := w.placed("ada", "1"); got.Session != s.GetId() || got.Intent != "i" {
		t.Errorf("the index has %+v", got)
	}
}

func TestRunSettlesWithNodesThatComeIntoView(t *testing.T) {
	w := newWorld(t)
	s, _, err := w.d.Reserve(t.Context(), nodetest.Members{w.a}.Nodes()[0].Meta, &easelv1.ReserveRequest{User: "ada", Key: "1"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx, cancel := contextWithin(t, 10*time.Second)
	go func() { done <- w.d.Run(ctx) }()
	for {
		if _, err := w.d.Find(ctx, s.GetId()); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the session did not come into the index")
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

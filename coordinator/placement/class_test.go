package placement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/directory"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

// part is a slice of a card of a machine.
type part struct {
	class   string
	encoder bool
	gone    bool // its card has fallen off the bus
	session string
}

// machine is a node as it is in truth, whatever its last record says. It does what it is asked to, to the letter: who does not say that the
// card must encode may get a slice that cannot.
type machine struct {
	slots int
	held  map[string]string // session → class
	parts []part
	asked int // for a card's encoder
}

// able tells whether any well card of it encodes.
func (m *machine) able() bool {
	return slices.ContainsFunc(m.parts, func(p part) bool { return p.encoder && !p.gone })
}

// pick is the part that a session gets, nil when none is free.
func (m *machine) pick(class, encoder string) *part {
	var found *part
	for i := range m.parts {
		p := &m.parts[i]
		if p.class == class && !p.gone && p.session == "" && (p.encoder || encoder != Hardware) {
			if found == nil || found.encoder && !p.encoder { // leaves encoders to who needs them
				found = p
			}
		}
	}
	return found
}

func (m *machine) record(name string, seq uint64) cluster.Capacity {
	c := cluster.Capacity{Name: name, Seq: seq, Total: m.slots, Used: len(m.held), Images: []string{"gimp"}}
	rooms := map[string]*cluster.Room{ClassNone: {Class: ClassNone, Total: m.slots, Used: len(m.held)}}
	models := map[bool]*cluster.GPU{}
	for _, p := range m.parts {
		if rooms[p.class] == nil {
			rooms[p.class] = &cluster.Room{Class: p.class}
		}
		if models[p.encoder] == nil {
			models[p.encoder] = &cluster.GPU{Model: fmt.Sprint("encodes ", p.encoder), Encoder: p.encoder}
		}
		r, g := rooms[p.class], models[p.encoder]
		g.Count++
		switch {
		case p.gone:
			g.Unhealthy++
			continue
		case p.session != "":
			r.Used++
		case p.encoder:
			r.Encoders++
		}
		r.Total++
	}
	for _, r := range rooms {
		c.Classes = append(c.Classes, *r)
	}
	for _, g := range models {
		c.GPUs = append(c.GPUs, *g)
	}
	return c
}

// truth is a cluster of machines behind the coordinator's way to them, in memory.
type truth struct {
	t        *testing.T
	machines map[string]*machine
	made     int
}

func (w *truth) Reserve(_ context.Context, node cluster.Meta, req *easelv1.ReserveRequest) (directory.Session, bool, error) {
	m, class := w.machines[node.Name], cmp.Or(req.GetClass(), ClassNone)
	if req.GetEncoder() == Hardware {
		m.asked++
	}
	if len(m.held) >= m.slots {
		return directory.Session{}, false, refusalOf("full", "no slot")
	}
	id := fmt.Sprintf("s%016d", w.made)
	if class != ClassNone {
		p := m.pick(class, req.GetEncoder())
		switch {
		case p == nil && !slices.ContainsFunc(m.parts, func(p part) bool { return p.class == class }):
			return directory.Session{}, false, refusalOf(easelv1.RefusalClass, "no such class")
		case p == nil && m.pick(class, Any) != nil:
			return directory.Session{}, false, refusalOf(easelv1.RefusalEncoder, "no encoder is free")
		case p == nil:
			return directory.Session{}, false, refusalOf(easelv1.RefusalGPU, "no slice is free")
		}
		p.session = id
	}
	w.made++
	m.held[id] = class
	s := &easelv1.Session{Id: id, User: req.GetUser(), Key: req.GetKey(), Class: class, State: easelv1.State_STATE_STARTING}
	return directory.Session{Session: s, Node: node}, true, nil
}

func (w *truth) Placed(context.Context, string, string, directory.Placement) (directory.Session, error) {
	return directory.Session{}, directory.ErrNotFound
}

func (w *truth) Stop(_ context.Context, s directory.Session, _ string) (directory.Session, error) {
	w.t.Errorf("session %s was stopped", s.GetId())
	return s, nil
}

func (w *truth) Doubt(string) {}

// notes is an index in memory, of one coordinator.
type notes map[string]directory.Placement

func (n notes) Get(user, key string) (directory.Placement, []string, error) {
	return n[user+"\x00"+key], nil, nil
}

func (n notes) Swap(_ context.Context, user, key string, before, after directory.Placement) error {
	if n[user+"\x00"+key] != before {
		return directory.ErrMoved
	}
	n[user+"\x00"+key] = after
	return nil
}

var kinds = []string{"shared", "whole", "1g.10gb", "3g.40gb"}

// draw makes some machines: of each a few cards in one of the ways in which they are divided.
func draw(r *rand.Rand) map[string]*machine {
	all := map[string]*machine{}
	for i := range 1 + r.IntN(6) {
		m := &machine{slots: 1 + r.IntN(8), held: map[string]string{}}
		for range r.IntN(4) {
			class, encoder := kinds[r.IntN(len(kinds))], r.IntN(2) == 0
			for range 1 + r.IntN(3) {
				m.parts = append(m.parts, part{class: class, encoder: encoder})
			}
		}
		all[fmt.Sprint("n", i)] = m
	}
	return all
}

// change is what happens between a record and the next: others take places, sessions end, cards fall off the bus and come back.
func (m *machine) change(r *rand.Rand, next func() string) {
	for i := range m.parts {
		p := &m.parts[i]
		switch r.IntN(6) {
		case 0:
			p.gone = !p.gone
		case 1:
			if p.session == "" && !p.gone && len(m.held) < m.slots {
				p.session = next()
				m.held[p.session] = p.class
			}
		case 2:
			delete(m.held, p.session)
			p.session = ""
		}
	}
	if r.IntN(3) == 0 && len(m.held) < m.slots {
		m.held[next()] = ClassNone
	}
}

// refusalOf is a node's refusal as it comes over the wire.
func refusalOf(reason, text string) error {
	err := connect.NewWireError(connect.CodeResourceExhausted, errors.New(text))
	err.Meta().Set(easelv1.RefusalHeader, reason)
	return err
}

// Whatever the nodes are and however old what the coordinator knows of them: a session with a GPU whose picture its card should encode has a slice
// that can, a node that was known to have no encoder was never asked for one, and by a fresh view who can have a place gets it.
func TestNoGPUSessionHasItsPictureEncodedByTheCPUUnasked(t *testing.T) {
	placed, refused, stale := 0, 0, 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 4))
		w := &truth{t: t, machines: draw(r)}
		others := 0
		next := func() string { others++; return fmt.Sprint("other", others) }
		fresh := r.IntN(2) == 0
		var view static
		able := map[string]bool{}
		look := func(seq uint64) {
			view = nil
			for name, m := range w.machines {
				view = append(view, cluster.Node{Meta: cluster.Meta{Role: cluster.RoleNode, Name: name}, Capacity: m.record(name, seq)})
				able[name] = m.able()
			}
			slices.SortFunc(view, func(a, b cluster.Node) int { return cmp.Compare(a.Meta.Name, b.Meta.Name) })
		}
		for _, m := range w.machines {
			m.change(r, next)
		}
		look(1)
		cfg := Defaults()
		if r.IntN(3) == 0 {
			cfg.Encoder = Any
		}
		router := NewRouter(RouterOptions{Config: cfg, Members: &view, Every: -1})
		p := New(Options{Router: router, Fleet: w, Index: notes{}, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
		for i := range 12 {
			if fresh {
				look(uint64(2 + i))
				router.current.Store(nil)
			} else if r.IntN(2) == 0 {
				for _, m := range w.machines {
					m.change(r, next)
				}
			}
			req := Request{User: "ada", Key: fmt.Sprint(i), Class: kinds[r.IntN(len(kinds))], Encoder: []string{"", Hardware, Any}[r.IntN(3)]}
			if r.IntN(4) == 0 {
				req.Class, req.Encoder = "", ""
			}
			wanted := cfg.encoderOf(req.Class, req.Encoder)
			could, before := false, map[string]int{}
			for name, m := range w.machines {
				before[name] = m.asked
				could = could || len(m.held) < m.slots && (req.Class == "" || m.pick(req.Class, wanted) != nil)
			}
			s, created, err := p.Place(t.Context(), req)
			for name, m := range w.machines {
				if m.asked > before[name] && !able[name] {
					t.Fatalf("seed %d, %d: %s has no encoder by its record, and was asked for one", seed, i, name)
				}
			}
			var none *NoRoom
			switch {
			case errors.As(err, &none):
				refused++
				if could && fresh {
					t.Fatalf("seed %d, %d: no place for %+v, and there is one: %v", seed, i, req, err)
				}
				if len(none.Reasons) != len(w.machines) {
					t.Fatalf("seed %d, %d: %d nodes, and the reasons are %q", seed, i, len(w.machines), none.Reasons)
				}
				continue
			case err != nil || !created:
				t.Fatalf("seed %d, %d: created %v, %v", seed, i, created, err)
			}
			placed++
			if !fresh {
				stale++
			}
			m := w.machines[s.Node.Name]
			at := slices.IndexFunc(m.parts, func(p part) bool { return p.session == s.GetId() })
			switch {
			case req.Class == "":
				if at >= 0 {
					t.Fatalf("seed %d, %d: a session without a GPU holds %+v", seed, i, m.parts[at])
				}
			case at < 0 || m.parts[at].class != req.Class:
				t.Fatalf("seed %d, %d: a session of class %s holds part %d", seed, i, req.Class, at)
			case wanted == Hardware && !m.parts[at].encoder:
				t.Fatalf("seed %d, %d: the picture of %+v is encoded by the CPU", seed, i, req)
			}
		}
	}
	if placed < 5000 || refused < 1000 || stale < 1000 {
		t.Errorf("%d placed, %d of them by old views, %d refused: that proves too little", placed, stale, refused)
	}
}

// What a node says of one class keeps others from it for a moment, and nobody else.
func TestRefusalOfAClassCountsForThatClass(t *testing.T) {
	gpus := func(name string) cluster.Node {
		return node(name, 8, 0, class("none", 8, 0), class("whole", 2, 0), encoders(2), class("shared", 4, 0), encoders(4))
	}
	for _, tt := range []struct {
		reason, shared, any, whole, none string
	}{
		{easelv1.RefusalGPU, "b a", "b a", "a b", "a b"},
		{easelv1.RefusalClass, "b a", "b a", "a b", "a b"},
		{easelv1.RefusalEncoder, "b a", "a b", "a b", "a b"},
		{"full", "b a", "b a", "b a", "b a"},
	} {
		r := router([]cluster.Node{gpus("a"), gpus("b")})
		a := &attempt{Placer: &Placer{Options: Options{Log: slog.New(slog.DiscardHandler)}, metrics: newMetrics(prometheus.NewRegistry())}}
		a.Now = r.now
		best := r.Route(&Request{Class: "shared"}, 1)[0]
		_ = a.refuse(&best, refusalOf(tt.reason, "no"))
		for class, want := range map[string]string{"shared": tt.shared, "whole": tt.whole, "none": tt.none} {
			if got := order(r, Request{Class: class}); got != want {
				t.Errorf("after the refusal %s of class shared, %s goes to %q, want %q", tt.reason, class, got, want)
			}
		}
		if got := order(r, Request{Class: "shared", Encoder: Any}); got != tt.any {
			t.Errorf("after the refusal %s, shared with any encoder goes to %q, want %q", tt.reason, got, tt.any)
		}
	}
}

// A reservation of one class leaves the others their rooms, and takes a slot from all.
func TestReservationsCountByClass(t *testing.T) {
	r := router([]cluster.Node{node("a", 3, 0, class("none", 3, 0), class("shared", 1, 0), encoders(1), class("whole", 2, 0))})
	free := func(class string) int32 {
		p := r.view()
		q := r.ask(p, &Request{Class: class, Encoder: Any})
		defer r.queries.Put(q)
		q.look(&p.seats[0])
		return q.free
	}
	best := r.Route(&Request{Class: "shared"}, 1)[0]
	best.Ask()(true)
	for class, want := range map[string]int32{"shared": 0, "whole": 2, "none": 2} {
		if got := free(class); got != want {
			t.Errorf("%d of class %s are free, want %d", got, class, want)
		}
	}
}

func TestChoicesAreWhatOneMayAskFor(t *testing.T) {
	nodes := []cluster.Node{
		node("h100", 10, 3, region("eu"), class("none", 10, 3), class("1g.10gb", 7, 3), blind),
		node("l40s", 10, 0, region("eu"), class("none", 10, 0), class("shared", 4, 1), encoders(3)),
		node("busy", 10, 0, region("eu"), class("none", 10, 0), class("shared", 4, 4), encoders(0)),
		node("mixed", 10, 0, region("us"), class("none", 10, 0), class("shared", 2, 0), blind),
		node("away", 10, 0, region("us"), class("none", 10, 0), class("whole", 2, 0), encoders(2), draining),
	}
	show := func(r *Router, user string) (all []string) {
		for _, c := range r.Choices(user, "user") {
			all = append(all, fmt.Sprintf("%s %s %d/%d", c.Class, c.Encoder, c.Free, c.Total))
		}
		return all
	}
	r := router(nodes, policy(Policy{Users: []string{"eva"}, Regions: []string{"eu"}}), policy(Policy{Users: []string{"ned"}, Classes: []string{"none"}}))
	for user, want := range map[string][]string{
		"ada": {"none  37/50", "1g.10gb any 4/7", "shared hardware 3/8", "shared any 2/2", "whole hardware 0/2"},
		"eva": {"none  27/30", "1g.10gb any 4/7", "shared hardware 3/8"},
		"ned": {"none  37/50"},
	} {
		if got := show(r, user); !slices.Equal(got, want) {
			t.Errorf("%s may ask for %q, want %q", user, got, want)
		}
	}
	if got := show(router(nil), "ada"); len(got) != 0 {
		t.Errorf("without nodes: %q", got)
	}
}

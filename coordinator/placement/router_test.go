package placement

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/pkg/cluster"
)

// static is a view that does not change.
type static []cluster.Node

func (s static) Nodes() []cluster.Node    { return s }
func (s static) Changed() <-chan struct{} { return nil }

func node(name string, total, used int, change ...func(*cluster.Node)) cluster.Node {
	n := cluster.Node{
		Meta:     cluster.Meta{Role: cluster.RoleNode, Name: name, URL: "https://" + name},
		Capacity: cluster.Capacity{Name: name, Seq: 1, Total: total, Used: used, Images: []string{"gimp"}},
	}
	for _, f := range change {
		f(&n)
	}
	return n
}

func full(n *cluster.Node)       { n.Capacity.Full = "no memory" }
func draining(n *cluster.Node)   { n.Capacity.Draining = true }
func suspect(n *cluster.Node)    { n.Suspect = true }
func otherImage(n *cluster.Node) { n.Capacity.Images = []string{"krita"} }
func noImages(n *cluster.Node)   { n.Capacity.Images = nil }

func region(r string) func(*cluster.Node) {
	return func(n *cluster.Node) { n.Meta.Place.Region = r }
}

func at(latitude, longitude float32) func(*cluster.Node) {
	return func(n *cluster.Node) { n.Meta.Place.Latitude, n.Meta.Place.Longitude = latitude, longitude }
}

func busy(load float32) func(*cluster.Node) {
	return func(n *cluster.Node) { n.Capacity.Load = cluster.Load{CPUs: 8, CPU: load} }
}

func class(name string, total, used int) func(*cluster.Node) {
	return func(n *cluster.Node) {
		n.Capacity.Classes = append(n.Capacity.Classes, cluster.Room{Class: name, Total: total, Used: used})
	}
}

// encoders gives the node a card with an encoder, and so many free ones to its last class.
func encoders(n int) func(*cluster.Node) {
	return func(one *cluster.Node) {
		c := &one.Capacity
		c.Classes[len(c.Classes)-1].Encoders = n
		c.GPUs = append(c.GPUs, cluster.GPU{Model: "NVIDIA L40S", Count: 1, Encoder: true})
	}
}

// blind gives the node a card without an encoder engine.
func blind(n *cluster.Node) {
	n.Capacity.GPUs = append(n.Capacity.GPUs, cluster.GPU{Model: "NVIDIA H100 80GB HBM3", Count: 1})
}

func warm(kind string, count int) func(*cluster.Node) {
	return func(n *cluster.Node) {
		n.Capacity.Warm = append(n.Capacity.Warm, cluster.Warm{Image: "gimp", Class: "none", Kind: kind, Count: count})
	}
}

func router(nodes []cluster.Node, change ...func(*Config)) *Router {
	cfg := Defaults()
	cfg.Weights.Even = 0 // equal nodes stay in order
	for _, f := range change {
		f(&cfg)
	}
	return NewRouter(RouterOptions{Config: cfg, Members: static(nodes)})
}

func pack(c *Config) { c.Strategy = Pack }

func anyEncoder(c *Config) { c.Encoder = Any }

func ill(n *cluster.Node) { n.Capacity.GPUs[len(n.Capacity.GPUs)-1].Unhealthy = 1 }

func policy(p Policy) func(*Config) {
	return func(c *Config) { c.Policies = append(c.Policies, p) }
}

// explained is of every node.
func explained(r *Router, req Request) []Explanation {
	all, _ := r.Explain(&req, math.MaxInt)
	return all
}

func order(r *Router, req Request) string {
	var names []string
	for _, c := range r.Route(&req, maxCandidates) {
		names = append(names, c.Node.Meta.Name)
	}
	return strings.Join(names, " ")
}

func TestRoute(t *testing.T) {
	pings := func(kv ...any) map[string]float64 {
		m := map[string]float64{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1].(float64)
		}
		return m
	}
	paris := cluster.Place{Latitude: 48.9, Longitude: 2.3}
	tests := []struct {
		name   string
		req    Request
		nodes  []cluster.Node
		want   string
		change []func(*Config)
	}{
		{"none", Request{}, nil, "", nil},
		{"emptiest first", Request{}, []cluster.Node{node("a", 10, 8), node("b", 10, 1), node("c", 10, 4)}, "b c a", nil},
		{"fullest first", Request{}, []cluster.Node{node("a", 10, 8, busy(0)), node("b", 10, 1, busy(0)), node("c", 10, 10, busy(0))}, "a b c", []func(*Config){pack}},
		{"share, not number", Request{}, []cluster.Node{node("big", 100, 80), node("small", 4, 1)}, "small big", nil},
		{"full ones last", Request{}, []cluster.Node{node("a", 10, 0, full), node("b", 4, 4), node("c", 10, 9)}, "c a b", nil},
		{"draining and suspect ones last", Request{}, []cluster.Node{node("a", 10, 0, draining), node("b", 10, 1, suspect), node("c", 10, 9)}, "c a b", nil},
		{"image", Request{Image: "gimp"}, []cluster.Node{node("a", 10, 0, otherImage), node("b", 10, 9)}, "b", nil},
		{"any image", Request{}, []cluster.Node{node("a", 10, 0, otherImage)}, "a", nil},
		{"image that nobody has", Request{Image: "inkscape"}, []cluster.Node{node("a", 10, 0), node("b", 10, 0, otherImage)}, "", nil},
		{"image unknown", Request{Image: "gimp"}, []cluster.Node{node("a", 1, 0, noImages)}, "a", nil},
		{"no capacity", Request{}, []cluster.Node{node("a", 0, 0)}, "a", nil},
		{"class", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("none", 10, 0)), node("b", 10, 9, class("gpu", 2, 1), encoders(1))}, "b", nil},
		{"class is full", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 2), encoders(0)), node("b", 10, 9, class("gpu", 2, 1), encoders(1))}, "b a", nil},
		{"no card with an encoder", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), blind), node("b", 10, 9, class("gpu", 2, 1), encoders(1))}, "b", nil},
		{"none of many cards has one", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), blind)}, "", nil},
		{"any encoder, a card's first", Request{Class: "gpu", Encoder: Any}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), blind), node("b", 10, 0, class("gpu", 2, 0), encoders(1))}, "b a", nil},
		{"any encoder by the configuration", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), blind)}, "a", []func(*Config){anyEncoder}},
		{"a request stands above the configuration", Request{Class: "gpu", Encoder: Hardware}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), blind)}, "", []func(*Config){anyEncoder}},
		{"encoders are taken by the last record", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 0), encoders(0)), node("b", 10, 9, class("gpu", 2, 1), encoders(1))}, "b a", nil},
		{"the card with an encoder is ill", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0, class("gpu", 2, 2), encoders(0), ill)}, "", nil},
		{"without a GPU no encoder is looked for", Request{Encoder: Hardware}, []cluster.Node{node("a", 10, 0)}, "a", nil},
		{"the class none has room of its own", Request{}, []cluster.Node{node("a", 10, 0, class("none", 4, 4), class("gpu", 6, 0)), node("b", 10, 9, class("none", 10, 9))}, "b a", nil},
		{"slots beside free GPUs are for who wants one", Request{}, []cluster.Node{node("gpu", 8, 1, class("none", 8, 1), class("gpu", 7, 0), blind), node("cpu", 10, 9, class("none", 10, 9))}, "cpu gpu", nil},
		{"of slots that free GPUs do not need some are taken", Request{}, []cluster.Node{node("gpu", 16, 0, class("none", 16, 0), class("gpu", 7, 0), blind), node("cpu", 10, 8, class("none", 10, 8))}, "gpu cpu", nil},
		{"but not when there is no other room", Request{}, []cluster.Node{node("gpu", 10, 8, class("none", 10, 8), class("gpu", 8, 0), blind), node("cpu", 10, 10, class("none", 10, 10))}, "gpu cpu", nil},
		{"slots beside taken GPUs are as any", Request{}, []cluster.Node{node("cpu", 10, 8, class("none", 10, 8)), node("gpu", 10, 4, class("none", 10, 4), class("gpu", 4, 4), blind)}, "gpu cpu", nil},
		{"a node that tells of no class has no GPU", Request{Class: "gpu"}, []cluster.Node{node("a", 10, 0)}, "", nil},

		{"measured", Request{Pings: pings("a", 40.0, "b", 9.0)}, []cluster.Node{node("a", 10, 0), node("b", 10, 2)}, "b a", nil},
		{"a near node that is loaded loses to one a little farther", Request{Pings: pings("a", 10.0, "b", 20.0)}, []cluster.Node{node("a", 10, 5, busy(0.9)), node("b", 10, 1, busy(0.1))}, "b a", nil},
		{"but not to one across an ocean", Request{Pings: pings("a", 10.0, "b", 120.0)}, []cluster.Node{node("a", 10, 9, busy(0.9)), node("b", 10, 1, busy(0.1))}, "a b", nil},
		{"a measured node speaks for its region", Request{Pings: pings("a", 10.0)}, []cluster.Node{node("a", 10, 10, region("eu")), node("c", 10, 0, region("us")), node("b", 10, 1, region("eu"))}, "b c a", nil},
		{"place of the address", Request{Place: paris}, []cluster.Node{node("ny", 10, 0, at(40.7, -74)), node("fra", 10, 1, at(50.1, 8.7)), node("tokyo", 10, 0, at(35.7, 139.7))}, "fra ny tokyo", nil},
		{"what was measured wins over the place", Request{Place: paris, Pings: pings("ny", 30.0, "fra", 140.0)}, []cluster.Node{node("ny", 10, 1, at(40.7, -74)), node("fra", 10, 1, at(50.1, 8.7))}, "ny fra", nil},

		{"warm wins where distance is about equal", Request{Image: "gimp"}, []cluster.Node{node("a", 10, 0), node("b", 10, 1, warm("ready", 2))}, "b a", nil},
		{"but not over 60 ms", Request{Image: "gimp", Pings: pings("a", 10.0, "b", 70.0)}, []cluster.Node{node("a", 10, 0), node("b", 10, 1, warm("ready", 2))}, "a b", nil},
		{"ready before desktop", Request{}, []cluster.Node{node("a", 10, 1, warm("desktop", 2)), node("b", 10, 1, warm("ready", 1))}, "b a", nil},
		{"full of warm ones is not full", Request{}, []cluster.Node{node("a", 4, 4, full, warm("ready", 4)), node("b", 10, 10)}, "a b", nil},
		{"home wins over warm and room", Request{Homes: []string{"a"}}, []cluster.Node{node("a", 10, 9), node("b", 10, 0, warm("ready", 2))}, "a b", nil},

		{"policy of a role", Request{User: "ada", Role: "user"}, []cluster.Node{node("a", 10, 0, region("us")), node("b", 10, 5, region("eu")), node("c", 10, 0)}, "b", []func(*Config){policy(Policy{Roles: []string{"user"}, Regions: []string{"eu"}})}},
		{"the first policy that names one", Request{User: "ada", Role: "user"}, []cluster.Node{node("a", 10, 0, region("us")), node("b", 10, 5, region("eu"))}, "a", []func(*Config){policy(Policy{Users: []string{"ada"}, Regions: []string{"us"}}), policy(Policy{Regions: []string{"eu"}})}},
		{"policy of others", Request{User: "ada", Role: "user"}, []cluster.Node{node("a", 10, 0, region("us"))}, "a", []func(*Config){policy(Policy{Users: []string{"bob"}, Regions: []string{"eu"}})}},
		{"class allowed that is the default", Request{User: "ada"}, []cluster.Node{node("a", 10, 0)}, "a", []func(*Config){policy(Policy{Classes: []string{"none"}})}},
		{"class not allowed", Request{User: "ada", Class: "gpu"}, []cluster.Node{node("a", 10, 0)}, "", []func(*Config){policy(Policy{Classes: []string{"none"}})}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := order(router(tt.nodes, tt.change...), tt.req); got != tt.want {
				t.Errorf("order %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEveryFilterSaysWhy(t *testing.T) {
	eu := policy(Policy{Regions: []string{"eu"}, Classes: []string{"none", "gpu"}})
	for _, tt := range []struct {
		filter string
		req    Request
		node   cluster.Node
		says   string
	}{
		{"policy", Request{User: "ada"}, node("a", 1, 0, region("us")), "it is in us, and ada may be in eu alone"},
		{"policy", Request{User: "ada"}, node("a", 1, 0), "it tells no region"},
		{"policy", Request{User: "ada", Class: "h100"}, node("a", 1, 0, region("eu"), class("h100", 1, 0), encoders(1)), `ada may have the classes none, gpu, not "h100"`},
		{"image", Request{Image: "krita"}, node("a", 1, 0, region("eu")), "it does not have the image krita"},
		{"class", Request{Class: "gpu"}, node("a", 1, 0, region("eu"), class("none", 1, 0)), `it has no sessions of class "gpu", only none`},
		{"health", Request{}, node("a", 1, 0, region("eu"), draining), "draining"},
		{"health", Request{}, node("a", 1, 0, region("eu"), suspect), "missed heartbeats"},
		{"room", Request{}, node("a", 1, 0, region("eu"), full), "no memory"},
		{"room", Request{}, node("a", 8, 8, region("eu")), "8 of 8 sessions"},
		{"room", Request{Class: "gpu"}, node("a", 8, 2, region("eu"), class("gpu", 2, 2), encoders(0)), "2 of 2 sessions of class gpu"},
		{"encoder", Request{Class: "gpu"}, node("a", 8, 2, region("eu"), class("gpu", 2, 0), blind), `it has no hardware encoder for class gpu, so the picture would be encoded by the CPU; ask with encoder "any"`},
		{"encoder", Request{Class: "gpu"}, node("a", 8, 2, region("eu"), class("gpu", 2, 0), encoders(0), ill), "none of its cards with a hardware encoder is well"},
		{"room", Request{Class: "gpu"}, node("a", 8, 2, region("eu"), class("gpu", 3, 1), encoders(0)), "none of the 2 free places of class gpu has a hardware encoder free"},
	} {
		one := explained(router([]cluster.Node{tt.node}, eu), tt.req)[0]
		for _, f := range one.Filters {
			if f.Name == tt.filter && (f.Passes || !strings.Contains(f.Why, tt.says)) {
				t.Errorf("%s: %+v, want %q", tt.filter, f, tt.says)
			}
			if f.Name != tt.filter && !f.Passes {
				t.Errorf("%s: %s says %q too", tt.filter, f.Name, f.Why)
			}
		}
	}
}

func TestEveryScoreStaysWithinItsBounds(t *testing.T) {
	nodes := []cluster.Node{
		node("a", 0, 0), node("b", 5, 9), node("c", 10, 0, busy(7), warm("ready", 3), warm("desktop", 1)), node("d", 10, 3, busy(-1), at(90, 180), region("eu")),
	}
	for _, req := range []Request{
		{}, {Pings: map[string]float64{"a": 1e4, "b": 0.001, "gone": 4}, Homes: []string{"d", "gone"}}, {Place: cluster.Place{Latitude: -90, Longitude: -180}},
	} {
		for _, strategy := range []func(*Config){func(*Config) {}, pack} {
			for _, e := range explained(router(nodes, strategy), req) {
				total := 0.0
				for _, s := range e.Scores {
					if !(s.Value >= 0 && s.Value <= 1) || s.Why == "" {
						t.Errorf("%s of %s is %v: %q", s.Name, e.Node, s.Value, s.Why)
					}
					total += s.Value * s.Weight
				}
				if diff := total - e.Total; diff > 1e-9 || diff < -1e-9 {
					t.Errorf("%s: the scores make %v, the total is %v", e.Node, total, e.Total)
				}
			}
		}
	}
}

func TestExplainAgreesWithRoute(t *testing.T) {
	var nodes []cluster.Node
	for i := range 40 {
		change := []func(*cluster.Node){region([]string{"eu", "us", "ap"}[i%3]), busy(float32(i%7) / 7)}
		if i%11 == 0 {
			change = append(change, draining)
		}
		if i%13 == 0 {
			change = append(change, otherImage)
		}
		nodes = append(nodes, node(fmt.Sprintf("n%02d", i), 10, i%11, change...))
	}
	r := NewRouter(RouterOptions{Config: Defaults(), Members: static(nodes)})
	req := Request{User: "ada", Key: "1", Image: "gimp", Pings: map[string]float64{"n04": 20, "n07": 31}}
	candidates := r.Route(&req, maxCandidates)
	for i, e := range explained(r, req) {
		if i < len(candidates) && (candidates[i].Node.Meta.Name != e.Node || candidates[i].Score != e.Total || e.Rank != i+1) {
			t.Errorf("%d: asked %s (%v), explained %+v", i, candidates[i].Node.Meta.Name, candidates[i].Score, e)
		}
		if refused := !e.Filters[1].Passes; refused != (e.Rank == 0) {
			t.Errorf("%s has rank %d", e.Node, e.Rank)
		}
	}
}

// Route stops adding up where a node is out of the running; Explain does not.
func TestRouteFindsTheBestOfManyNodes(t *testing.T) {
	nodes := world(700)
	for i := range nodes {
		if i%5 == 0 {
			class("shared", 4, i%6)(&nodes[i])
		}
	}
	for _, strategy := range []func(*Config){func(*Config) {}, pack, func(c *Config) { c.Weights = Weights{Load: 3, Home: 1} }} {
		r := router(nodes, strategy)
		for _, req := range []Request{
			{User: "ada", Key: "1"},
			{User: "bob", Key: "2", Class: "shared", Encoder: Any, Place: cluster.Place{Latitude: 48.9, Longitude: 2.3}},
			{User: "eva", Key: "3", Homes: []string{"n13", "n650"}, Pings: map[string]float64{"n3": 12, "n400": 18, "n5": 300}, Image: "gimp"},
		} {
			candidates := r.Route(&req, maxCandidates)
			best, total := r.Explain(&req, maxCandidates)
			if len(candidates) != maxCandidates || total != len(nodes) {
				t.Fatalf("%d candidates, %d nodes explained", len(candidates), total)
			}
			for i, c := range candidates {
				if c.Node.Meta.Name != best[i].Node || c.Score != best[i].Total {
					t.Errorf("%s: number %d is %s (%v), and of all %s (%v)", req.User, i+1, c.Node.Meta.Name, c.Score, best[i].Node, best[i].Total)
				}
			}
		}
	}
}

func TestTwoCoordinatorsAgreeAndACrowdSpreads(t *testing.T) {
	nodes := []cluster.Node{node("n1", 8, 0), node("n2", 8, 0), node("n3", 8, 0)}
	turned := []cluster.Node{nodes[2], nodes[0], nodes[1]}
	a, b := NewRouter(RouterOptions{Config: Defaults(), Members: static(nodes)}), NewRouter(RouterOptions{Config: Defaults(), Members: static(turned)})
	first := map[string]int{}
	for i := range 300 {
		req := Request{User: fmt.Sprint("user", i), Key: "default"}
		one, other := order(a, req), order(b, req)
		if one != other {
			t.Fatalf("%s: two coordinators choose %s and %s", req.User, one, other)
		}
		first[one[:2]]++
	}
	for name, n := range first {
		if n < 60 || n > 140 {
			t.Errorf("%s got %d of 300 users", name, n)
		}
	}
}

func TestReservationsCountUntilTheNextRecord(t *testing.T) {
	nodes := []cluster.Node{node("a", 2, 0), node("b", 2, 1)}
	r := NewRouter(RouterOptions{Config: Defaults(), Members: static(nodes), Every: -1})
	free := func() string {
		var all []string
		for _, s := range r.view().seats {
			all = append(all, fmt.Sprint(s.node.Meta.Name, s.free(s.roomOf(0), false)))
		}
		return strings.Join(all, " ")
	}
	a := r.Route(&Request{}, 1)[0]
	took, refused := a.Ask(), a.Ask()
	if got := free(); got != "a0 b1" {
		t.Errorf("while two are asked: %s", got)
	}
	took(true)
	refused(false)
	if got := free(); got != "a1 b1" {
		t.Errorf("after one was taken: %s", got)
	}
	nodes[0].Capacity.Seq, nodes[0].Capacity.Used = 2, 1
	r.current.Store(nil)
	if got := free(); got != "a1 b1" {
		t.Errorf("after the next record: %s", got)
	}
}

// An idle node sends no records, and must not be passed over for ever because of one hiccup.
func TestRefusalCountsForSomeSeconds(t *testing.T) {
	now := time.Now()
	nodes := []cluster.Node{node("a", 8, 0), node("b", 8, 4)}
	cfg := Defaults()
	r := NewRouter(RouterOptions{Config: cfg, Members: static(nodes), Now: func() time.Time { return now }})
	best := r.Route(&Request{}, 1)[0]
	best.Refused("8 of 8 sessions", now)
	if got := order(r, Request{}); got != "b a" {
		t.Errorf("after a's refusal: %s", got)
	}
	now = now.Add(refusalCounts)
	if got := order(r, Request{}); got != "a b" {
		t.Errorf("some seconds later: %s", got)
	}
	best.Refused("8 of 8 sessions", now)
	nodes[0].Capacity.Seq++
	r.current.Store(nil)
	if got := order(r, Request{}); got != "a b" {
		t.Errorf("after a's next record: %s", got)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"strategy":         func(c *Config) { c.Strategy = "best" },
		"weights.distance": func(c *Config) { c.Weights.Distance = -1 },
		"weights.home":     func(c *Config) { c.Weights.Home = 1e9 },
		"encoder":          func(c *Config) { c.Encoder = "software" },
		"weights.fit":      func(c *Config) { c.Weights.Fit = 2000 },
		"policies[1]":      func(c *Config) { c.Policies = []Policy{{Regions: []string{"eu"}}, {Users: []string{"ada"}}} },
	} {
		c := Defaults()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if err := Defaults().Check(); err != nil {
		t.Error(err)
	}
}

func TestTopKeepsTheBest(t *testing.T) {
	best := top{most: 3}
	for i, score := range []float64{1, 5, 3, 5, 2, 9, 0} {
		best.offer(int32(i), score)
	}
	var got []int32
	for _, e := range best.entries[:best.n] {
		got = append(got, e.seat)
	}
	if !slices.Equal(got, []int32{5, 1, 3}) {
		t.Errorf("kept %v", got)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, size := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint("nodes=", size), func(b *testing.B) {
			r := NewRouter(RouterOptions{Config: Defaults(), Members: static(world(size))})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				req := Request{
					User: "ada", Key: "default", Image: "gimp", Class: "none", Homes: []string{"n17"},
					Place: cluster.Place{Latitude: 48.9, Longitude: 2.3}, Pings: map[string]float64{"n3": 12, "n4": 18, "n5": 30},
				}
				for pb.Next() {
					if len(r.Route(&req, 5)) == 0 {
						b.Error("no candidate")
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
		})
	}
}

func BenchmarkView(b *testing.B) {
	for _, size := range []int{10, 1000, 5000} {
		b.Run(fmt.Sprint("nodes=", size), func(b *testing.B) {
			r := NewRouter(RouterOptions{Config: Defaults(), Members: static(world(size))})
			b.ReportAllocs()
			for b.Loop() {
				r.current.Store(nil)
				r.view()
			}
		})
	}
}

// world is nodes at sixty places all over it.
func world(size int) []cluster.Node {
	var nodes []cluster.Node
	for i := range size {
		nodes = append(nodes, node(fmt.Sprint("n", i), 32, i%33,
			region(fmt.Sprint("region", i%12)), at(float32(i%60-30), float32(i%60*6-180)), busy(float32(i%10)/10),
			class("none", 32, i%33), warm("ready", i%3), warm("desktop", i%2)))
	}
	return nodes
}

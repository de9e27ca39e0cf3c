package warmth

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/cluster"
)

// Fleet is the nodes, and the way to tell one how many warm sessions to keep.
type Fleet interface {
	Nodes() []cluster.Node
	SetPool(ctx context.Context, node cluster.Meta, req *easelv1.SetPoolRequest) error
}

// Keeper tells the nodes their parts, on the coordinator that leads.
type Keeper struct {
	Book   *Book
	Fleet  Fleet
	Leads  func() bool // whether this coordinator does what one must do for all
	Log    *slog.Logger
	Wanted *prometheus.GaugeVec // by kind

	told map[string]told // by node
}

type told struct {
	req *easelv1.SetPoolRequest
	at  time.Time
}

// How often.
const (
	every      = 30 * time.Second
	soon       = 3 * time.Second // when a node was not reached
	glance     = 500 * time.Millisecond
	again      = 30 * time.Minute // an unchanged wish is told again: the node may have been installed anew
	pruneEvery = 6 * time.Hour
	atOnce     = 16              // nodes that are told at the same time
	lastWrite  = 3 * time.Second // what the end of the daemon may take
)

// NewWanted registers the gauge of a Keeper.
func NewWanted(r prometheus.Registerer) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "easel_warm_wanted", Help: "Warm sessions that policies want in the whole cluster, by kind; told by the coordinator that leads.",
	}, []string{"kind"})
	r.MustRegister(g)
	return g
}

// Run keeps what arrives, and tells nodes, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	k.told = map[string]told{}
	var pruned time.Time
	failures := 0 // rounds in a row in which a node was not reached
	for {
		now, seen := time.Now(), k.look()
		if err := k.Book.Write(ctx, now); err != nil && ctx.Err() == nil {
			k.Log.Warn("what was asked for is kept in memory for now", "error", err)
		}
		pause := every
		if seen.leads {
			all, err := k.step(ctx, now)
			if err != nil && ctx.Err() == nil {
				k.Log.Warn("nodes keep the warm sessions that they were told of before", "error", err)
			}
			if failures++; all {
				failures = 0
			} else {
				pause = min(soon<<min(failures-1, 8), every)
			}
			if now.Sub(pruned) > pruneEvery {
				pruned = now
				if err := k.Book.Prune(ctx, now); err != nil && ctx.Err() == nil {
					k.Log.Warn("old arrivals stay in the state", "error", err)
				}
			}
		} else {
			clear(k.told) // another one tells them: what it said is not known here
		}
		if !k.rest(ctx, pause, seen) {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
			defer cancel()
			if err := k.Book.Write(last, time.Now()); err != nil {
				k.Log.Warn("some of what was asked for is forgotten", "error", err)
			}
			return nil
		}
	}
}

// outset is by what a round goes.
type outset struct {
	leads    bool
	policies []Policy
	err      error
}

func (k *Keeper) look() outset {
	policies, err := k.Book.Policies()
	return outset{k.Leads(), policies, err}
}

// differs tells whether another round would be about something else.
func (o outset) differs(before outset) bool {
	return o.leads != before.leads || o.err == nil && before.err == nil && !reflect.DeepEqual(o.policies, before.policies)
}

// rest waits for pause, or until what the last round went by is so no longer; it returns false when ctx has ended.
func (k *Keeper) rest(ctx context.Context, pause time.Duration, before outset) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		changed := k.Book.Changed()
		if k.look().differs(before) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
		}
		select { // the state changes often, and mostly for others
		case <-ctx.Done():
			return false
		case <-time.After(glance):
		}
	}
}

// step tells every node whose part has changed, or was told long ago. It returns false when one was not reached.
func (k *Keeper) step(ctx context.Context, now time.Time) (all bool, err error) {
	nodes := slices.DeleteFunc(slices.Clone(k.Fleet.Nodes()), func(n cluster.Node) bool { return n.Meta.Role != cluster.RoleNode })
	requests, err := k.plan(nodes, now)
	if err != nil || requests == nil {
		return err == nil, err
	}
	seen, due := map[string]bool{}, []cluster.Meta(nil)
	for _, n := range nodes {
		seen[n.Meta.Name] = true
		last := k.told[n.Meta.Name]
		if !n.Suspect && (!proto.Equal(last.req, requests[n.Meta.Name]) || now.Sub(last.at) >= again) {
			due = append(due, n.Meta)
		}
	}
	for name := range k.told {
		if !seen[name] {
			delete(k.told, name)
		}
	}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	reached := 0
	for _, node := range due {
		group.Go(func() error {
			req := requests[node.Name]
			err := k.Fleet.SetPool(ctx, node, req)
			if connect.CodeOf(err) == connect.CodeUnimplemented {
				err = nil // a noded of before: it keeps no warm sessions
			}
			if err != nil {
				if ctx.Err() == nil {
					k.Log.Info("a node was not told its warm sessions", "node", node.Name, "error", err)
				}
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			k.told[node.Name] = told{req, now}
			reached++
			return nil
		})
	}
	_ = group.Wait() // each says for itself what went wrong
	return reached == len(due), nil
}

// plan is what each node is to be told. Without any policy that is to follow its own configuration, and nothing where there never was one.
func (k *Keeper) plan(nodes []cluster.Node, now time.Time) (map[string]*easelv1.SetPoolRequest, error) {
	policies, err := k.Book.Policies()
	if err != nil {
		return nil, err
	}
	if len(policies) == 0 {
		if ever, err := k.Book.everSet(); err != nil || !ever {
			return nil, err
		}
	}
	requests := map[string]*easelv1.SetPoolRequest{}
	for _, n := range nodes {
		requests[n.Meta.Name] = &easelv1.SetPoolRequest{Own: len(policies) == 0}
	}
	var total Want
	given := map[string]int{} // to nodes
	for _, p := range policies {
		h, err := k.Book.history(p.Image, p.Class)
		if err != nil {
			return nil, err
		}
		want := p.Wants(h, now)
		total.Ready, total.Desktop = total.Ready+want.Ready, total.Desktop+want.Desktop
		fit, regions := places(nodes, p.Image, p.Class, given), h.regions()
		for _, kind := range []struct {
			name string
			n    int
		}{{"desktop", want.Desktop}, {"ready", want.Ready}} {
			parts := divide(kind.n, fit, regions)
			for i := range fit {
				n := parts[fit[i].name]
				fit[i].room -= n // the other kind takes what is left
				given[fit[i].name] += n
				if n == 0 {
					continue
				}
				req := requests[fit[i].name]
				req.Pools = append(req.Pools, &easelv1.Pool{Image: p.Image, Class: className(p.Class), Kind: kind.name, Want: uint32(n)})
			}
		}
	}
	k.Wanted.WithLabelValues("ready").Set(float64(total.Ready))
	k.Wanted.WithLabelValues("desktop").Set(float64(total.Desktop))
	return requests, nil
}

// Wants is how many warm sessions the policy wants at a time, by what was asked for before.
func (p Policy) Wants(h history, now time.Time) Want {
	if p.Mode != Forecast {
		return p.scheduled(now)
	}
	zone, err := p.location()
	if err != nil {
		zone = time.UTC
	}
	miss := p.Miss
	if miss == 0 {
		miss = usualMiss
	}
	s := h.series(now)
	n := max(s.forecast(now, zone, miss), p.Min)
	if p.Max > 0 {
		n = min(n, p.Max)
	}
	ready := int(math.Round(float64(n) * h.readyShare()))
	return Want{Ready: ready, Desktop: n - ready}
}

// Standing is a policy and what it wants now.
type Standing struct {
	Policy
	Now Want `json:"now"`
}

// Standings returns every policy with what it wants now.
func (b *Book) Standings(now time.Time) ([]Standing, error) {
	policies, err := b.Policies()
	if err != nil {
		return nil, err
	}
	var all []Standing
	for _, p := range policies {
		h, err := b.history(p.Image, p.Class)
		if err != nil {
			return nil, fmt.Errorf("policy of %q: %w", p.Image, err)
		}
		all = append(all, Standing{p, p.Wants(h, now)})
	}
	return all, nil
}

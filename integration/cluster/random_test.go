package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/integration/devstack"
)

// usualChaos is how long the random run of every test run lasts; CHAOS_TIME says otherwise.
const usualChaos = 90 * time.Second

// stuckFor is how long a disk is stuck.
const stuckFor = 5 * time.Second

// TestRandomFaults lets artists come and go while faults of all kinds befall the cluster, some at once. Every round ends whole: then no
// session lives twice, none is lost that should live, and nothing is left behind. CHAOS_SEED repeats the schedule of another run.
func TestRandomFaults(t *testing.T) {
	limit, seed := chaosSettings(t)
	c := get(t)
	run := &chaos{c: c, t: t, random: rand.New(rand.NewPCG(seed, 0)), began: time.Now()}
	t.Logf("CHAOS_SEED=%d CHAOS_TIME=%s", seed, limit)
	var err error
	if run.points, err = c.failpoints(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		run.crowd = append(run.crowd, &visitor{c: c, name: fmt.Sprintf("chaos%d", i), random: rand.New(rand.NewPCG(seed, uint64(i+1))), has: map[string]held{}})
	}
	for time.Since(run.began) < limit {
		if err := run.round(t.Context()); err != nil {
			t.Fatalf("%v\nrepeat with CHAOS_SEED=%d; what happened:\n%s", err, seed, strings.Join(run.history, "\n"))
		}
	}
	t.Logf("%d rounds, %d faults, %d requests\n%s", run.rounds, run.faults, run.requests(), strings.Join(run.history, "\n"))
}

func chaosSettings(t *testing.T) (limit time.Duration, seed uint64) {
	t.Helper()
	limit, seed = usualChaos, uint64(time.Now().UnixNano()%1_000_000)
	var err error
	if text := os.Getenv("CHAOS_TIME"); text != "" {
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatalf("CHAOS_TIME: %v", err)
		}
	}
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	return limit, seed
}

// chaos is one random run.
type chaos struct {
	c       *Cluster
	t       *testing.T
	random  *rand.Rand
	began   time.Time
	points  []string // noded's failpoints
	armed   []*Node  // that have a failpoint set
	crowd   []*visitor
	history []string
	rounds  int
	faults  int
}

// fault is one thing that goes wrong. What it draws at random it draws when it is chosen, so that the schedule depends on the seed alone.
type fault struct {
	name string
	do   func(ctx context.Context) error
	// node, if not nil, is the one whose sessions may be given up meanwhile; dead says that they cannot live on.
	node *Node
	dead bool
}

func (r *chaos) note(format string, args ...any) {
	line := fmt.Sprintf("%6.1fs  ", time.Since(r.began).Seconds()) + fmt.Sprintf(format, args...)
	r.history = append(r.history, line)
	if os.Getenv("CHAOS_TIME") != "" {
		r.t.Log(line) // a long run is watched
	}
}

func (r *chaos) requests() (n int) {
	for _, v := range r.crowd {
		n += v.requests
	}
	return n
}

// round breaks one or two things while artists work, mends them, and looks.
func (r *chaos) round(ctx context.Context) error {
	r.rounds++
	chosen := []fault{r.choose()}
	if r.random.IntN(2) == 0 {
		chosen = append(chosen, r.choose())
	}
	before, between, after := r.pause(500), r.pause(2000), time.Second+r.pause(4000)

	working, stop := context.WithCancel(ctx)
	results := make([]error, len(r.crowd))
	var work sync.WaitGroup
	for i, v := range r.crowd {
		work.Go(func() { results[i] = v.work(working, ctx) })
	}
	var errs []error
	wait(ctx, before)
	for i, f := range chosen {
		if i > 0 {
			wait(ctx, between)
		}
		r.note("%s", f.name)
		r.faults++
		if err := f.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	wait(ctx, after)
	stop()
	r.note("healing")
	errs = append(errs, r.heal(ctx))
	work.Wait()
	r.note("checking")
	errs = append(errs, results...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.check(ctx, chosen)
}

func (r *chaos) pause(most int) time.Duration {
	return time.Duration(r.random.IntN(most)) * time.Millisecond
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (r *chaos) heal(ctx context.Context) error {
	for _, n := range r.c.Nodes {
		n.Noded.Launch = r.c.launch(n.at)
	}
	for _, n := range r.armed {
		if err := n.Noded.Kill(); err != nil { // it may not have come by its failpoint, and would when all is looked at
			return err
		}
	}
	r.armed = nil
	return r.c.Heal(ctx)
}

// check looks whether what must hold does, now that the cluster is whole.
func (r *chaos) check(ctx context.Context, chosen []fault) error {
	if err := r.c.CheckTwins(ctx); err != nil {
		return err
	}
	if err := r.c.CheckLeaks(ctx); err != nil {
		return err
	}
	dead := map[string]bool{}
	for _, f := range chosen {
		if f.dead {
			dead[f.node.name] = true
		}
	}
	for _, v := range r.crowd {
		if err := v.check(ctx, dead); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// choose draws the next fault.
func (r *chaos) choose() fault {
	c := r.c
	n := c.Nodes[r.random.IntN(len(c.Nodes))]
	k := c.Coordinators[r.random.IntN(len(c.Coordinators))]
	percent := 2 + r.random.IntN(20)
	point := r.points[r.random.IntN(len(r.points))]
	skew := time.Duration(r.random.IntN(41)-20) * time.Second
	delay := r.pause(1500)
	restart := func(p *devstack.Process, env ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := p.Kill(); err != nil {
				return err
			}
			wait(ctx, delay)
			// What it needs may be broken too: then the healing starts it, and tells when it cannot.
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_ = p.Start(limited, env...)
			return nil
		}
	}
	all := []fault{
		{name: "kill -9 noded of " + n.name, do: restart(n.Noded)},
		{name: "kill -9 containerd of " + n.name, do: restart(n.Containerd)},
		{name: fmt.Sprintf("noded of %s dies at %s", n.name, point), do: func(ctx context.Context) error {
			r.armed = append(r.armed, n)
			return restart(n.Noded, "EASEL_FAILPOINTS="+point+"=kill")(ctx)
		}},
		{name: "SIGSTOP containerd of " + n.name, do: func(context.Context) error { return hang(n.Containerd) }},
		{name: "SIGSTOP noded of " + n.name, do: func(context.Context) error { return hang(n.Noded) }},
		{name: "power cut of " + n.name, node: n, dead: true, do: func(ctx context.Context) error { return c.PullPlug(ctx, n) }},
		{name: "network of " + n.name + " cut", do: func(ctx context.Context) error { return c.Partition(ctx, []*place{n.at}) }},
		{name: "network of " + n.name + " to the coordinators cut", do: func(ctx context.Context) error {
			return n.at.filter(ctx, rules{cut: c.coordinatorAddresses()})
		}},
		{name: fmt.Sprintf("%s loses %d %% of packets", n.name, percent), do: func(ctx context.Context) error { return c.Lose(ctx, n.at, percent) }},
		{name: "kill -9 " + k.name, do: restart(k.Process)},
		{name: "SIGSTOP " + k.name, do: func(context.Context) error { return hang(k.Process) }},
		{name: "network of " + k.name + " cut", do: func(ctx context.Context) error { return c.Partition(ctx, []*place{k.at}) }},
		{name: fmt.Sprintf("%s loses %d %% of packets", k.name, percent), do: func(ctx context.Context) error { return c.Lose(ctx, k.at, percent) }},
		{name: "disk of " + n.name + " full", do: func(context.Context) error { return n.disk.fill() }},
		{name: "disk of " + n.name + " stuck", do: func(context.Context) error {
			// Not for ever: who waits for it, this test too, could not even be killed.
			time.AfterFunc(stuckFor, func() { _ = n.disk.thaw() })
			return n.disk.freeze()
		}},
		{name: fmt.Sprintf("clock of noded on %s off by %s", n.name, skew), do: func(ctx context.Context) error {
			n.Noded.Launch = skewed(n.at, skew)
			return restart(n.Noded)(ctx)
		}},
	}
	return all[r.random.IntN(len(all))]
}

// failpoints are the places at which noded can be told to die.
func (c *Cluster) failpoints(ctx context.Context) ([]string, error) {
	out, err := run(ctx, c.artist, c.Nodes[0].Noded.Path, "failpoints")
	points := strings.Fields(out)
	if err == nil && len(points) < 20 {
		err = fmt.Errorf("noded names only %q", points)
	}
	return points, err
}

func (c *Cluster) coordinatorAddresses() (all []string) {
	for _, k := range c.Coordinators {
		all = append(all, k.at.ip)
	}
	return all
}

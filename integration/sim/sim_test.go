package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// The defaults are what every test run can afford; `make bench-sim` has larger ones.
var (
	nodes    = flag.Int("nodes", 100, "nodes of the simulated cluster")
	sessions = flag.Int("sessions", 1000, "sessions that artists ask for")
	seed     = flag.Uint64("seed", 1, "seed of the simulation")
)

// realSeconds is the machine's own clock, which a bubble hides.
func realSeconds() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

// memory is what the process takes, in GiB.
func memory() float64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return float64(m[0].Value.Uint64()-m[1].Value.Uint64()) / (1 << 30)
}

// What a simulation was measured to keep in memory: every member knows every other.
const (
	bytesAPair   = 560
	bytesAMember = 128 << 10
)

// checkMemory refuses a simulation that this machine cannot hold, and makes the collector keep within what it has.
func checkMemory(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "MemAvailable:")
	var free int
	if _, err := fmt.Sscan(rest, &free); err != nil {
		t.Fatalf("read /proc/meminfo: %v", err)
	}
	limit := free << 10 / 8 * 7
	// The collector needs some room to work in.
	if need := *nodes * (*nodes*bytesAPair + bytesAMember); need > limit/8*7 {
		t.Fatalf("%d nodes take about %d GiB of memory, and %d GiB are free; simulate fewer (SIM_NODES)", *nodes, need>>30, free>>20)
	}
	debug.SetMemoryLimit(min(int64(limit), debug.SetMemoryLimit(-1))) // GOMEMLIMIT may want less
}

// TestCluster takes a cluster through a day's mishaps in some minutes of virtual time, and prints what it measured.
func TestCluster(t *testing.T) {
	checkMemory(t)
	synctest.Test(t, func(t *testing.T) {
		began, real := time.Now(), realSeconds()
		say := func(format string, args ...any) {
			fmt.Fprintf(os.Stdout, "%7.1f s virtual %6.0f s real %5.1f GiB  %s\n", time.Since(began).Seconds(), realSeconds()-real, memory(), fmt.Sprintf(format, args...))
		}
		say("%d nodes, 3 coordinators, seed %d", *nodes, *seed)
		s, err := New(t.Context(), Options{Nodes: *nodes, Coordinators: 3, Seed: *seed, Log: say})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			say("closed")
		}()
		say("the cluster stands")
		(&day{t: t, Sim: s, say: say}).live()
	})
}

// day is one simulation on its way.
type day struct {
	t *testing.T
	*Sim
	say  func(format string, args ...any)
	calm time.Time // when every node that has changed may gossip at once again
}

// changed notes that nodes have gossiped at a time: cluster's pace is a tenth of a second for each member.
func (d *day) changed(at time.Time) { d.calm = at.Add(time.Duration(len(d.Nodes)/10) * time.Second) }

func (d *day) live() {
	d.changed(d.joined)
	traffic := d.Traffic(30 * time.Second)
	d.say("at rest, bytes a second: a node %v; a coordinator %v", traffic.Node, traffic.Coordinator)
	for _, loss := range []float64{.01, .05} {
		d.Network.SetLoss(loss)
		d.lossy(loss)
	}
	d.Network.SetLoss(.01)
	d.cutOff(4) // us-west, where no coordinator is
	wrong := d.Distances()
	d.say("coordinates: estimated round trips are wrong by %v of the true ones", wrong)
	if len(wrong) < len(d.Nodes) || wrong.At(.5) > .3 {
		d.t.Errorf("%d estimates of round trips, half of them wrong by more than %.2g", len(wrong), wrong.At(.5))
	}
}

func (d *day) lossy(loss float64) {
	time.Sleep(time.Until(d.calm)) // until nodes that changed would gossip at once again
	c := d.Converge(10)
	d.say("%g %% loss: a change is seen, in seconds, by half the members %v; by 99 %% %v; by all %v; by all coordinators %v", 100*loss, c.Half, c.Most, c.All, c.Coordinators)
	if c.Most.At(.5) > 1 || c.Coordinators.At(.5) > 1 {
		d.t.Errorf("a change took %.2g s to 99 %% of the members, %.2g s to the coordinators", c.Most.At(.5), c.Coordinators.At(.5))
	}
	p := d.Place(d.t.Context(), *sessions/2, float64(*sessions)/100, -1)
	d.changed(time.Now())
	d.placed(fmt.Sprintf("%g %% loss", 100*loss), p, .02)
	if p.Failed > 0 {
		d.t.Errorf("%d of %d sessions were not placed", p.Failed, *sessions/2)
	}
	w := d.Watch(time.Minute)
	d.say("%g %% loss: living nodes were missing in a coordinator's view %d times in a minute, %v together", 100*loss, w.Times, w.Gone)
	if w.Times > len(d.Nodes)/100+1 {
		d.t.Errorf("living nodes were taken for lost %d times", w.Times)
	}
	lost := d.Lose(min(max(3, len(d.Nodes)/100), 20))
	d.say("%g %% loss: a lost node is out of all views in seconds: %v", 100*loss, lost)
	if lost.At(1) > 5 {
		d.t.Errorf("a lost node was in a view for %.3g s", lost.At(1))
	}
}

func (d *day) placed(when string, p *Placements, retries float64) {
	d.say("%s: %d sessions placed, %d not; %d stale-view retries (%.2g %%), %d unanswered; in ms %v; round trip chosen %v ms, beyond the best possible %v ms",
		when, p.Placed, p.Failed, p.Refusals, 100*float64(p.Refusals)/float64(max(1, p.Placed)), p.Silences, p.Took, p.Chosen, p.Beyond)
	if p.Double > 0 {
		d.t.Errorf("nodes hold %d sessions more than they have room for", p.Double)
	}
	d.say("%s: %d of the sessions have a GPU", when, p.GPUs)
	if p.Unasked > 0 || p.GPUs == 0 {
		d.t.Errorf("of %d sessions with a GPU %d have a picture that the CPU encodes though they did not ask for it", p.GPUs, p.Unasked)
	}
	if float64(p.Refusals) > retries*float64(p.Placed)+1 {
		d.t.Errorf("%d stale-view retries for %d sessions", p.Refusals, p.Placed)
	}
}

// cutOff takes a region off the others for half a minute. Artists elsewhere notice nothing but the time that the
// first of them wait for nodes that do not answer.
func (d *day) cutOff(region int) {
	var beyond []*Node
	for _, n := range d.Nodes {
		if n.Spot.Region == region && !n.dead.Load() {
			beyond = append(beyond, n)
		}
	}
	seen := func() (sum int) {
		for _, c := range d.Coordinators {
			for _, n := range beyond {
				if _, ok := c.Gossip.Node(n.Name); ok {
					sum++
				}
			}
		}
		return sum
	}
	d.Network.Cut(region, true)
	out := make(chan float64, 1)
	d.wg.Go(func() {
		took, _ := d.await(func() bool { return seen() == 0 }, 20*time.Millisecond, time.Minute)
		out <- took.Seconds()
	})
	p := d.Place(d.t.Context(), *sessions/10, float64(*sessions)/300, region)
	took := <-out
	d.placed("a region cut off", p, .05) // what is left is nearly full: coordinators race for the last rooms
	if p.Failed > 0 {
		d.t.Errorf("%d sessions were not placed while a region was cut off", p.Failed)
	}
	d.Network.Cut(region, false)
	healed, whole := d.await(func() bool { return seen() == len(d.Coordinators)*len(beyond) }, 100*time.Millisecond, 3*time.Minute)
	d.say("a region with %d nodes cut off: out of all views in %.3g s; back in all %.3g s after it healed", len(beyond), took, healed.Seconds())
	if took > 5 || !whole {
		d.t.Errorf("the region was in the views for %.3g s, and back in all %v after %v", took, whole, healed)
	}
}

package warmth

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var writeTraces = flag.Bool("write-traces", false, "write testdata/*.trace anew")

// traceBegin is a Monday, 00:00 UTC.
var traceBegin = time.Date(2026, 9, 7, 0, 0, 0, 0, time.UTC)

// readTrace returns when sessions were asked for.
func readTrace(t testing.TB, name string) []time.Time {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".trace"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []time.Time
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
		all = append(all, traceBegin.Add(time.Duration(n)*time.Second))
	}
	return all
}

// generators make the traces: where people's habits are known and single arrivals are not.
var generators = map[string]struct {
	about string
	make  func(r *rand.Rand, add func(day int, hour float64))
}{
	"studio": {
		"25 illustrators: in the morning, after lunch, now and then between; a few on weekends; one in four days somebody stays away",
		func(r *rand.Rand, add func(int, float64)) {
			var habit [25]float64
			for i := range habit {
				habit[i] = 8.6 + 0.35*r.NormFloat64()
			}
			for day := range 35 {
				weekend := day%7 >= 5
				for _, h := range habit {
					if weekend && r.Float64() > 0.08 || !weekend && r.Float64() > 0.78 {
						continue
					}
					start := h + 0.2*r.NormFloat64()
					if weekend {
						start += 2
					}
					add(day, start)
					if r.Float64() < 0.7 {
						add(day, 13+0.25*r.NormFloat64())
					}
					for r.Float64() < 0.35 {
						add(day, start+1+6*r.Float64())
					}
				}
			}
		},
	},
	"school": {
		"courses of 16 to 24 on Monday and Wednesday at 10 and 14, Tuesday and Thursday at 9; homework in the evenings; the fourth Wednesday is a holiday",
		func(r *rand.Rand, add func(int, float64)) {
			course := func(day int, hour float64, size int) {
				for range size {
					if r.Float64() < 0.9 {
						add(day, hour-0.02+0.05*r.NormFloat64())
					}
				}
			}
			for day := range 35 {
				if day != 23 {
					switch day % 7 {
					case 0, 2:
						course(day, 10, 22)
						course(day, 14, 16)
					case 1, 3:
						course(day, 9, 24)
					}
				}
				for range poisson(r, 5) {
					add(day, 18+4*r.Float64())
				}
			}
		},
	},
	"public": {
		"an open site: few at night, most in the evening, more on weekends, three in a hundred more each week; on one evening a well-known artist links to it",
		func(r *rand.Rand, add func(int, float64)) {
			for day := range 35 {
				scale := math.Pow(1.03, float64(day)/7)
				if day%7 >= 5 {
					scale *= 1.5
				}
				for hour := range 24 {
					rate := 1.2 + 5*math.Pow(math.Max(0, math.Sin(math.Pi*float64(hour-7)/17)), 2)
					if day == 24 && hour >= 19 && hour <= 21 {
						rate *= 5
					}
					for range poisson(r, rate*scale) {
						add(day, float64(hour)+r.Float64())
					}
				}
			}
		},
	},
}

func poisson(r *rand.Rand, mean float64) int {
	n, p := 0, math.Exp(-mean)
	for u := r.Float64(); u > p; n++ {
		u *= r.Float64()
	}
	return n
}

func TestTracesAreAsTheirGeneratorsMakeThem(t *testing.T) {
	for name, g := range generators {
		r := rand.New(rand.NewPCG(7, uint64(len(name))))
		var at []int
		g.make(r, func(day int, hour float64) {
			at = append(at, day*86400+int(min(max(hour, 0), 23.999)*3600))
		})
		slices.Sort(at)
		var b strings.Builder
		fmt.Fprintf(&b, "# Sessions asked for within five weeks, in seconds from Monday 00:00; made by traces_test.go --write-traces.\n# %s\n", g.about)
		for _, s := range at {
			fmt.Fprintln(&b, s)
		}
		file := filepath.Join("testdata", name+".trace")
		if *writeTraces {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil || string(text) != b.String() {
			t.Errorf("%s differs from what its generator makes (%v): go test -run Traces ./coordinator/warmth --write-traces", file, err)
		}
	}
}

// outcome is what a way of keeping warm sessions costs and is worth.
type outcome struct {
	cold      int
	idleHours float64
}

// Of the simulated fleet, as noded/pool keeps warm sessions.
const (
	simNodes  = 3
	simRise   = 5 * time.Second  // from a warm session's begin until it can be claimed; nodes begin one at a time
	simCalm   = 10 * time.Second // after somebody has come to a node, it begins none
	simUpdate = time.Minute      // of the wish
	simLearn  = 14               // days before anything is counted
)

type simNode struct {
	wish, warm int
	up         time.Time // when the one that rises is up; zero when none does
	calm       time.Time // until when it begins none
}

// replay runs a trace, with want asked how many warm sessions there should be.
func replay(trace []time.Time, want func(now time.Time) int, arrived func(time.Time)) (o outcome) {
	var nodes [simNodes]simNode
	end := traceBegin.AddDate(0, 0, 35)
	const tick = time.Second
	for now, step := traceBegin, tick; now.Before(end); now = now.Add(step) {
		counted := now.Sub(traceBegin) >= simLearn*24*time.Hour
		if now.Sub(traceBegin)%simUpdate == 0 {
			wish := want(now)
			for i := range nodes {
				nodes[i].wish = (wish + simNodes - 1 - i) / simNodes
			}
		}
		for ; len(trace) > 0 && trace[0].Before(now.Add(tick)); trace = trace[1:] {
			arrived(trace[0])
			best := &nodes[0]
			for i := range nodes {
				if nodes[i].warm > best.warm || nodes[i].warm == best.warm && nodes[i].calm.Before(best.calm) {
					best = &nodes[i]
				}
			}
			best.calm = now.Add(simCalm)
			if best.warm > 0 {
				best.warm--
			} else if counted {
				o.cold++
			}
		}
		for i := range nodes {
			n := &nodes[i]
			switch {
			case !n.up.IsZero() && !n.up.After(now):
				n.up = time.Time{}
				n.warm++
			case n.up.IsZero() && n.warm < n.wish && !n.calm.After(now):
				n.up = now.Add(simRise)
			}
			n.warm = min(n.warm, n.wish)
		}
		step = tick
		if quiet(nodes[:]) { // on to the next thing that happens
			step = simUpdate - now.Sub(traceBegin)%simUpdate
			if len(trace) > 0 {
				step = min(step, max(tick, trace[0].Sub(now)))
			}
		}
		for _, n := range nodes {
			if counted {
				o.idleHours += float64(n.warm) * step.Hours()
			}
		}
	}
	return o
}

func quiet(nodes []simNode) bool {
	return !slices.ContainsFunc(nodes, func(n simNode) bool { return !n.up.IsZero() || n.warm < n.wish })
}

func replayForecast(trace []time.Time, miss float64) outcome {
	h := &series{begin: slotOf(trace[0])}
	return replay(trace,
		func(now time.Time) int { return h.forecast(now, time.UTC, miss) },
		func(at time.Time) { h.add(slotOf(at), 1) })
}

func replayFixed(trace []time.Time, n int) outcome {
	return replay(trace, func(time.Time) int { return n }, func(time.Time) {})
}

// TestForecastBeatsTheFixedBuffer: on every trace, whatever fixed number keeps no more warm sessions idle than the forecast lets more people wait.
func TestForecastBeatsTheFixedBuffer(t *testing.T) {
	for name := range generators {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trace := readTrace(t, name)
			total := 0
			for _, at := range trace {
				if at.Sub(traceBegin) >= simLearn*24*time.Hour {
					total++
				}
			}
			f := replayForecast(trace, usualMiss)
			t.Logf("forecast: %d cold starts of %d, %.0f warm session-hours idle", f.cold, total, f.idleHours)
			for n := range 40 {
				b := replayFixed(trace, n)
				t.Logf("a fixed buffer of %d: %d cold starts, %.0f hours", n, b.cold, b.idleHours)
				if b.idleHours <= f.idleHours && b.cold <= f.cold {
					t.Errorf("a fixed buffer of %d is no worse than the forecast", n)
				}
				if b.cold <= f.cold {
					t.Logf("the forecast has no more cold starts for %.0f %% of its idle hours", 100*f.idleHours/b.idleHours)
					break
				}
			}
		})
	}
}

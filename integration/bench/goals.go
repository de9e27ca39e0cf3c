package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"easel/integration/xclient"
)

// goal is one number to reach.
type goal struct {
	what    string
	reached float64
	limit   float64
	rule    rule
	unit    string
}

// rule is how a number is held to its limit.
type rule string

const (
	atMost  rule = "≤"
	atLeast rule = "≥"
	below   rule = "<"
)

func (g goal) ok() bool {
	switch g.rule {
	case atLeast:
		return g.reached >= g.limit
	case below:
		return g.reached < g.limit
	}
	return g.reached <= g.limit
}

// goals are those of Easel; the ones that compare need the other's results, nil when it was not measured.
func goals(e, other *Result) []goal {
	g := clickGoals(e, other)
	add := func(measured bool, more ...goal) {
		if measured {
			g = append(g, more...)
		}
	}
	for _, m := range []struct {
		kind            xclient.Kind
		shown, age, cpu float64 // cpu 0: whatever it takes
	}{{xclient.Paint, 59, 8, 0.15}, {xclient.Scroll, 59, 20, 0.8}, {xclient.Noise, 29, 25, 0}} {
		seen, name := e.Play[m.kind], fmt.Sprintf("%s %d Hz", m.kind, m.kind.Rate())
		add(seen.Cores != nil,
			goal{name + " shown", seen.Shown, m.shown, atLeast, "frames/s"},
			goal{name + " age, median", ms(seen.AgeP50), m.age, atMost, "ms"})
		add(seen.Cores != nil && m.cpu > 0, goal{name + " server", total(seen.Cores), m.cpu, atMost, "cores"})
	}
	add(e.IdleCores != nil, goal{"idle session", total(e.IdleCores), 0.005, below, "cores"})
	if e.IdleKBps != nil {
		add(true, goal{"idle page receives", *e.IdleKBps, 0.1, below, "kB/s"})
	}
	add(e.StillGIMP.Luma != 0, goal{"GIMP after painting, after 2 s", e.StillGIMP.Luma, 40, atLeast, "dB luma"})
	add(e.Still.RGB != 0, goal{"still detailed picture after 2 s", e.Still.RGB, math.Inf(1), atLeast, "dB"})
	add(e.Exact.N > 0, goal{"last change → exact, p95", ms(e.Exact.P95), 400, atMost, "ms"})
	add(e.Memory["streamer"] != 0, goal{"streamer and X", float64(e.Memory["streamer"]+e.Memory["Xorg"]) / (1 << 20), 120, atMost, "MB PSS"})
	add(e.Memory != nil, goal{"whole session", float64(total(e.Memory)) / (1 << 20), 300, atMost, "MB PSS"})
	add(e.Starts["window"] != 0, goal{"create → GIMP window", ms(e.Starts["window"]), 4000, atMost, "ms"})
	return g
}

// clickGoals compare clicks, each condition and change with the other's of the same.
func clickGoals(e, other *Result) (g []goal) {
	if other == nil {
		return nil
	}
	parts := map[string]float64{smallChange: 0.6}
	for _, in := range conditions() {
		for _, c := range changes() {
			mine, others := c.of(in.of(e)), c.of(in.of(other))
			if mine.N == 0 || others.N == 0 {
				continue
			}
			part, name := parts[c.name], fmt.Sprintf("click → photon, %s, %s", in.name, c.name)
			if part == 0 {
				part = 0.75
			}
			g = append(g, goal{name + ", part of noVNC's median", ratio(mine.P50, others.P50), part, atMost, "×"})
			if c.name == smallChange {
				g = append(g, goal{name + ", p95 beside noVNC's median", ms(mine.P95), ms(others.P50), below, "ms"})
			}
		}
	}
	return g
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// reportGoals prints the goals when Easel was measured.
func reportGoals(w io.Writer, results []*Result) error {
	e, other := named(results, easelName), named(results, novncName)
	if e == nil {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nTo reach\treached\tgoal\t")
	for _, g := range goals(e, other) {
		verdict := "reached"
		if !g.ok() {
			verdict = "MISS"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s %s %s\t%s\n", g.what, figure(g.reached), g.rule, figure(g.limit), g.unit, verdict)
	}
	return tw.Flush()
}

func figure(v float64) string {
	if math.IsInf(v, 1) { // of likeness
		return "exact"
	}
	return fmt.Sprintf("%.4g", v)
}

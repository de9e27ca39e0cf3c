package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"easel/integration/xclient"
)

// nothing stands for what was not measured.
const nothing = "–"

// report prints the clicks, then what else was measured side by side, the parts of its sums, and each goal with what was
// reached.
func report(w io.Writer, results []*Result) error {
	if err := reportClicks(w, results); err != nil {
		return err
	}
	remote := slices.DeleteFunc(slices.Clone(results), func(r *Result) bool { return r.Name == floorName })
	if err := reportStarts(w, results); err != nil {
		return err
	}
	if err := reportRest(w, remote); err != nil {
		return err
	}
	reportParts(w, remote)
	return reportGoals(w, results)
}

// condition is what the page does while a click is awaited.
type condition struct {
	name string
	of   func(*Result) Clicks
}

func conditions() []condition {
	return []condition{
		{"page at rest", func(r *Result) Clicks { return r.AtRest }},
		{"page animating", func(r *Result) Clicks { return r.Animating }},
	}
}

// change is what a click changes.
type change struct {
	name string
	of   func(Clicks) Quantiles
}

// smallChange is the one that a hand at work makes; it is held to more than the others.
const smallChange = "200×200"

func changes() []change {
	return []change{
		{smallChange, func(c Clicks) Quantiles { return c.Small }},
		{"full screen", func(c Clicks) Quantiles { return c.Full }},
		{"photograph", func(c Clicks) Quantiles { return c.Photo }},
	}
}

// reportClicks prints a row for each target in each condition.
func reportClicks(w io.Writer, results []*Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := "Click → photon, p50/p95 ms"
	for _, c := range changes() {
		head += "\t" + c.name
	}
	any := false
	for _, in := range conditions() {
		for _, r := range results {
			if in.of(r) == (Clicks{}) {
				continue
			}
			if !any {
				fmt.Fprintln(tw, head)
				any = true
			}
			line := in.name + ": " + r.Name
			for _, c := range changes() {
				line += "\t" + c.of(in.of(r)).String()
			}
			fmt.Fprintln(tw, line)
		}
	}
	if any {
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func kinds() []xclient.Kind { return []xclient.Kind{xclient.Paint, xclient.Scroll, xclient.Noise} }

// reportRest prints a column for each target; sums only, their parts follow below.
func reportRest(w io.Writer, results []*Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, cell func(*Result) string) {
		cells := []string{name}
		measured := false
		for _, r := range results {
			cells = append(cells, cell(r))
			measured = measured || cells[len(cells)-1] != nothing
		}
		if measured {
			fmt.Fprintln(tw, strings.Join(cells, "\t"))
		}
	}
	row("1920×1080", func(r *Result) string { return r.Name })
	for _, k := range kinds() {
		row(fmt.Sprintf("%s %d Hz: frames/s shown (drawn)", k, k.Rate()), func(r *Result) string {
			m := r.Play[k]
			if m.Cores == nil {
				return nothing
			}
			return fmt.Sprintf("%.1f (%.1f)", m.Shown, m.Drawn)
		})
		row(fmt.Sprintf("%s %d Hz: age p50/p95 ms", k, k.Rate()), func(r *Result) string {
			m := r.Play[k]
			return Quantiles{N: len(m.Cores), P50: m.AgeP50, P95: m.AgeP95}.String()
		})
		row(fmt.Sprintf("%s %d Hz: server cores", k, k.Rate()), func(r *Result) string { return cores(r.Play[k].Cores) })
	}
	row("pen in GIMP, 60 samples/s: frames/s shown", func(r *Result) string {
		if r.GIMP.Shown == 0 {
			return nothing
		}
		return fmt.Sprintf("%.1f", r.GIMP.Shown)
	})
	row("pen in GIMP: sample → shown, median ms", func(r *Result) string {
		if hand, ok := r.GIMP.Stages["input"]; ok {
			return fmt.Sprintf("%.1f", hand)
		}
		return nothing
	})
	row("pen in GIMP: cores, GIMP's own work among them", func(r *Result) string { return cores(r.GIMP.Cores) })
	row("idle: server cores", func(r *Result) string { return cores(r.IdleCores) })
	row("idle: received, kB/s", func(r *Result) string {
		if r.IdleKBps == nil {
			return nothing
		}
		return fmt.Sprintf("%.2f", *r.IdleKBps)
	})
	row("idle: daemons of all sessions, cores", func(r *Result) string { return cores(r.Daemons) })
	row("still picture after 2 s, dB RGB (luma)", func(r *Result) string { return r.Still.String() })
	row("last change → exact, p50/p95 ms", func(r *Result) string { return r.Exact.String() })
	row("GIMP after painting, after 2 s, dB RGB (luma)", func(r *Result) string { return r.StillGIMP.String() })
	row("memory, MB PSS", func(r *Result) string {
		if r.Memory == nil {
			return nothing
		}
		return fmt.Sprint(total(r.Memory) >> 20)
	})
	return tw.Flush()
}

// reportParts prints what the sums are made of, a line for each, below the table that they would make too wide.
func reportParts(w io.Writer, results []*Result) {
	began := false
	line := func(r *Result, name, parts string) {
		if parts == "" {
			return
		}
		if !began {
			fmt.Fprintln(w)
			began = true
		}
		fmt.Fprintf(w, "%s, %s: %s\n", r.Name, name, parts)
	}
	for _, r := range results {
		for _, k := range kinds() {
			line(r, fmt.Sprintf("%s %d Hz, cores", k, k.Rate()), coreParts(r.Play[k].Cores))
			line(r, fmt.Sprintf("%s %d Hz, stages, median ms", k, k.Rate()), stageParts(r.Play[k].Stages))
		}
		line(r, "pen in GIMP, cores", coreParts(r.GIMP.Cores))
		line(r, "pen in GIMP, stages, median ms", stageParts(r.GIMP.Stages))
		line(r, "idle, cores", coreParts(r.IdleCores))
		line(r, "memory, MB PSS", each(r.Memory, 1<<20, func(v int64) string { return fmt.Sprint(v >> 20) }))
		line(r, "start, ms", starts(r.Starts))
	}
}

func stageParts(stages map[string]float64) string {
	return each(stages, 0, func(v float64) string { return fmt.Sprintf("%.1f", v) })
}

func (q Quantiles) String() string {
	if q.N == 0 {
		return nothing
	}
	return fmt.Sprintf("%.1f/%.1f", ms(q.P50), ms(q.P95))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func total[T int64 | float64](m map[string]T) (sum T) {
	for _, v := range m {
		sum += v
	}
	return sum
}

// each lists the parts of a sum by name, largest first, small ones left out.
func each[T int64 | float64](m map[string]T, least T, format func(T) string) string {
	names := make([]string, 0, len(m))
	for n, v := range m {
		if v >= least {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if m[a] != m[b] {
			if m[a] > m[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		names[i] = n + " " + format(m[n])
	}
	return strings.Join(names, ", ")
}

func cores(m map[string]float64) string {
	switch sum := total(m); {
	case m == nil:
		return nothing
	case sum < 0.005:
		return fmt.Sprintf("%.4f", sum)
	default:
		return fmt.Sprintf("%.2f", sum)
	}
}

func coreParts(m map[string]float64) string {
	return each(m, 0.005, func(v float64) string { return fmt.Sprintf("%.2f", v) })
}

func starts(m map[string]time.Duration) string {
	in := map[string]float64{}
	for n, d := range m {
		in[n] = ms(d)
	}
	return each(in, 0, func(v float64) string { return fmt.Sprintf("%.0f", v) })
}

func (l Likeness) String() string {
	if l == (Likeness{}) {
		return nothing
	}
	return decibel(l.RGB) + " (" + decibel(l.Luma) + ")"
}

func decibel(v float64) string {
	if math.IsInf(v, 1) {
		return "exact"
	}
	return fmt.Sprintf("%.1f", v)
}

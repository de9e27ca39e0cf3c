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

// report prints the results side by side, then each goal with what was reached.
func report(w io.Writer, results []*Result) error {
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
	row("click → photon, 200×200, p50/p95 ms", func(r *Result) string { return r.Click.String() })
	row("click → photon, full screen of one colour, p50/p95 ms", func(r *Result) string { return r.ClickFull.String() })
	row("click → photon, full screen photograph, p50/p95 ms", func(r *Result) string { return r.ClickPhoto.String() })
	for _, k := range []xclient.Kind{xclient.Paint, xclient.Scroll, xclient.Noise} {
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
	for _, k := range []xclient.Kind{xclient.Paint, xclient.Scroll, xclient.Noise} {
		row(fmt.Sprintf("%s %d Hz: stages, median ms", k, k.Rate()), func(r *Result) string {
			return dash(each(r.Stages[k], 0, func(v float64) string { return fmt.Sprintf("%.1f", v) }))
		})
	}
	row("pen in GIMP, 60 samples/s: frames/s shown", func(r *Result) string {
		if r.GIMP.Shown == 0 {
			return nothing
		}
		return fmt.Sprintf("%.1f", r.GIMP.Shown)
	})
	row("pen in GIMP: cores, GIMP's own work among them", func(r *Result) string { return cores(r.GIMP.Cores) })
	row("idle: server cores", func(r *Result) string { return cores(r.IdleCores) })
	row("idle: daemons of all sessions, cores", func(r *Result) string { return cores(r.Daemons) })
	row("still picture after 2 s, dB RGB (luma)", func(r *Result) string { return r.Still.String() })
	row("GIMP after painting, after 2 s, dB RGB (luma)", func(r *Result) string { return r.StillGIMP.String() })
	row("memory, MB PSS", func(r *Result) string { return megabytes(r.Memory) })
	row("start, ms", func(r *Result) string { return starts(r.Starts) })
	if err := tw.Flush(); err != nil {
		return err
	}
	return reportGoals(w, results)
}

func (q Quantiles) String() string {
	if q.N == 0 {
		return nothing
	}
	return fmt.Sprintf("%.1f/%.1f", ms(q.P50), ms(q.P95))
}

func dash(s string) string {
	if s == "" {
		return nothing
	}
	return s
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
	if m == nil {
		return nothing
	}
	parts := each(m, 0.005, func(v float64) string { return fmt.Sprintf("%.2f", v) })
	if parts == "" {
		return fmt.Sprintf("%.4f", total(m))
	}
	return fmt.Sprintf("%.2f (%s)", total(m), parts)
}

func megabytes(m map[string]int64) string {
	if m == nil {
		return nothing
	}
	return fmt.Sprintf("%d (%s)", total(m)>>20, each(m, 1<<20, func(v int64) string { return fmt.Sprint(v >> 20) }))
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

// goal is one number to reach.
type goal struct {
	what    string
	reached float64
	limit   float64
	atLeast bool
	unit    string
}

func (g goal) ok() bool {
	if g.atLeast {
		return g.reached >= g.limit
	}
	return g.reached <= g.limit
}

// goals are those of Easel; the ones that compare need the other's results, nil when it was not measured.
func goals(e, other *Result) []goal {
	var g []goal
	compare := func(what string, of func(*Result) Quantiles) {
		if other != nil && of(e).N > 0 && of(other).N > 0 {
			g = append(g, goal{"click → photon " + what + ", part of noVNC's median", ratio(of(e).P50, of(other).P50), 0.75, false, "×"})
		}
	}
	compare("200×200", func(r *Result) Quantiles { return r.Click })
	compare("full screen of one colour", func(r *Result) Quantiles { return r.ClickFull })
	compare("full screen photograph", func(r *Result) Quantiles { return r.ClickPhoto })
	add := func(measured bool, more ...goal) {
		if measured {
			g = append(g, more...)
		}
	}
	scroll, paint := e.Play[xclient.Scroll], e.Play[xclient.Paint]
	add(scroll.Cores != nil,
		goal{"scroll 60 Hz shown", scroll.Shown, 57, true, "frames/s"},
		goal{"scroll 60 Hz age, median", ms(scroll.AgeP50), 25, false, "ms"},
		goal{"scroll 60 Hz server", total(scroll.Cores), 1, false, "cores"})
	add(paint.Cores != nil, goal{"paint 60 Hz server", total(paint.Cores), 0.6, false, "cores"})
	add(e.IdleCores != nil, goal{"idle session", total(e.IdleCores), 0.01, false, "cores"})
	add(e.StillGIMP.Luma != 0, goal{"GIMP after painting, after 2 s", e.StillGIMP.Luma, 40, true, "dB luma"})
	add(e.Still.Luma != 0, goal{"still detailed picture after 2 s", e.Still.Luma, 40, true, "dB luma"})
	add(e.Memory != nil, goal{"whole session", float64(total(e.Memory)) / (1 << 20), 300, false, "MB PSS"})
	add(e.Starts["window"] != 0, goal{"create → GIMP window", ms(e.Starts["window"]), 4000, false, "ms"})
	return g
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// reportGoals prints the goals when Easel was measured.
func reportGoals(w io.Writer, results []*Result) error {
	var e, other *Result
	for _, r := range results {
		if r.Name == easelName {
			e = r
		} else {
			other = r
		}
	}
	if e == nil {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nTo reach\treached\tgoal\t")
	for _, g := range goals(e, other) {
		sign, verdict := "≤", "pass"
		if g.atLeast {
			sign = "≥"
		}
		if !g.ok() {
			verdict = "MISS"
		}
		fmt.Fprintf(tw, "%s\t%.4g\t%s %.4g %s\t%s\n", g.what, g.reached, sign, g.limit, g.unit, verdict)
	}
	return tw.Flush()
}

package main

import (
	"fmt"
	"io"
	"time"

	"easel/integration/xclient"
)

const layout = "| %-18s | %-20s | %12s | %9s | %16s | %18s | %5s | %10s | %11s |\n"

func header(out io.Writer, kind xclient.Kind) {
	fmt.Fprintf(out, "%s of %dx%d, drawn %d times a second\n\n", kind, screenWidth, screenHeight, kind.Rate())
	fmt.Fprintf(out, layout, "link", "phase", "shown/drawn", "freeze ms", "age p50/p95 ms", "used of Mbit/s", "scale", "exact ms", "connections")
	fmt.Fprintf(out, layout, "---", "---", "---", "---", "---", "---", "---", "---", "---")
}

// rows prints a link's phases. When the picture was exact and how many connections it took belong to the last one.
func rows(out io.Writer, l emulated, phases []seen, exact time.Duration, offers int) {
	for i, s := range phases {
		p, e, n := l.phases[i], "", ""
		switch {
		case l.joins:
			p.name = fmt.Sprintf("first %d ms", s.first.Milliseconds())
		case p.file != "":
			p.name += fmt.Sprintf(", %.1f Mbit/s", s.file/1000)
		case l.again:
			p.name = s.codec
		}
		if i == len(phases)-1 {
			e, n = "never", fmt.Sprint(offers)
			if exact >= 0 {
				e = fmt.Sprint(exact.Milliseconds())
			}
		}
		fmt.Fprintf(out, layout, l.name, p.name, fmt.Sprintf("%d/%d", s.shown, s.drawn), fmt.Sprint(s.freeze.Milliseconds()),
			fmt.Sprintf("%d/%d", s.p50.Milliseconds(), s.p95.Milliseconds()), fmt.Sprintf("%.1f of %.0f", s.used/1000, s.most/1000), fmt.Sprint(s.scale), e, n)
	}
}

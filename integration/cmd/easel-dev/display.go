package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"easel/integration/devstack"
)

// display prints the steps of a start as they go: one line for a quick step, its own lines below it for a long one.
type display struct {
	out io.Writer
	tty bool

	mu sync.Mutex
	// open says that the last thing printed is a step's beginning with no line end, which a terminal may overwrite.
	open  bool
	began time.Time
}

func newDisplay(out io.Writer, tty bool) *display { return &display{out: out, tty: tty} }

func (d *display) show(p devstack.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case p.Done:
		if d.open {
			fmt.Fprint(d.out, "\r\033[K")
		}
		d.open = false
		fmt.Fprintf(d.out, "  ✓ %s (%s)\n", p.Step, brief(p.Took))
	case p.Line != "":
		if d.open {
			fmt.Fprintln(d.out)
		}
		d.open = false
		fmt.Fprintf(d.out, "    %5s  %s\n", brief(time.Since(d.began)), p.Line)
	default:
		d.began = time.Now()
		if d.tty {
			fmt.Fprintf(d.out, "  … %s", p.Step)
			d.open = true
		} else {
			fmt.Fprintf(d.out, "  … %s\n", p.Step)
		}
	}
}

// brief is a duration as a person reads it: 0.4s, 12s, 3m20s.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

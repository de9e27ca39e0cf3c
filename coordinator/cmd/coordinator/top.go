package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"easel/coordinator/api"
	"easel/coordinator/events"
)

// overview is the cluster at a glance.
type overview struct {
	At       time.Time       `json:"at"`
	Nodes    []api.Node      `json:"nodes"`
	Sessions api.SessionList `json:"sessions"`
	Events   []events.Event  `json:"events"`
}

// topEvery is how often the table is drawn anew.
const topEvery = 2 * time.Second

// top is "coordinator top": the cluster at a glance, drawn again and again until it is interrupted.
func top(ctx context.Context, args []string, p process) error {
	c := newCommand("top", p)
	asJSON := c.set.Bool("json", false, "print JSON, once")
	once := c.set.Bool("once", false, "print it once")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	if *asJSON || *once {
		view, err := look(ctx, cfg)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(p.stdout, view)
		}
		return view.draw(p.stdout)
	}
	ticker := time.NewTicker(topEvery)
	defer ticker.Stop()
	for {
		var frame bytes.Buffer
		if view, err := look(ctx, cfg); err != nil {
			fmt.Fprintf(&frame, "%s  %v\n", time.Now().Format(time.TimeOnly), err)
		} else if err := view.draw(&frame); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		// Home, each line cleared to its end, and what was below: nothing flickers.
		lines := strings.ReplaceAll(frame.String(), "\n", "\x1b[K\n")
		if _, err := io.WriteString(p.stdout, "\x1b[H"+lines+"\x1b[J"); err != nil {
			return fmt.Errorf("draw the table: %w", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func look(ctx context.Context, cfg Config) (view overview, err error) {
	view.At = time.Now()
	if view.Nodes, err = nodesOf(ctx, cfg); err != nil {
		return view, err
	}
	if view.Sessions, err = sessionsOf(ctx, cfg, false); err != nil {
		return view, err
	}
	view.Events, err = eventsOf(ctx, cfg)
	return view, err
}

// shownEvents is how many events top has room for.
const shownEvents = 12

func (o overview) draw(w io.Writer) error {
	total, used, serving := 0, 0, 0
	for _, n := range o.Nodes {
		total += n.Total
		used += n.Used
		if n.Reachable && !n.Draining {
			serving++
		}
	}
	states := map[string]int{}
	for _, s := range o.Sessions.Sessions {
		states[s.State]++
	}
	fmt.Fprintf(w, "%s  nodes: %d, serving %d  room: %d of %d used  sessions: %d", o.At.Format(time.TimeOnly), len(o.Nodes), serving, used, total, len(o.Sessions.Sessions))
	for _, state := range []string{"starting", "ready", "connected", "detached", "stopping", "lost"} {
		if states[state] > 0 {
			fmt.Fprintf(w, ", %d %s", states[state], state)
		}
	}
	fmt.Fprint(w, "\n\n")
	if err := nodeTable(w, o.Nodes, o.At); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, e := range o.Events[:min(len(o.Events), shownEvents)] {
		mark, times := " ", ""
		if e.Bad {
			mark = "!"
		}
		if e.Times > 1 {
			times = fmt.Sprintf(" (%d times)", e.Times)
		}
		fmt.Fprintf(w, "%s %s %s: %s%s\n", mark, e.At.Local().Format(time.TimeOnly), e.Subject, e.Text, times)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"easel/coordinator/admin"
	"easel/coordinator/warmth"
)

func poolList(ctx context.Context, args []string, p process) error {
	c := newCommand("pool list", p)
	asJSON := c.set.Bool("json", false, "print JSON")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.ListPools})
	if err != nil {
		return err
	}
	if *asJSON {
		if answer.Pools == nil {
			answer.Pools = []warmth.Standing{}
		}
		return printJSON(p.stdout, answer.Pools)
	}
	if len(answer.Pools) == 0 {
		fmt.Fprintln(p.stdout, "There is no policy: each node keeps the warm sessions that its own configuration says (pool in noded.yaml).")
		return nil
	}
	table := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tCLASS\tMODE\tWANTED NOW\tSETTING")
	for _, s := range answer.Pools {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d ready, %d desktop\t%s\n", orWord(s.Image, "(default)"), orWord(s.Class, "none"), s.Mode, s.Now.Ready, s.Now.Desktop, setting(s.Policy))
	}
	return table.Flush()
}

func orWord(text, word string) string {
	if text == "" {
		return word
	}
	return text
}

// setting is what a policy was set to, in the words that set it.
func setting(p warmth.Policy) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if p.Mode != warmth.Forecast {
		add("ready=%d desktop=%d", p.Ready, p.Desktop)
	}
	for _, w := range p.Windows {
		add("[%s %s-%s ready=%d desktop=%d]", w.Days, w.From, w.To, w.Ready, w.Desktop)
	}
	if p.Zone != "" {
		add("zone=%s", p.Zone)
	}
	if p.Miss > 0 {
		add("miss=%g", p.Miss)
	}
	if p.Min > 0 {
		add("min=%d", p.Min)
	}
	if p.Max > 0 {
		add("max=%d", p.Max)
	}
	return strings.Join(parts, " ")
}

func poolSet(ctx context.Context, args []string, p process) error {
	c := newCommand("pool set", p)
	var policy warmth.Policy
	c.set.StringVar(&policy.Mode, "mode", "", "fixed, schedule or forecast")
	c.set.StringVar(&policy.Image, "image", "", "image `reference` (default: each node's own)")
	c.set.StringVar(&policy.Class, "class", "", "class of sessions (default none)")
	c.set.IntVar(&policy.Ready, "ready", 0, "how many with GIMP up, for who has no profile yet; with a schedule, when no window holds")
	c.set.IntVar(&policy.Desktop, "desktop", 0, "how many with all but GIMP up, likewise")
	c.set.Func("window", "of a schedule, such as \"mon-fri 08:30-18:00 ready=1 desktop=6\"; may be given again", func(text string) error {
		w, err := parseWindow(text)
		policy.Windows = append(policy.Windows, w)
		return err
	})
	c.set.StringVar(&policy.Zone, "zone", "", "time zone of windows and of what a forecast learns, such as Europe/Berlin (default UTC)")
	c.set.Float64Var(&policy.Miss, "miss", 0, "risk that a forecast takes of having none (default 0.02)")
	c.set.IntVar(&policy.Min, "min", 0, "the fewest that a forecast wants")
	c.set.IntVar(&policy.Max, "max", 0, "the most that a forecast wants (default: as there is room)")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	if policy.Mode == "" {
		return wrongUse("pool set needs --mode fixed, schedule or forecast")
	}
	if err := policy.Check(); err != nil {
		return wrongUse("pool set: %v", err)
	}
	answer, err := ask(ctx, cfg, admin.Request{Op: admin.SetPool, Pool: &policy})
	if err != nil {
		return err
	}
	for _, s := range answer.Pools {
		if s.Image == policy.Image && s.Class == policy.Class {
			fmt.Fprintf(p.stdout, "The policy is set; it wants %d ready and %d desktop sessions now. Nodes are told within a minute.\n", s.Now.Ready, s.Now.Desktop)
		}
	}
	return nil
}

// parseWindow reads "mon-fri 08:30-18:00 ready=1 desktop=6".
func parseWindow(text string) (warmth.Window, error) {
	var w warmth.Window
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return w, errors.New("want days, times and numbers, such as \"mon-fri 08:30-18:00 desktop=6\"")
	}
	w.Days = fields[0]
	var ok bool
	if w.From, w.To, ok = strings.Cut(fields[1], "-"); !ok {
		return w, fmt.Errorf("times %q: want such as 08:30-18:00", fields[1])
	}
	for _, field := range fields[2:] {
		name, number, _ := strings.Cut(field, "=")
		n, err := strconv.Atoi(number)
		if err != nil {
			return w, fmt.Errorf("%q: want ready=N or desktop=N", field)
		}
		switch name {
		case "ready":
			w.Ready = n
		case "desktop":
			w.Desktop = n
		default:
			return w, fmt.Errorf("%q: want ready=N or desktop=N", field)
		}
	}
	return w, nil
}

func poolClear(ctx context.Context, args []string, p process) error {
	c := newCommand("pool clear", p)
	var policy warmth.Policy
	c.set.StringVar(&policy.Image, "image", "", "image `reference` (default: each node's own)")
	c.set.StringVar(&policy.Class, "class", "", "class of sessions (default none)")
	cfg, err := c.noArguments(args)
	if err != nil {
		return err
	}
	if _, err := ask(ctx, cfg, admin.Request{Op: admin.ClearPool, Pool: &policy}); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "The policy is cleared. Nodes are told within a minute.")
	return nil
}

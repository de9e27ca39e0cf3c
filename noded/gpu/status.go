package gpu

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Status is all about a node's cards, as "noded gpu status --json" prints it.
type Status struct {
	Inventory Inventory         `json:"inventory"`
	Layout    map[string]string `json:"layout"` // how each card is divided, in words, by UUID
	Loads     map[string]Load   `json:"loads"`  // by UUID
	Slices    []Holding         `json:"slices"`
}

// Holding is a slice and who holds it.
type Holding struct {
	Slice
	Holder *Holder `json:"holder,omitempty"` // nil: it is free
}

// Holder is the session that holds a slice.
type Holder struct {
	Session string `json:"session"`
	User    string `json:"user"`
}

// Layout is how the cards are divided now.
type Layout interface {
	// Slices are what sessions can hold.
	Slices() []Slice
	// Divided says in words how a card is divided; "" when nothing is known of it.
	Divided(card string) string
}

// Holders knows which slices are held.
type Holders interface {
	// Holders gives who holds them, by a slice's ID.
	Holders() map[string]Holder
}

// Status gathers it. A layout or holders that nobody keeps are nil.
func (h *Host) Status(layout Layout, holders Holders) Status {
	s := Status{Inventory: h.Inventory(), Layout: map[string]string{}, Loads: h.Loads(), Slices: []Holding{}}
	if layout == nil {
		return s
	}
	for _, c := range s.Inventory.Cards {
		if d := layout.Divided(c.UUID); d != "" {
			s.Layout[c.UUID] = d
		}
	}
	held := map[string]Holder{}
	if holders != nil {
		held = holders.Holders()
	}
	for _, slice := range layout.Slices() {
		holding := Holding{Slice: slice}
		if who, ok := held[slice.ID]; ok {
			holding.Holder = &who
		}
		s.Slices = append(s.Slices, holding)
	}
	return s
}

// Write prints it for people.
func (s Status) Write(w io.Writer) error {
	var b strings.Builder
	inv := s.Inventory
	if inv.Absent != "" {
		fmt.Fprintf(&b, "a CPU node: %s\n", inv.Absent)
	}
	if inv.Driver != "" {
		fmt.Fprintf(&b, "driver %s, CUDA %s\n", inv.Driver, inv.CUDA)
	}
	for _, c := range inv.Cards {
		s.writeCard(&b, c)
	}
	s.writeSlices(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Status) writeCard(b *strings.Builder, c Card) {
	name := c.Model
	if c.UUID == "" {
		name = "unknown: it could never be asked"
	}
	fmt.Fprintf(b, "\ncard %d: %s", c.Index, name)
	if c.UUID == "" {
		b.WriteString("\n")
	} else {
		fmt.Fprintf(b, ", %s\n  %s at %s, %s\n", amount(c.Memory), c.UUID, c.PCI, place(c))
		fmt.Fprintf(b, "  MIG: %s; encodes %s; decodes %s\n", c.MIG, codecs(c.Engines.Encode, "nothing (no NVENC)"), codecs(c.Engines.Decode, "nothing"))
	}
	if l, ok := s.Loads[c.UUID]; ok && l.Memory.Total > 0 {
		fmt.Fprintf(b, "  now: %s\n", l)
	}
	if d := s.Layout[c.UUID]; d != "" {
		fmt.Fprintf(b, "  divided: %s\n", d)
	}
	for _, i := range c.Instances {
		fmt.Fprintf(b, "  MIG device %s, memory slices %d to %d, %s: %s\n", i.Profile, i.Start, i.Start+i.Size-1, amount(i.Memory), i.UUID)
	}
	for _, f := range c.Faults {
		fmt.Fprintf(b, "  FAULTY since %s (%s): %s\n", f.At.Local().Format(time.DateTime), f.Code, f.Text)
	}
}

func (s Status) writeSlices(b *strings.Builder) {
	if len(s.Slices) == 0 {
		return
	}
	b.WriteString("\n")
	t := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SLICE\tCLASS\tMEMORY\tENCODER\tSTATE")
	for _, h := range s.Slices {
		state := "free"
		switch {
		case h.Holder != nil && h.Unfit != "":
			state = fmt.Sprintf("held by %s of %s; not handed out again: %s", h.Holder.Session, h.Holder.User, h.Unfit)
		case h.Holder != nil:
			state = fmt.Sprintf("held by %s of %s", h.Holder.Session, h.Holder.User)
		case h.Unfit != "":
			state = "not handed out: " + h.Unfit
		}
		encoder := "no"
		if h.Encoder {
			encoder = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", h.ID, h.Class, amount(h.Memory), encoder, state)
	}
	_ = t.Flush() // a strings.Builder takes everything
}

func place(c Card) string {
	node, cpus := "NUMA node unknown", "CPUs unknown"
	if c.NUMA >= 0 {
		node = fmt.Sprintf("NUMA node %d", c.NUMA)
	}
	if c.CPUs != "" {
		cpus = "CPUs " + c.CPUs
	}
	return node + ", " + cpus
}

func codecs(all []string, none string) string {
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, ", ")
}

func amount(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// String says the mode in a word.
func (m MIG) String() string {
	switch {
	case !m.Capable:
		return "no"
	case m.Enabled != m.Pending:
		return "changes at the next reset"
	case m.Enabled:
		return "on"
	}
	return "off"
}

// String says what a card does.
func (l Load) String() string {
	parts := []string{fmt.Sprintf("memory %s of %s", amount(l.Memory.Used), amount(l.Memory.Total))}
	for _, p := range []struct {
		n    int
		form string
	}{{l.GPU, "use %d %%"}, {l.Encoder, "encoder %d %%"}, {l.Sessions, "encoded streams %d"}, {l.Temperature, "%d °C"}} {
		if p.n >= 0 {
			parts = append(parts, fmt.Sprintf(p.form, p.n))
		}
	}
	return strings.Join(parts, ", ")
}

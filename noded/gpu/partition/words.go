package partition

import (
	"fmt"
	"io"
	"strings"
)

// Write prints the plan for people.
func (p Plan) Write(w io.Writer) error {
	var b strings.Builder
	for _, c := range p.Cards {
		c.write(&b)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if p.Refused != "" {
		fmt.Fprintf(&b, "refused: %s\n", p.Refused)
	}
	if p.Refusal() == "" && !p.Changes() {
		b.WriteString("Nothing changes.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c Change) write(b *strings.Builder) {
	fmt.Fprintf(b, "card %d: %s, %s\n", c.Index, c.Model, c.Card)
	switch {
	case c.Refused != "":
		fmt.Fprintf(b, "  refused: %s\n", c.Refused)
		return
	case !c.Changes():
		fmt.Fprintf(b, "  stays as it is: %s (%s)\n", c.Now, c.Why)
		return
	}
	fmt.Fprintf(b, "  is %s, is to be %s (%s)\n", c.Now, c.Wish, c.Why)
	for i, s := range c.Steps {
		fmt.Fprintf(b, "  %d. %s\n", i+1, s)
	}
	for _, h := range c.InWay {
		who := "warm, nobody's"
		if h.User != "" {
			who = "of " + h.User
		}
		fmt.Fprintf(b, "  in the way: session %s (%s), %s\n", h.Session, who, h.Slice.ID)
	}
	for _, u := range c.Users {
		fmt.Fprintf(b, "  uses the card, and must end before it is reset: %s\n", u)
	}
}

// Write prints an event for people, a line each.
func (e Event) Write(w io.Writer) error {
	switch {
	case e.Plan != nil:
		return e.Plan.Write(w)
	case e.Done && e.Error != "":
		return nil // the command's error says it
	case e.Done:
		_, err := fmt.Fprintln(w, "Done.")
		return err
	case e.Card != "":
		_, err := fmt.Fprintf(w, "card %d: %s\n", e.Index, e.Text)
		return err
	}
	_, err := fmt.Fprintln(w, e.Text)
	return err
}

package partition

import (
	"fmt"
	"slices"
	"strings"

	"easel/noded/gpu"
)

// Held is a slice that a session holds.
type Held struct {
	Slice   gpu.Slice `json:"slice"`
	Session string    `json:"session"`
	User    string    `json:"user,omitempty"` // "" for a warm session
}

// State is a card as it was found.
type State struct {
	gpu.Card
	Profiles []Profile  // what it can be divided into
	Present  []Instance // GPU instances
	Users    []string   // processes on it, in words
	Unasked  string     // why that could not be found; "" when it could
}

// silent is why a card is not to be touched; "" when it can be.
func (s State) silent() string {
	switch {
	case len(s.Faults) > 0:
		return "is not healthy: " + s.Faults[0].Text
	case s.Unasked != "":
		return "cannot be asked: " + s.Unasked
	}
	return ""
}

// Plan is what applying a file would change, and why.
type Plan struct {
	File  string   `json:"file"`
	Cards []Change `json:"cards"` // all of the node's
	Notes []string `json:"notes,omitempty"`
	// Refused is why nothing can be applied; so is that of any card.
	Refused string `json:"refused,omitempty"`
}

// Change is what becomes of one card.
type Change struct {
	Card    string   `json:"card"`
	Index   int      `json:"index"`
	Model   string   `json:"model"`
	Now     string   `json:"now"`
	To      Division `json:"to"`
	Wish    string   `json:"wish"`              // To in words
	Why     string   `json:"why"`               // which rule says so
	Steps   []string `json:"steps,omitempty"`   // none: nothing changes
	Reset   bool     `json:"reset,omitempty"`   // the card is reset, for which nothing may use it
	InWay   []Held   `json:"in_way,omitempty"`  // sessions that end
	Users   []string `json:"users,omitempty"`   // other processes on the card
	Refused string   `json:"refused,omitempty"` // why it cannot be done
	Foreign []Place  `json:"foreign,omitempty"` // instances that noded did not make, and that go
	way     way
	from    State
}

// Changes tells whether anything is to be done to the card.
func (c Change) Changes() bool { return len(c.Steps) > 0 }

// Refusal is why the plan cannot be carried out; "" when it can.
func (p Plan) Refusal() string {
	var why []string
	if p.Refused != "" {
		why = append(why, p.Refused)
	}
	for _, c := range p.Cards {
		if c.Refused != "" {
			why = append(why, fmt.Sprintf("card %d: %s", c.Index, c.Refused))
		}
	}
	return strings.Join(why, "; ")
}

// Changes tells whether anything is to be done.
func (p Plan) Changes() bool { return slices.ContainsFunc(p.Cards, Change.Changes) }

// MakePlan says what applying a file would change. It is pure: all that it goes by is given.
func MakePlan(spec Spec, l Layout, cards []State, held []Held) Plan {
	p := Plan{File: spec.Name}
	used := map[int]bool{} // by line
	for _, c := range cards {
		rule, why, err := ruleFor(spec.Rules, c.Card)
		ch := Change{Card: c.UUID, Index: c.Index, Model: c.Model, Now: now(l, c), Why: why, from: c}
		switch {
		case err != nil:
			ch.Refused = err.Error()
		case rule == nil:
			ch.Wish = ch.Now
			ch.To = l.Cards[c.UUID]
		default:
			ch.To, ch.Wish = rule.Division, rule.Division.String()
			if d, told := l.Cards[c.UUID]; told && d.same(ch.To) && ch.from.silent() != "" {
				ch.To = d
				p.Notes = append(p.Notes, fmt.Sprintf("card %d was left alone: it %s", c.Index, ch.from.silent()))
				break
			}
			ch.decide(l, held)
		}
		for _, r := range spec.Rules {
			used[r.Line] = used[r.Line] || r.fits(c.Card)
		}
		p.Cards = append(p.Cards, ch)
	}
	for _, r := range spec.Rules {
		switch {
		case used[r.Line]:
		case r.exact():
			p.Refused = fmt.Sprintf("line %d: this node has no card with %s; \"noded gpu status\" lists them", r.Line, r)
		default:
			p.Notes = append(p.Notes, fmt.Sprintf("line %d: no card here has %s", r.Line, r))
		}
	}
	return p
}

// ruleFor is the rule that counts for a card: one that names it above one for its model. Two of the same rank contradict.
func ruleFor(rules []Rule, c gpu.Card) (*Rule, string, error) {
	for _, exact := range []bool{true, false} {
		var found *Rule
		for _, r := range rules {
			if r.exact() != exact || !r.fits(c) {
				continue
			}
			if found != nil {
				return nil, "", fmt.Errorf("lines %d and %d are both about it: keep one of them", found.Line, r.Line)
			}
			found = &r
		}
		if found != nil {
			return found, fmt.Sprintf("line %d: %s", found.Line, found), nil
		}
	}
	return nil, "no line is about it", nil
}

// now is how a card is divided, in words.
func now(l Layout, c State) string {
	if c.MIG.Enabled {
		var there []string
		for _, i := range c.Present {
			there = append(there, i.Profile)
		}
		slices.SortFunc(there, bySize)
		return Division{Mode: MIG, Profiles: there}.String()
	}
	if d, told := l.Cards[c.UUID]; told && d.Mode == Shared {
		return d.String()
	}
	return Division{Mode: Whole}.String()
}

// decide says what it takes to bring the card to what it is to be.
func (c *Change) decide(l Layout, held []Held) {
	if c.Refused = c.impossible(); c.Refused != "" {
		return
	}
	mine := heldOn(held, c.Card)
	after := map[gpu.Slice]bool{}
	if c.To.Mode == MIG {
		if c.Refused = c.choose(mine); c.Refused != "" {
			return
		}
		for _, i := range c.from.Instances {
			if slices.Contains(c.way.Keep, Place{i.Profile, i.Start, i.Size}) {
				after[gpu.Slice{ID: i.UUID, Class: i.Profile}] = true
			}
		}
	} else if !c.from.MIG.Enabled {
		for _, s := range cut(map[string]Division{c.Card: c.To}, c.from.Card) {
			after[gpu.Slice{ID: s.ID, Class: s.Class, Memory: s.Memory}] = true
		}
	}
	for _, h := range mine {
		key := gpu.Slice{ID: h.Slice.ID, Class: h.Slice.Class}
		if c.To.Mode != MIG {
			key.Memory = h.Slice.Memory
		}
		if !after[key] {
			c.InWay = append(c.InWay, h)
		}
	}
	c.plan(l)
	if c.Reset && len(c.from.Users) > 0 {
		c.Users = c.from.Users
	}
}

func heldOn(held []Held, card string) (mine []Held) {
	for _, h := range held {
		if h.Slice.Card == card {
			mine = append(mine, h)
		}
	}
	return mine
}

// impossible is why the card can never be so; "" when it may.
func (c *Change) impossible() string {
	switch f := c.from; {
	case f.silent() != "":
		return "it " + f.silent()
	case c.To.Mode == Shared && c.To.Memory*uint64(c.To.Shares) > f.Memory:
		return fmt.Sprintf("%s are %s in all, and the card has %s", c.To, size(c.To.Memory*uint64(c.To.Shares)), size(f.Memory))
	case c.To.Mode == MIG && !f.MIG.Capable:
		return "a " + f.Model + " has no MIG"
	case c.To.Mode == MIG && len(f.Profiles) == 0:
		return "the driver does not tell its MIG profiles; with MIG mode on it may: \"nvidia-smi -i " + f.UUID + " -mig 1\""
	}
	return ""
}

// choose finds the way that ends the fewest sessions, or says why there is none.
func (c *Change) choose(held []Held) string {
	var there, dear []Place
	for _, i := range c.from.Present {
		if !i.usable() {
			continue
		}
		there = append(there, i.Place)
	}
	for _, i := range c.from.Instances {
		if slices.ContainsFunc(held, func(h Held) bool { return h.Slice.ID == i.UUID }) {
			dear = append(dear, Place{i.Profile, i.Start, i.Size})
		}
	}
	var ok bool
	if c.way, ok = first(ways(c.from.Profiles, there, dear, c.To.Profiles)); ok {
		return ""
	}
	known := map[string]Profile{}
	var names []string
	for _, p := range c.from.Profiles {
		known[p.Name] = p
		names = append(names, p.Name)
	}
	slices.SortFunc(names, bySize)
	for _, p := range c.To.Profiles {
		wanted := 0
		for _, q := range c.To.Profiles {
			if p == q {
				wanted++
			}
		}
		switch have, is := known[p]; {
		case !is:
			return fmt.Sprintf("it has no MIG profile %s; it has %s", p, strings.Join(names, ", "))
		case wanted > have.Most:
			return fmt.Sprintf("it has room for %d of %s, not %d", have.Most, p, wanted)
		}
	}
	return fmt.Sprintf("%s do not fit on it together, in whatever places", list(c.To.Profiles))
}

// plan writes down the steps.
func (c *Change) plan(l Layout) {
	f, on := c.from, c.To.Mode == MIG
	add := func(format string, args ...any) { c.Steps = append(c.Steps, fmt.Sprintf(format, args...)) }
	if len(c.InWay) > 0 {
		add("end %d session%s that hold%s what is taken away, at the deadline; they are told", len(c.InWay), plural(len(c.InWay)), oneOf(len(c.InWay)))
	}
	for _, i := range f.Present {
		if slices.Contains(c.way.Keep, i.Place) {
			continue
		}
		foreign := ""
		if !slices.Contains(l.Cards[c.Card].Made, i.Place) {
			foreign = ", which noded did not make"
			c.Foreign = append(c.Foreign, i.Place)
		}
		add("destroy %s%s", i.Place, foreign)
	}
	if f.MIG.Capable && (f.MIG.Enabled != on || f.MIG.Pending != on) {
		c.Reset = true
		add("turn MIG mode %s, for which the driver resets the card: nothing may use it", map[bool]string{true: "on", false: "off"}[on])
	}
	for _, p := range c.way.Make {
		add("make %s", p)
	}
	for _, i := range f.Present {
		if slices.Contains(c.way.Keep, i.Place) && !i.Full {
			add("complete %s: it has no compute instance", i.Place)
		}
	}
	c.To.Made = c.way.all()
	if len(c.Steps) == 0 && !sameWish(l, c.Card, c.To) {
		add("hand it out as %s", c.To)
	}
}

// sameWish tells whether the layout says of a card what it would say afterwards.
func sameWish(l Layout, card string, to Division) bool {
	d, told := l.Cards[card]
	if !told && to.Mode == Whole && l.Closed[card] == "" {
		return true // what it was without a word
	}
	return told && d.same(to) && l.Closed[card] == "" && sameSet(d.Made, to.Made)
}

func sameSet(a, b []Place) bool {
	if len(a) != len(b) {
		return false
	}
	return !slices.ContainsFunc(a, func(p Place) bool { return !slices.Contains(b, p) })
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func oneOf(n int) string {
	if n == 1 {
		return "s"
	}
	return ""
}

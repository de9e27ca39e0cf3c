package partition

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"easel/noded/gpu"
	"easel/pkg/strictyaml"
)

// version is the form of the file that this code reads.
const version = 1

// Bounds of a file.
const (
	maxShares    = 64
	maxInstances = 16
	minBudget    = size(64 << 20)
)

// Spec is a file that was read: what each card is to be.
type Spec struct {
	Name  string // of the file, for messages
	Rules []Rule
}

// Rule says what the cards are to be that it names.
type Rule struct {
	Line     int
	UUID     string
	PCI      string
	Index    int    // -1 when it does not name one
	Model    string // a pattern, as path.Match has it
	Division Division
}

// exact tells whether the rule names one card, and so counts above a rule for a model.
func (r Rule) exact() bool { return r.Model == "" }

func (r Rule) String() string {
	switch {
	case r.UUID != "":
		return "uuid " + r.UUID
	case r.PCI != "":
		return "pci " + r.PCI
	case r.Model != "":
		return "model " + strconv.Quote(r.Model)
	}
	return fmt.Sprintf("index %d", r.Index)
}

// fits tells whether the rule is about a card.
func (r Rule) fits(c gpu.Card) bool {
	switch {
	case r.UUID != "":
		return strings.EqualFold(r.UUID, c.UUID)
	case r.PCI != "":
		return longPCI(r.PCI) == longPCI(c.PCI)
	case r.Model != "":
		is, _ := path.Match(r.Model, c.Model) // the pattern was tried when the file was read
		return is
	}
	return r.Index == c.Index
}

// longPCI is a PCI address with the domain that people leave out or write shorter than NVML does.
func longPCI(address string) string {
	address = strings.ToLower(address)
	if strings.Count(address, ":") == 1 {
		address = "0:" + address
	}
	domain, rest, _ := strings.Cut(address, ":")
	n, err := strconv.ParseUint(domain, 16, 32)
	if err != nil {
		return address
	}
	return fmt.Sprintf("%08x:%s", n, rest)
}

// document is the file's form.
type document struct {
	Version int                 `yaml:"version"`
	Layouts map[string][]string `yaml:"layouts"`
	Cards   []entry             `yaml:"cards"`
}

type entry struct {
	UUID  string `yaml:"uuid"`
	Index *int   `yaml:"index"`
	PCI   string `yaml:"pci"`
	Model string `yaml:"model"`

	Whole  bool     `yaml:"whole"`
	Shares *int     `yaml:"shares"`
	Memory size     `yaml:"memory"`
	MIG    []string `yaml:"mig"`
	Layout string   `yaml:"layout"`
}

// lines is the document again, for the places of its parts.
type lines struct {
	Cards   []yaml.Node          `yaml:"cards"`
	Layouts map[string]yaml.Node `yaml:"layouts"`
}

// Parse reads a layout file; name stands for it in errors, each of which names its line.
func Parse(text []byte, name string) (Spec, error) {
	var doc document
	if err := strictyaml.Decode(bytes.NewReader(text), name, &doc); err != nil {
		return Spec{}, err
	}
	var at lines
	if err := yaml.Unmarshal(text, &at); err != nil {
		return Spec{}, fmt.Errorf("read %s: %w", name, err)
	}
	spec := Spec{Name: name}
	var faults []error
	fault := func(line int, format string, args ...any) {
		faults = append(faults, &strictyaml.Error{File: name, Line: line, Message: fmt.Sprintf(format, args...)})
	}
	if doc.Version != version {
		fault(0, "version: %d: this noded reads files that begin with \"version: %d\"", doc.Version, version)
		return spec, errors.Join(faults...)
	}
	for title, profiles := range doc.Layouts {
		if _, err := migOf(profiles); err != nil {
			fault(at.Layouts[title].Line, "layouts.%s: %v", title, err)
		}
	}
	for i, e := range doc.Cards {
		r, err := e.rule(doc.Layouts)
		if err != nil {
			fault(at.Cards[i].Line, "%v", err)
			continue
		}
		r.Line = at.Cards[i].Line
		spec.Rules = append(spec.Rules, r)
	}
	return spec, errors.Join(faults...)
}

func (e entry) rule(layouts map[string][]string) (Rule, error) {
	r := Rule{UUID: e.UUID, PCI: e.PCI, Model: e.Model, Index: -1}
	if e.Index != nil {
		r.Index = *e.Index
	}
	if n := count(e.UUID != "", e.PCI != "", e.Model != "", e.Index != nil); n != 1 {
		return r, errors.New("a card is named by one of uuid, index, pci and model")
	}
	if _, err := path.Match(e.Model, ""); err != nil {
		return r, fmt.Errorf("model %q: want a name, in which * stands for any characters: %w", e.Model, err)
	}
	if e.Index != nil && *e.Index < 0 {
		return r, fmt.Errorf("index %d: want a number from 0, as \"noded gpu status\" shows them", *e.Index)
	}
	var err error
	if r.Division, err = e.division(layouts); err != nil {
		return r, fmt.Errorf("%s: %w", r, err)
	}
	return r, nil
}

func (e entry) division(layouts map[string][]string) (Division, error) {
	if count(e.Whole, e.Shares != nil, e.MIG != nil, e.Layout != "") != 1 {
		return Division{}, errors.New("want one of \"whole: true\", shares, mig and layout")
	}
	if e.Memory != 0 && e.Shares == nil {
		return Division{}, errors.New("memory is what one of several shares may use: it goes with shares")
	}
	switch {
	case e.Whole:
		return Division{Mode: Whole}, nil
	case e.Shares != nil:
		if *e.Shares < 1 || *e.Shares > maxShares {
			return Division{}, fmt.Errorf("shares: %d: want 1 to %d", *e.Shares, maxShares)
		}
		if e.Memory != 0 && e.Memory < minBudget {
			return Division{}, fmt.Errorf("memory: %s: want %s or more", e.Memory, minBudget)
		}
		return Division{Mode: Shared, Shares: *e.Shares, Memory: uint64(e.Memory)}, nil
	case e.Layout != "":
		profiles, ok := layouts[e.Layout]
		if !ok {
			return Division{}, fmt.Errorf("layout %q is not among the file's layouts", e.Layout)
		}
		return migOf(profiles)
	}
	return migOf(e.MIG)
}

// migOf is a division by profiles; an empty list is MIG mode without an instance.
func migOf(profiles []string) (Division, error) {
	if len(profiles) > maxInstances {
		return Division{}, fmt.Errorf("%d MIG profiles: no card holds more than %d", len(profiles), maxInstances)
	}
	for _, p := range profiles {
		if !gpu.ValidClass(p) || gpu.None == p || gpu.Shared == p || gpu.Whole == p {
			return Division{}, fmt.Errorf("%q is no MIG profile: want names such as 1g.10gb", p)
		}
	}
	profiles = slices.Clone(profiles)
	slices.SortFunc(profiles, bySize)
	return Division{Mode: MIG, Profiles: profiles}, nil
}

// bySize puts the largest profile first.
func bySize(a, b string) int {
	var ag, am, bg, bm int
	_, _ = fmt.Sscanf(a, "%dg.%dgb", &ag, &am) // both have this form
	_, _ = fmt.Sscanf(b, "%dg.%dgb", &bg, &bm)
	return cmp.Or(cmp.Compare(bg, ag), cmp.Compare(bm, am), cmp.Compare(a, b))
}

func count(which ...bool) (n int) {
	for _, is := range which {
		if is {
			n++
		}
	}
	return n
}

// size is a number of bytes, written as 16GiB or 512MiB.
type size uint64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"GiB", 30}, {"MiB", 20}} {
		number, ok := strings.CutSuffix(strings.TrimSpace(string(text)), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil || n > 1<<(50-u.shift) {
			break
		}
		*s = size(n << u.shift)
		return nil
	}
	return fmt.Errorf("size %q: want a whole number with MiB or GiB, such as 16GiB", text)
}

func (s size) String() string {
	if s >= 1<<30 && s%(1<<30) == 0 {
		return fmt.Sprintf("%dGiB", s>>30)
	}
	if s >= 10<<30 {
		return fmt.Sprintf("%.1fGiB", float64(s)/(1<<30))
	}
	return fmt.Sprintf("%dMiB", s>>20)
}

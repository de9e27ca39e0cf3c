package partition

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"easel/noded/gpu"
)

const sample = `version: 1
layouts:
  studio: [1g.10gb, 3g.40gb, 2g.20gb]
cards:
  - model: NVIDIA H100*
    layout: studio
  - index: 1
    shares: 4
    memory: 16GiB
  - uuid: GPU-0a
    mig: [1g.10gb+me, 1g.10gb]
  - pci: "65:00.0"
    whole: true
`

func TestParseReadsEveryForm(t *testing.T) {
	spec, err := Parse([]byte(sample), "gpu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`5 model "NVIDIA H100*": MIG 3g.40gb + 2g.20gb + 1g.10gb`,
		`7 index 1: 4 shares of 16GiB`,
		`10 uuid GPU-0a: MIG 1g.10gb + 1g.10gb+me`,
		`12 pci 65:00.0: whole`,
	}
	if len(spec.Rules) != len(want) {
		t.Fatalf("%d rules", len(spec.Rules))
	}
	for i, r := range spec.Rules {
		if got := strings.Join([]string{strconv.Itoa(r.Line), r.String() + ":", r.Division.String()}, " "); got != want[i] {
			t.Errorf("rule %d: %s, want %s", i, got, want[i])
		}
	}
}

// The packaged sample can be read, and shows every field.
func TestPackagedSample(t *testing.T) {
	text, err := os.ReadFile("../../../packaging/gpu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := Parse(text, "gpu.yaml")
	if err != nil || len(spec.Rules) != 4 {
		t.Fatalf("%d rules, %v", len(spec.Rules), err)
	}
	for _, form := range []reflect.Type{reflect.TypeFor[document](), reflect.TypeFor[entry]()} {
		for i := range form.NumField() {
			if name := form.Field(i).Tag.Get("yaml"); !strings.Contains(string(text), name+":") {
				t.Errorf("the sample does not show %s", name)
			}
		}
	}
}

func TestParseNamesTheLine(t *testing.T) {
	head := "version: 1\ncards:\n"
	for text, want := range map[string]string{
		head + "  - index: 0\n    whole: true\n    memroy: 1GiB\n": `f:5: unknown field "memroy" in cards; did you mean "memory"?`,
		"version: 2\n":             "f: version: 2: this noded reads",
		"cards: []\n":              "f: version: 0",
		head + "  - whole: true\n": "f:3: a card is named by one of",
		head + "  - index: 0\n    uuid: GPU-1\n    whole: true\n":                "f:3: a card is named by one of",
		head + "  - index: -1\n    whole: true\n":                                "f:3: index -1",
		head + "  - model: \"[\"\n    whole: true\n":                             "f:3: model",
		head + "  - index: 0\n":                                                  "f:3: index 0: want one of",
		head + "  - index: 0\n    whole: true\n    shares: 2\n":                  "f:3: index 0: want one of",
		head + "  - index: 0\n    shares: 0\n":                                   "f:3: index 0: shares: 0: want 1 to 64",
		head + "  - index: 0\n    shares: 2\n    memory: 1MiB\n":                 "f:3: index 0: memory: 1MiB: want 64MiB or more",
		head + "  - index: 0\n    shares: 2\n    memory: much\n":                 `size "much"`,
		head + "  - index: 0\n    whole: true\n    memory: 1GiB\n":               "it goes with shares",
		head + "  - index: 0\n    layout: none\n":                                `layout "none" is not among`,
		head + "  - index: 0\n    mig: [1g.10gb, whole]\n":                       `"whole" is no MIG profile`,
		head + "  - index: 0\n    mig: [1c.2g.20gb]\n":                           `"1c.2g.20gb" is no MIG profile`,
		"version: 1\nlayouts:\n  odd:\n    - 1gb\ncards: []\n":                   `layouts.odd: "1gb" is no MIG profile`,
		head + "  - index: 0\n    mig: [" + strings.Repeat("1g.5gb, ", 20) + "]": "no card holds more than 16",
	} {
		_, err := Parse([]byte(text), "f")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestRuleFitsACardByAnyOfItsNames(t *testing.T) {
	c := gpu.Card{UUID: "GPU-0a", Index: 2, PCI: "00000000:65:00.0", Model: "NVIDIA H100 80GB HBM3"}
	for _, r := range []Rule{
		{UUID: "gpu-0A", Index: -1}, {PCI: "65:00.0", Index: -1}, {PCI: "0000:65:00.0", Index: -1}, {PCI: "00000000:65:00.0", Index: -1}, {Model: "*H100*", Index: -1}, {Index: 2},
	} {
		if !r.fits(c) {
			t.Errorf("%s does not fit", r)
		}
	}
	for _, r := range []Rule{{UUID: "GPU-0b", Index: -1}, {PCI: "0001:65:00.0", Index: -1}, {Model: "NVIDIA A100*", Index: -1}, {Index: 0}} {
		if r.fits(c) {
			t.Errorf("%s fits", r)
		}
	}
}

// An operator's file is no attacker's, but it comes over a socket and must not end the daemon.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("version: 1\ncards: [{index: 0, whole: true}]\n")
	f.Add("version: 1\nlayouts: {a: [1g.5gb]}\ncards:\n- &a {model: x, layout: a}\n- *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := Parse([]byte(text), "f")
		if err != nil {
			return
		}
		for _, r := range spec.Rules {
			if r.Line == 0 || r.Division.Mode == "" {
				t.Fatalf("%q became %+v", text, r)
			}
		}
	})
}

package strictyaml

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type sample struct {
	Listen   string        `yaml:"listen"`
	Grace    time.Duration `yaml:"grace"`
	Join     []string      `yaml:"join"`
	TLS      *tls          `yaml:"tls"`
	Sessions struct {
		Max int `yaml:"max"`
	} `yaml:"sessions"`
	Peers []struct {
		Name string `yaml:"name"`
	} `yaml:"peers"`
	Hidden string `yaml:"-"`
}

type tls struct {
	Cert string `yaml:"cert"`
}

func TestDecodeKeepsDefaultsOfFieldsLeftOut(t *testing.T) {
	c := sample{Listen: "127.0.0.1:1", Grace: time.Minute}
	text := "grace: 5m\njoin: [a, b]\ntls: {cert: c.pem}\nsessions:\n  max: 3\n"
	if err := Decode(strings.NewReader(text), "c.yaml", &c); err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1" || c.Grace != 5*time.Minute || len(c.Join) != 2 || c.TLS.Cert != "c.pem" || c.Sessions.Max != 3 {
		t.Fatalf("decoded %+v", c)
	}
}

func TestDecodeEmptyDocumentChangesNothing(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "null\n"} {
		c := sample{Listen: "x"}
		if err := Decode(strings.NewReader(text), "c.yaml", &c); err != nil || c.Listen != "x" {
			t.Errorf("%q: %v, %+v", text, err, c)
		}
	}
}

func TestDecodeFaultsNameTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field":          {"listen: a\nlistn: b\n", `c.yaml:2: unknown field "listn" in the document; did you mean "listen"?`},
		"unknown nested field":   {"sessions:\n  mx: 1\n", `c.yaml:2: unknown field "mx" in sessions; did you mean "max"?`},
		"unknown below pointer":  {"tls:\n  crt: a\n", `c.yaml:2: unknown field "crt" in tls; did you mean "cert"?`},
		"unknown in a list":      {"peers:\n- name: a\n- nam: b\n", `c.yaml:3: unknown field "nam" in peers; did you mean "name"?`},
		"nothing near":           {"zzzzzzzzzzzz: 1\n", "known fields: grace, join, listen, peers, sessions, tls"},
		"field set twice":        {"listen: a\nlisten: b\n", `c.yaml:2: field "listen" was given on line 1 already`},
		"field that is not ours": {"hidden: a\n", `unknown field "hidden"`},
		"scalar for a struct":    {"sessions: 3\n", "c.yaml:1: sessions must hold fields"},
		"list for the document":  {"- a\n", "c.yaml:1: the document must hold fields"},
		"wrong type":             {"sessions:\n  max: many\n", "c.yaml:2: cannot unmarshal"},
		"bad duration":           {"grace: 5 parsecs\n", "c.yaml:1: cannot unmarshal"},
		"broken syntax":          {"listen: [a\n", "c.yaml:"},
		"second document":        {"listen: a\n---\nlisten: b\n", "c.yaml:2: a second document"},
		"a tab":                  {"sessions:\n\tmax: 1\n", "c.yaml:2:"},
	} {
		t.Run(name, func(t *testing.T) {
			var c sample
			err := Decode(strings.NewReader(tc.text), "c.yaml", &c)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want it to hold %q", err, tc.want)
			}
		})
	}
}

func TestDecodeReportsEveryFault(t *testing.T) {
	var c sample
	err := Decode(strings.NewReader("a1: 1\nb2: 2\n"), "c.yaml", &c)
	if err == nil || !strings.Contains(err.Error(), "c.yaml:1") || !strings.Contains(err.Error(), "c.yaml:2") {
		t.Fatalf("error %v", err)
	}
	var fault *Error
	if !errors.As(err, &fault) || fault.Line != 1 {
		t.Fatalf("first fault %+v", fault)
	}
}

func TestDecodeRefusesHugeDocuments(t *testing.T) {
	var c sample
	err := Decode(strings.NewReader(strings.Repeat("#", maxSize+1)), "c.yaml", &c)
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Fatalf("error %v", err)
	}
}

func TestDecodeNeedsAPointerToAStruct(t *testing.T) {
	if err := Decode(strings.NewReader("a: 1"), "c.yaml", sample{}); err == nil {
		t.Fatal("a value was accepted")
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "noded.yaml")
	if err := os.WriteFile(path, []byte("nope: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c sample
	if err := Load(path, &c); err == nil || !strings.Contains(err.Error(), path+":1:") {
		t.Fatalf("error %v", err)
	}
	if err := Load(path+".absent", &c); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"listen: a\n", "tls: {cert: *a}\n", "a: &a [*a]\n", "join:\n- 1\n", "? {a: b}\n: c\n", "!!binary x: y"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		var c sample
		_ = Decode(strings.NewReader(text), "c.yaml", &c)
	})
}

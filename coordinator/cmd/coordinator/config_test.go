package main

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"easel/coordinator/placement"
	"easel/coordinator/webhook"
	"easel/pkg/strictyaml"
)

func TestConfigRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"unknown field":     {"listn: 127.0.0.1:1\n", "listen"},
		"no address":        {"listen: 8080\n", "listen"},
		"host name":         {"listen: localhost:8080\n", "IP address"},
		"open without TLS":  {"listen: 192.0.2.1:8080\n", "tls.cert"},
		"any without URL":   {"listen: 0.0.0.0:8080\ntls: {cert: /a, key: /b}\n", "public_url"},
		"cert without key":  {"tls: {cert: /a}\n", "tls"},
		"URL with path":     {"public_url: https://a/b\n", "public_url"},
		"URL without host":  {"public_url: easel\n", "public_url"},
		"relative folder":   {"state_dir: state\n", "state_dir"},
		"long run dir":      {"run_dir: /" + strings.Repeat("x", 100) + "\n", "run_dir"},
		"odd name":          {"name: a/b\n", "name"},
		"odd join":          {"cluster: {join: [gpu1]}\n", "gpu1"},
		"odd place":         {"place: {coordinates: Paris}\n", "coordinates"},
		"odd strategy":      {"placement: {strategy: best}\n", "spread or pack"},
		"odd encoder":       {"placement: {encoder: gpu}\n", "hardware or any"},
		"relative database": {"geoip: city.mmdb\n", "geoip"},
		"odd level":         {"log: {level: loud}\n", "log"},
		"a key file of old": {"cluster: {key_file: /k}\n", "key_file"},
		"plain API":         {"api: {url: \"http://10.0.0.1:8444\"}\n", "api.url"},
		"API without URL":   {"api: {listen: \"0.0.0.0:8444\"}\n", "api.url"},
		"odd API":           {"api: {listen: x}\n", "api.listen"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := load(path, func(*Config) {})
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want the file and %q", err, tt.says)
			}
		})
	}
}

func TestFlagsWinOverTheFileAndCoverEveryField(t *testing.T) {
	shown := defaults()
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	apply := shown.flags(set)
	var args, want []string
	set.VisitAll(func(f *flag.Flag) {
		args = append(args, "--"+f.Name, "given,"+f.Name)
		want = append(want, f.Name)
	})
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	var c Config
	apply(&c)
	fields := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == reflect.TypeFor[placement.Config]() {
				return // in the file alone
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice:
			if v.Type() == reflect.TypeFor[[]webhook.Hook]() {
				return // in the file alone
			}
			fields++
			if v.Len() != 2 {
				t.Errorf("a list became %v", v.Interface())
			}
		default:
			fields++
			if !strings.HasPrefix(v.String(), "given,") {
				t.Errorf("a field has no flag; there are flags for %v", want)
			}
		}
	}
	walk(reflect.ValueOf(c))
	if fields != len(want) {
		t.Errorf("%d fields, %d flags", fields, len(want))
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c := defaults()
	c.complete()
	if err := c.validate(); err != nil {
		t.Error(err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("listen: 127.0.0.1:8080\n")
	f.Add("tls: {cert: a, key: b}\ncluster: {join: [a, b]}\n")
	f.Add("public_url: http://[::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := defaults()
		if strictyaml.Decode(strings.NewReader(text), "fuzz", &c) != nil {
			return
		}
		if c.complete(); c.validate() != nil {
			return
		}
		if !filepath.IsAbs(c.StateDir) || c.Name == "" {
			t.Errorf("accepted %+v", c)
		}
	})
}

// TestSampleIsReadAndComplete: an operator finds every field in the sample that the package installs, and
// what it sets is the default.
func TestSampleIsReadAndComplete(t *testing.T) {
	sample := filepath.Join("..", "..", "..", "packaging", "coordinator.yaml")
	got, err := load(sample, func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.complete()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the sample gives\n%+v, the defaults are\n%+v", got, want)
	}
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(v reflect.Type)
	walk = func(v reflect.Type) {
		for i := range v.NumField() {
			name := v.Field(i).Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)(^|[# {])` + name + `:`).Match(text) {
				t.Errorf("the sample does not show %s", name)
			}
			if v.Field(i).Type.Kind() == reflect.Struct {
				walk(v.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

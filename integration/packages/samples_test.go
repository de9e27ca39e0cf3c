package packages_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every field of the configuration is in the sample, commented out or not, and the sample has no other: it is where an
// operator looks. The daemon says which fields it has, by its flags.
func TestSamplesNameEveryFieldAndNoOther(t *testing.T) {
	for _, program := range []string{"noded", "coordinator"} {
		t.Run(program, func(t *testing.T) {
			help := command(t, filepath.Join(bin(), program), "run", "--help")
			want := map[string]bool{}
			for _, m := range regexp.MustCompile(`(?:overrides|as) ([a-z_.]+) (?:in the configuration|\()`).FindAllStringSubmatch(help, -1) {
				want[m[1]] = true
			}
			if len(want) < 8 {
				t.Fatalf("%s run --help names %d fields:\n%s", program, len(want), help)
			}
			text, err := os.ReadFile(filepath.Join(checkout, "packaging", program+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			have := fields(t, uncomment(string(text)))
			for _, f := range slices.Sorted(maps.Keys(want)) {
				if !have[f] {
					t.Errorf("packaging/%s.yaml does not mention %s", program, f)
				}
			}
			for _, f := range slices.Sorted(maps.Keys(have)) {
				if !want[f] && !inTheFileAlone.MatchString(f) {
					t.Errorf("packaging/%s.yaml names %s, which %s does not have", program, f, program)
				}
			}
		})
	}
}

// inTheFileAlone is what no flag can say; the daemon's own test compares it with the sample.
var inTheFileAlone = regexp.MustCompile(`^(placement\.|webhooks$)`)

func bin() string {
	if dir := os.Getenv("EASEL_BIN"); dir != "" {
		return dir
	}
	return filepath.Join(checkout, "bin")
}

// uncomment brings back the fields that the sample has commented out: "# name: x", "# tls:", "#   cert: x".
func uncomment(text string) string {
	field := regexp.MustCompile(`^((?:  )?)# ((?:  )?[a-z_]+:(?: \S+)?)$`)
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := field.FindStringSubmatch(line); m != nil {
			line = m[1] + m[2]
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// fields are the paths of a document's leaves, as "sessions.max".
func fields(t *testing.T, text string) map[string]bool {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("the sample, all fields uncommented, is no YAML: %v", err)
	}
	found := map[string]bool{}
	var walk func(prefix string, m map[string]any)
	walk = func(prefix string, m map[string]any) {
		for name, value := range m {
			if below, ok := value.(map[string]any); ok {
				walk(prefix+name+".", below)
				continue
			}
			found[prefix+name] = true
		}
	}
	walk("", doc)
	return found
}

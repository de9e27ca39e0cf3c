package deptest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const metricsPage = "../../docs/metrics.md"

var metricName = regexp.MustCompile(`\beasel_[a-z_]*[a-z]\b`)

// TestEveryMetricIsInTheManual: docs/metrics.md names what the daemons count, and nothing else.
func TestEveryMetricIsInTheManual(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for _, name := range metricName.FindAllString(string(page), -1) {
		written[name] = true
	}
	counted := map[string]bool{}
	for _, part := range []string{"noded", "coordinator", "pkg"} {
		metricsIn(t, filepath.Join("..", "..", part), counted)
	}
	if len(counted) < 50 {
		t.Fatalf("only %d metrics were found in the source: are they named by literals?", len(counted))
	}
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		if !written[name] {
			t.Errorf("docs/metrics.md does not name %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if !counted[name] {
			t.Errorf("docs/metrics.md names %s, which nothing counts", name)
		}
	}
}

// metricsIn adds to names the metrics that the Go files below dir name by whole literals, tests left out.
func metricsIn(t *testing.T, dir string, names map[string]bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules":
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if name := strings.Trim(lit.Value, `"`); metricName.FindString(name) == name && name != "" {
					names[name] = true
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

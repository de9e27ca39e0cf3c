// Package deptest keeps the arrows between Easel's parts, as ARCHITECTURE.md draws them: which package may import which,
// and which binary may link what. The rules are its tests'; this file reads the imports.
package deptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Package is one package as `go list` sees it.
type Package struct {
	ImportPath string
	Name       string
	CgoFiles   []string
	// Imports are the direct imports of its non-test files; Deps everything below them.
	Imports []string
	Deps    []string
	// TestImports and XTestImports are those of its tests.
	TestImports  []string
	XTestImports []string
}

// Load lists the packages that match patterns, and what they depend on, for a cgo build.
func Load(ctx context.Context, dir string, patterns ...string) (map[string]*Package, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-e", "-deps", "-json=ImportPath,Name,CgoFiles,Imports,Deps,TestImports,XTestImports"}, patterns...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages %s: %w: %s", strings.Join(patterns, " "), err, stderr.String())
	}
	return decode(bytes.NewReader(out))
}

func decode(r io.Reader) (map[string]*Package, error) {
	packages := map[string]*Package{}
	dec := json.NewDecoder(r)
	for {
		var p Package
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("decode go list's answer: %w", err)
		}
		packages[p.ImportPath] = &p
	}
}

// Under says whether path is pkg or lies below it.
func Under(path, pkg string) bool {
	return path == pkg || strings.HasPrefix(path, pkg+"/")
}

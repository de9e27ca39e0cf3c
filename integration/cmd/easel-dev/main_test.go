package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"easel/integration/devstack"
)

func TestWrongUseIsToldApart(t *testing.T) {
	for _, args := range [][]string{{}, {"fly"}, {"run", "--nonsense"}, {"run", "extra"}, {"run", "--media-ports", "9"}, {"stop", "now"}} {
		if err := run(context.Background(), args, &bytes.Buffer{}); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want wrong use", args, err)
		}
	}
}

func TestParsePorts(t *testing.T) {
	if got, err := parsePorts("50000-50999"); err != nil || got != [2]int{50000, 50999} {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "5", "a-b", "5-", "9-5", "0-5", "1-70000", "1-2-3"} {
		if _, err := parsePorts(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestDisplayShowsEveryStepAndItsLines(t *testing.T) {
	for _, tty := range []bool{false, true} {
		var out bytes.Buffer
		d := newDisplay(&out, tty)
		d.show(devstack.Progress{Step: "session image"})
		d.show(devstack.Progress{Step: "session image", Line: "fetching packages"})
		d.show(devstack.Progress{Step: "session image", Done: true, Took: 103 * time.Second})
		for _, want := range []string{"… session image", "fetching packages", "✓ session image (1m43s)"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("tty %v: %q lacks %q", tty, out.String(), want)
			}
		}
	}
}

// Drawings are not a build product: clean leaves them unless it is told.
func TestCleanKeepsHomesUnlessTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	files := []string{"noded/homes/admin.img", "noded/noded.db", "coordinator/signing.key", "etc/noded.yaml"}
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	c := &cleaner{out: &out}
	c.removeState(dir, false)
	for i, name := range files {
		_, err := os.Stat(filepath.Join(dir, name))
		if kept := err == nil; kept != (i == 0) {
			t.Errorf("%s kept: %v", name, kept)
		}
	}
	if !strings.Contains(out.String(), "kept 1 home volume") || !strings.Contains(out.String(), "removed "+filepath.Join(dir, "etc")) {
		t.Errorf("it said %q", out.String())
	}
	c.removeState(dir, true)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with homes it left %s: %v", dir, err)
	}
	if len(c.errs) > 0 {
		t.Error(c.errs)
	}
}

func TestCleanSaysNothingOfWhatIsNotThere(t *testing.T) {
	var out bytes.Buffer
	c := &cleaner{out: &out}
	c.remove(filepath.Join(t.TempDir(), "absent"))
	if out.Len() > 0 || c.total != 0 || len(c.errs) > 0 {
		t.Errorf("said %q, %d bytes, %v", out.String(), c.total, c.errs)
	}
}

func TestCleanLeavesWhatGitHolds(t *testing.T) {
	dir := t.TempDir()
	files := map[string]bool{"bin/noded": false, "pkg/viewer/dist/.gitkeep": true, "pkg/viewer/dist/index.html": false, "pkg/viewer/src/main.ts": true, "go.mod": true}
	for name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := &cleaner{out: &bytes.Buffer{}}
	c.removeBuilt(dir)
	for name, kept := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != kept {
			t.Errorf("%s kept: %v, want %v", name, err == nil, kept)
		}
	}
	if err := errors.Join(c.errs...); err != nil {
		t.Error(err)
	}
}

package gimp

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testBuilder(t *testing.T) (*builder, *[]string) {
	t.Helper()
	var lines []string
	return &builder{
		recipe: validRecipe(), cache: cache{t.TempDir()}, work: t.TempDir(), started: time.Now(),
		progress: func(line string) { lines = append(lines, line) },
	}, &lines
}

func TestFailedProgramIsQuoted(t *testing.T) {
	b, told := testBuilder(t)
	cmd := b.command(t.Context(), "/bin/sh", "-c", "echo 'I: step one' >&2; echo 'E: no space' >&2; exit 7")
	err := b.runNoted(cmd, "packages", func(line string) (string, bool) { return strings.CutPrefix(line, "I: ") })
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "E: no space") {
		t.Errorf("got %v", err)
	}
	if len(*told) != 1 || !strings.Contains((*told)[0], "packages: step one") {
		t.Errorf("told %q", *told)
	}
}

func TestGivenUpProgramGoesWithAllItsChildren(t *testing.T) {
	b, _ := testBuilder(t)
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(b.work, "started")
	// The child ignores signals that can be ignored and holds the error output open, as a package's installation would.
	cmd := b.command(ctx, "/bin/sh", "-c", "trap '' INT TERM; (trap '' INT TERM; touch "+started+"; sleep 1000) & wait")
	go func() {
		for range 2000 {
			if _, err := os.Stat(started); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	began := time.Now()
	if err := b.runNoted(cmd, "packages", quiet); err == nil {
		t.Error("a killed program is no error")
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("its end took %v", took)
	}
}

func TestProgramSeesNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("EASEL_SECRET", "x")
	b, _ := testBuilder(t)
	cmd := b.command(t.Context(), "/usr/bin/env")
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "EASEL_SECRET") {
		t.Errorf("environment: %s", text)
	}
}

func TestCacheKeepsWhatIsUsed(t *testing.T) {
	b, _ := testBuilder(t)
	for _, name := range []string{"base-old", "base-used"} {
		if err := b.step(name, Layer{Size: 5}, func(dir string) error { return os.WriteFile(filepath.Join(dir, layerFile), nil, 0o600) }); err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-2 * cacheAge)
		if err := os.Chtimes(b.cache.path(name, metaFile), long, long); err != nil {
			t.Fatal(err)
		}
	}
	var l Layer
	if ok, err := b.cache.load("base-used", &l); err != nil || !ok || l.Size != 5 {
		t.Fatalf("loaded %+v, %v, %v", l, ok, err)
	}
	if err := b.cache.prune(time.Now().Add(-cacheAge)); err != nil {
		t.Fatal(err)
	}
	if ok, _ := b.cache.load("base-old", &l); ok {
		t.Error("the old entry is still there")
	}
	if ok, _ := b.cache.load("base-used", &l); !ok {
		t.Error("the used entry is gone")
	}
}

func TestDamagedCacheEntryIsMadeAnew(t *testing.T) {
	b, _ := testBuilder(t)
	if err := os.MkdirAll(b.cache.path("base-x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.cache.path("base-x", metaFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var l Layer
	if ok, err := b.cache.load("base-x", &l); ok || err != nil {
		t.Fatalf("loaded: %v, %v", ok, err)
	}
	if err := b.step("base-x", Layer{Size: 7}, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if ok, err := b.cache.load("base-x", &l); !ok || err != nil || l.Size != 7 {
		t.Errorf("loaded %+v, %v, %v", l, ok, err)
	}
}

func TestSecondBuildWaitsForTheFirst(t *testing.T) {
	c := cache{t.TempDir()}
	unlock, err := c.lock(t.Context(), func() { t.Error("waited for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	told := false
	if _, err := c.lock(ctx, func() { told = true }); err == nil || !told {
		t.Errorf("two builds at once (told %v): %v", told, err)
	}
	unlock()
	again, err := c.lock(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestDriftIsAnErrorOnlyWhenLocked(t *testing.T) {
	b, told := testBuilder(t)
	changes := []Change{{Name: "gimp", Was: "1", Is: "2"}}
	if err := b.reportDrift(changes); err != nil {
		t.Errorf("without --locked: %v", err)
	}
	if !strings.Contains(strings.Join(*told, "\n"), "gimp: 1 → 2") {
		t.Errorf("told %q", *told)
	}
	b.options.Locked = true
	if err := b.reportDrift(changes); err == nil || !strings.Contains(err.Error(), "gimp: 1 → 2") {
		t.Errorf("with --locked: %v", err)
	}
	if err := b.reportDrift(nil); err != nil {
		t.Errorf("no drift: %v", err)
	}
}

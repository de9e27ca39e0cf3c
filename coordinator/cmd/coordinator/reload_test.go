package main

import (
	"os"
	"strings"
	"testing"

	"easel/pkg/reload"
)

// TestReloadTableNamesEveryField: a new field must say whether a running daemon takes it up.
func TestReloadTableNamesEveryField(t *testing.T) {
	if err := reload.Check[Config](reloads); err != nil {
		t.Error(err)
	}
}

func TestReloadTakesUpTheFile(t *testing.T) {
	p := newPlace(t)
	log, _ := p.daemon()
	before, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := p.mustRun("", "reload"); out != "nothing changed\n" {
		t.Errorf("as it was: %q", out)
	}
	changed := strings.Replace(string(before), "log: {level: debug}", "log: {level: info}\nplacement: {strategy: pack}\ngeoip: /nowhere", 1)
	write(changed)
	if out := p.mustRun("", "reload"); out != "in force now: log.level, placement.strategy; these need a restart: geoip\n" {
		t.Errorf("%q", out)
	}
	if !strings.Contains(log.String(), "the configuration was reloaded") {
		t.Error("the log says nothing of it")
	}
	write(changed + "webhooks: [{url: nowhere}]\n")
	if code, _, stderr := p.command("", "reload"); code != exitFailed || !strings.Contains(stderr, "nowhere") {
		t.Errorf("a fault: exit %d, %q", code, stderr)
	}
}

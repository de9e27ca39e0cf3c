package main

import (
	"strings"
	"testing"

	"easel/coordinator/warmth"
)

func TestParseWindow(t *testing.T) {
	w, err := parseWindow("mon-fri 08:30-18:00 ready=1 desktop=6")
	if err != nil || w != (warmth.Window{Days: "mon-fri", From: "08:30", To: "18:00", Ready: 1, Desktop: 6}) {
		t.Fatalf("%+v, %v", w, err)
	}
	for _, text := range []string{"", "mon", "mon 08:30", "mon 0830 ready=1", "mon 08:30-09:00 many", "mon 08:30-09:00 ready", "mon 08:30-09:00 hot=1"} {
		if w, err := parseWindow(text); err == nil {
			t.Errorf("%q: %+v", text, w)
		}
	}
}

func TestPoliciesOfWarmSessionsAreSetAndCleared(t *testing.T) {
	p := newPlace(t)
	if out := p.mustRun("", "pool", "list"); !strings.Contains(out, "no policy") {
		t.Errorf("%q", out)
	}
	if out := p.mustRun("", "pool", "set", "--mode", "fixed", "--ready", "1", "--desktop", "4"); !strings.Contains(out, "1 ready and 4 desktop") {
		t.Errorf("%q", out)
	}
	p.mustRun("", "pool", "set", "--mode", "schedule", "--image", "easel.local/x:1", "--window", "mon-sun 00:00-24:00 ready=2 desktop=3", "--zone", "Europe/Berlin")
	out := p.mustRun("", "pool", "list")
	for _, want := range []string{"1 ready, 4 desktop", "2 ready, 3 desktop", "[mon-sun 00:00-24:00 ready=2 desktop=3]", "zone=Europe/Berlin"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q lacks %q", out, want)
		}
	}
	p.mustRun("", "pool", "clear")
	if code, _, errs := p.command("", "pool", "clear"); code != exitFailed || !strings.Contains(errs, "no policy for that image") {
		t.Errorf("%d %q", code, errs)
	}
	for _, args := range [][]string{
		{"pool"},
		{"pool", "paint"},
		{"pool", "set"},
		{"pool", "set", "--mode", "guess"},
		{"pool", "set", "--mode", "schedule"},
		{"pool", "set", "--mode", "fixed", "--ready", "-1"},
		{"pool", "set", "--mode", "schedule", "--window", "someday"},
	} {
		if code, _, errs := p.command("", args...); code != exitUsage {
			t.Errorf("%q: %d %q", args, code, errs)
		}
	}
}

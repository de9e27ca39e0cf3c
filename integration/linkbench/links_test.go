package main

import (
	"strings"
	"testing"
	"time"
)

// Each link can be measured by itself: --only parts its words by commas, and a row begins with the name.
func TestEachLinkHasANameOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range links(time.Second) {
		if seen[l.name] || l.name == "" || strings.ContainsAny(l.name, ",|") {
			t.Errorf("%q is no name for --only", l.name)
		}
		seen[l.name] = true
		if got := choose(links(time.Second), l.name); len(got) == 0 || got[0].name != l.name {
			t.Errorf("--only %q chooses %d links, another one first", l.name, len(got))
		}
	}
}

func TestWordsChooseLinks(t *testing.T) {
	all := links(time.Second)
	if got := choose(links(time.Second), ""); len(got) != len(all) {
		t.Errorf("without words %d of %d links are measured", len(got), len(all))
	}
	for _, l := range choose(links(time.Second), "codec,300 ms") {
		if !strings.Contains(l.name, "codec") && l.name != "300 ms" {
			t.Errorf("--only codec,300 ms chooses %q", l.name)
		}
	}
	if got := choose(links(time.Second), "codec,300 ms"); len(got) != 3 {
		t.Errorf("--only codec,300 ms chooses %d links, want 3", len(got))
	}
	if got := choose(links(time.Second), "nothing of the kind"); len(got) != 0 {
		t.Errorf("a word that no name has chooses %d links", len(got))
	}
}

package integration

import (
	"strings"
	"testing"
	"time"

	"easel/integration/browser"
)

// The portal's page measures how far nodes are, from the artist's own browser and by the policy that the page has,
// and the coordinator then says so.
func TestPortalMeasuresHowFarNodesAre(t *testing.T) {
	w := get(t)
	p := w.artist.Portal
	if err := p.Go(w.stack.CoordinatorURL() + "/"); err != nil {
		t.Fatal(err)
	}
	const report = `document.querySelector("form[data-route] input[name=pings]").value`
	if err := p.Until(30*time.Second, report+` !== ""`); err != nil {
		t.Fatalf("%v\n%s", err, p.Console())
	}
	pings, err := browser.Eval[map[string]float64](p, time.Second, "JSON.parse("+report+")")
	if err != nil || len(pings) != 1 {
		t.Fatalf("measured %v, %v", pings, err)
	}
	for node, ms := range pings {
		if ms <= 0 || ms > 1000 {
			t.Errorf("%s is %v ms away", node, ms)
		}
	}
	if err := p.Do(`document.querySelector("#new-session").click()`); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(60*time.Second, "window.easel?.state === 'connected'"); err != nil {
		t.Fatal(err)
	}
	if err := p.Go(w.stack.CoordinatorURL() + "/"); err != nil {
		t.Fatal(err)
	}
	why, err := browser.Eval[string](p, 10*time.Second,
		`fetch("/api/v1/route?explain=1").then((r) => r.json()).then((r) => r.nodes[0].scores.find((s) => s.name === "distance").why)`)
	if err != nil || !strings.Contains(why, "measured by the browser") {
		t.Errorf("the distance is %q, %v", why, err)
	}
}

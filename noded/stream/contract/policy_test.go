package contract

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPolicyOpensTheWaysThatItNames(t *testing.T) {
	for text, want := range map[string]struct{ in, out bool }{
		`{}`: {true, true}, `{"clipboard":"both"}`: {true, true}, `{"clipboard":"in"}`: {true, false},
		`{"clipboard":"out"}`: {false, true}, `{"clipboard":"off"}`: {false, false},
	} {
		p, whole, err := ReadPolicy(strings.NewReader(text))
		if err != nil || !whole || p.TakesIn() != want.in || p.LetsOut() != want.out {
			t.Errorf("%s: in %t, out %t, %v", text, p.TakesIn(), p.LetsOut(), err)
		}
	}
	for _, text := range []string{``, `{"clipboard":"open"}`, `{"files":"some"}`, `{} {}`, `{"clipboard":"` + strings.Repeat("x", MaxPolicy) + `"}`} {
		if p, _, err := ReadPolicy(strings.NewReader(text)); err == nil || p != (Policy{}) {
			t.Errorf("%.40s: read as %+v", text, p)
		}
	}
}

func FuzzReadPolicy(f *testing.F) {
	f.Add(`{"clipboard":"off"}`)
	f.Fuzz(func(t *testing.T, s string) {
		p, _, err := ReadPolicy(strings.NewReader(s))
		if err != nil {
			return
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, whole, err := ReadPolicy(strings.NewReader(string(b))); err != nil || !whole || again != p {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}

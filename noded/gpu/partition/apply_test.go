package partition

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu/nvmltest"
)

func TestApplyDividesAndPutsTogether(t *testing.T) {
	for _, c := range []struct {
		model nvmltest.Model
		mixed []string
		small string
		n     int
	}{
		{nvmltest.A100(), []string{"3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb+me"}, "1g.5gb", 7},
		{nvmltest.H100(), []string{"3g.40gb", "2g.20gb", "1g.20gb"}, "1g.10gb", 7},
		{nvmltest.H200(), []string{"4g.71gb", "1g.35gb", "1g.18gb+me"}, "1g.18gb", 7},
		{nvmltest.B200(), []string{"3g.90gb", "3g.90gb"}, "1g.23gb", 7},
		{nvmltest.RTXPro6000(), []string{"2g.48gb", "1g.24gb+gfx", "1g.24gb"}, "1g.24gb", 4},
	} {
		t.Run(c.model.Name, func(t *testing.T) {
			w := newWorld(t, c.model)
			small := strings.Split(strings.TrimSuffix(strings.Repeat(c.small+" ", c.n), " "), " ")
			for _, profiles := range [][]string{c.mixed, small, c.mixed[:1], {}, c.mixed} {
				if _, err := w.apply(mig(profiles...)); err != nil {
					t.Fatal(err)
				}
				w.sound()
				if got := len(w.keeper.Slices()); got != len(profiles) {
					t.Fatalf("%v gave %s", profiles, w.slices())
				}
				for _, p := range profiles {
					if !strings.Contains(w.slices(), p) {
						t.Fatalf("%v gave %s", profiles, w.slices())
					}
				}
			}
			for file, want := range map[string]string{"    shares: 3\n": "shared, shared, shared", "    whole: true\n": "whole"} {
				if _, err := w.apply("  - model: \"*\"\n" + file); err != nil {
					t.Fatal(err)
				}
				if w.sound(); w.slices() != want || w.state() != "whole" {
					t.Fatalf("%s gave %s, the card is %s", file, w.slices(), w.state())
				}
			}
		})
	}
}

// Applied again, a file changes nothing and asks nothing of the driver.
func TestApplyIsIdempotent(t *testing.T) {
	w := newWorld(t, nvmltest.H100(), nvmltest.L40S())
	file := mig("3g.40gb", "3g.40gb") + "  - index: 1\n    shares: 4\n    memory: 8GiB\n"
	if _, err := w.apply(file); err != nil {
		t.Fatal(err)
	}
	calls := len(w.machine.Calls())
	events, err := w.apply(file)
	if err != nil || events[0].Plan.Changes() || len(w.machine.Calls()) != calls {
		t.Fatalf("%v, %+v, %q", err, events[0].Plan, w.machine.Calls()[calls:])
	}
	w.sound()
}

// A session whose instance is wanted again keeps it, and is not asked to go.
func TestApplyLeavesSessionsThatAreNotInTheWay(t *testing.T) {
	w := newWorld(t, nvmltest.H100())
	if _, err := w.apply(mig("1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb")); err != nil {
		t.Fatal(err)
	}
	var held []string
	for _, session := range []string{"s1", "s2"} {
		held = append(held, w.hold(session, "1g.10gb").ID)
	}
	w.vacated = func(ids []string) error { t.Errorf("%v were to go", ids); return nil }
	if _, err := w.apply(mig("3g.40gb", "1g.10gb", "1g.10gb")); err != nil {
		t.Fatal(err)
	}
	w.sound()
	for _, id := range held {
		if !strings.Contains(ids(w), id) {
			t.Errorf("%s is gone", id)
		}
	}
	w.vacated = nil
	events, err := w.apply(mig("7g.80gb"))
	if err != nil || len(events[0].Plan.Cards[0].InWay) != 2 || len(w.held) != 0 {
		t.Fatalf("%v; in the way were %+v, left are %v", err, events[0].Plan.Cards[0].InWay, w.held)
	}
}

func ids(w *world) string {
	var all []string
	for _, s := range w.keeper.Slices() {
		all = append(all, s.ID)
	}
	return strings.Join(all, " ")
}

// While sessions end nobody is given what is to go; when they do not end nothing was touched.
func TestApplyTouchesNothingWhileSessionsStay(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.hold("s1", "whole")
	w.vacated = func([]string) error {
		if got := w.slices(); got != "whole (it is being divided anew)" {
			t.Errorf("meanwhile there is %s", got)
		}
		return nvml.ERROR_TIMEOUT // any
	}
	_, err := w.apply(mig("7g.40gb"))
	if err == nil || !strings.Contains(err.Error(), "end the sessions in the way") {
		t.Fatal(err)
	}
	if calls := w.machine.Calls(); len(calls) > 0 || w.slices() != "whole" || w.state() != "whole" {
		t.Fatalf("%q; %s; %s", calls, w.slices(), w.state())
	}
}

// A share whose number and memory stay is not taken from its session.
func TestSharesThatStayAreKept(t *testing.T) {
	w := newWorld(t, nvmltest.L40S())
	if _, err := w.apply("  - index: 0\n    shares: 4\n    memory: 10GiB\n"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		w.hold("s", "shared")
	}
	w.vacated = func([]string) error {
		if got := w.slices(); got != "shared, shared, shared (it is being divided anew), shared (it is being divided anew)" {
			t.Errorf("meanwhile there is %s", got)
		}
		w.vacated = nil
		return nil
	}
	if _, err := w.apply("  - index: 0\n    shares: 2\n    memory: 10GiB\n"); err != nil {
		t.Fatal(err)
	}
	if len(w.held) != 2 {
		t.Fatalf("%v hold slices", w.held)
	}
	if _, err := w.apply("  - index: 0\n    shares: 2\n    memory: 20GiB\n"); err != nil || len(w.held) != 0 {
		t.Fatalf("%v; they were promised another size, and %v hold them", err, w.held)
	}
}

func TestRefusedBeforeAnythingIsTouched(t *testing.T) {
	for _, c := range []struct {
		name, file, want string
		models           []nvmltest.Model
		before           func(*world)
	}{
		{"too many", mig("3g.20gb", "3g.20gb", "1g.5gb"), "do not fit on it together", nil, nil},
		{"more than it has", mig("1g.5gb+me", "1g.5gb+me"), "room for 1 of 1g.5gb+me, not 2", nil, nil},
		{"no such profile", mig("1g.10gb", "1g.12gb"), "it has no MIG profile 1g.12gb; it has 7g.40gb", nil, nil},
		{"no MIG", mig("1g.5gb"), "has no MIG", []nvmltest.Model{nvmltest.L40S()}, nil},
		{"too much memory", "  - index: 0\n    shares: 8\n    memory: 16GiB\n", "8 shares of 16GiB are 128GiB in all, and the card has", nil, nil},
		{"no such card", mig("7g.40gb") + "  - index: 3\n    whole: true\n", "this node has no card with index 3", nil, nil},
		{"two rules", "  - index: 0\n    whole: true\n  - pci: \"10:00.0\"\n    whole: true\n", "lines 3 and 5 are both about it", nil, nil},
		{"lost", mig("7g.40gb"), "card 0: it is not healthy", nil, func(w *world) { w.machine.Card(0).Lose(); w.host.Refresh(w.t.Context()) }},
		{"just lost", mig("7g.40gb"), "card 0: it cannot be asked", nil, func(w *world) { w.machine.Card(0).Lose() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.models == nil {
				c.models = []nvmltest.Model{nvmltest.A100()}
			}
			w := newWorld(t, c.models...)
			if c.before != nil {
				c.before(w)
			}
			_, err := w.apply(c.file)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was touched") {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if calls := w.machine.Calls(); len(calls) > 0 || len(w.keeper.Layout().Closed) > 0 {
				t.Fatalf("%q", calls)
			}
		})
	}
}

// Every layout that go-nvml's tables allow is made on its mock cards, each from the one before.
func TestEveryLayoutIsMade(t *testing.T) {
	for _, model := range []nvmltest.Model{nvmltest.A100(), nvmltest.H100(), nvmltest.H200(), nvmltest.B200()} {
		t.Run(model.Name, func(t *testing.T) {
			w := newMockWorld(t, model)
			profiles := w.keeper.look(t.Context(), w.host.Inventory().Cards[0]).Profiles
			for _, wish := range slices.Sorted(maps.Keys(everything(profiles))) {
				if _, err := w.apply(mig(strings.Fields(wish)...)); err != nil {
					t.Fatalf("%s: %v", wish, err)
				}
				w.sound()
				var there []string
				for _, s := range w.keeper.Slices() {
					there = append(there, s.Class)
				}
				slices.SortFunc(there, bySize)
				if got := strings.Join(there, " "); got != wish {
					t.Fatalf("wanted %s, there is %s", wish, got)
				}
			}
			if _, err := w.apply(whole); err != nil || w.slices() != "whole" {
				t.Fatalf("%v, %s", err, w.slices())
			}
		})
	}
}

package partition

import (
	"strconv"
	"strings"
	"testing"
	"time"

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

// choosy is a driver that takes instances at some places only.
type choosy struct {
	nvml.Device
	takes func(start uint32) bool
	asked *[]uint32
}

func (c choosy) CreateGpuInstanceWithPlacement(p *nvml.GpuInstanceProfileInfo, at *nvml.GpuInstancePlacement) (nvml.GpuInstance, nvml.Return) {
	*c.asked = append(*c.asked, at.Start)
	if !c.takes(at.Start) {
		return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
	}
	return c.Device.CreateGpuInstanceWithPlacement(p, at)
}

// The tables say what may fit, the driver what does: all ways are tried until it takes one.
func TestAllPlacementsAreTriedUntilTheDriverTakesOne(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	var asked []uint32
	takes := func(start uint32) bool { return start == 2 || start == 6 }
	w.device = func(d nvml.Device) nvml.Device { return choosy{d, takes, &asked} }
	if _, err := w.apply(mig("1g.5gb", "1g.5gb")); err != nil {
		t.Fatal(err)
	}
	w.sound()
	if got := w.state(); got != "MIG, 1g.5gb at 2:1, 1g.5gb at 6:1" {
		t.Fatalf("the card is %s after %v were tried", got, asked)
	}
	asked, takes = nil, func(start uint32) bool { return start != 4 }
	before := w.state()
	_, err := w.apply(mig("2g.10gb", "1g.5gb", "1g.5gb", "3g.20gb"))
	if err == nil || !strings.Contains(err.Error(), "the driver took none of") || !strings.Contains(err.Error(), "the card is as it was before") {
		t.Fatal(err)
	}
	if got := w.state(); got != before {
		t.Fatalf("the card was %s, is %s", before, got)
	}
	w.sound()
}

// An instance that another tool made is taken over where it is wanted, and removed where it is not; the plan says so.
func TestForeignInstances(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	other := newWorld(t, nvmltest.A100()) // a keeper of another database on the same card
	other.machine, other.host = w.machine, w.host
	t.Setenv(w.machine.Variable())
	if _, err := other.apply(mig("3g.20gb", "1g.5gb")); err != nil {
		t.Fatal(err)
	}
	w.host.Refresh(t.Context())
	if got := w.slices(); got != "3g.20gb, 1g.5gb" && got != "1g.5gb, 3g.20gb" {
		t.Fatalf("as long as nobody says otherwise a card is as it is: %s", got)
	}
	events, err := w.apply(mig("3g.20gb", "3g.20gb"))
	if err != nil {
		t.Fatal(err)
	}
	ch := events[0].Plan.Cards[0]
	if len(ch.Foreign) != 1 || ch.Foreign[0].Profile != "1g.5gb" || !strings.Contains(strings.Join(ch.Steps, "\n"), "which noded did not make") {
		t.Fatalf("%+v", ch)
	}
	w.sound()
}

// What another tool makes while noded is at it is not touched: noded takes its own back, and says so.
func TestForeignInstanceInTheMiddle(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	if _, err := w.apply(mig("1g.5gb")); err != nil {
		t.Fatal(err)
	}
	made := false
	w.device = func(d nvml.Device) nvml.Device {
		if record := w.keeper.now.Load(); !made && record.Work != nil && record.Work.Tasks[0].Step == "verify" {
			made = true
			info, _ := d.GetGpuInstanceProfileInfo(nvml.GPU_INSTANCE_PROFILE_1_SLICE)
			if _, ret := d.CreateGpuInstance(&info); ret != nvml.SUCCESS {
				t.Error(ret)
			}
		}
		return d
	}
	_, err := w.apply(mig("2g.10gb", "1g.5gb"))
	if err == nil || !strings.Contains(err.Error(), "something else than noded made 1g.5gb") {
		t.Fatal(err)
	}
	if got := w.state(); strings.Count(got, "1g.5gb") != 2 || strings.Contains(got, "2g") {
		t.Fatalf("the card is %s", got)
	}
	if closed := w.keeper.Layout().Closed; len(closed) != 1 {
		t.Fatalf("closed are %v", closed)
	}
	if _, err := w.apply(mig("1g.5gb", "1g.5gb")); err != nil { // and that is mended by another
		t.Fatal(err)
	}
	w.sound()
}

// A process that noded does not know holds the card: its MIG mode is not forced, the error names the process.
func TestProcessOnTheCard(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.machine.Card(0).Processes(nvmltest.Process{PID: 1, Memory: 1 << 20, GI: -1, CI: -1})
	events, err := w.apply(mig("7g.40gb"))
	if err == nil || !strings.Contains(err.Error(), "process 1 (") || !strings.Contains(err.Error(), "as it was before") {
		t.Fatal(err)
	}
	if ch := events[0].Plan.Cards[0]; !ch.Reset || len(ch.Users) != 1 {
		t.Fatalf("%+v", ch)
	}
	if w.sound(); w.state() != "whole" {
		t.Fatal(w.state())
	}
	w.machine.Card(0).Processes()
	if _, err := w.apply(mig("7g.40gb")); err != nil {
		t.Fatal(err)
	}
	// Nor is an instance destroyed that a process uses.
	w.machine.Card(0).Processes(nvmltest.Process{PID: 1, Memory: 1 << 20, GI: w.host.Inventory().Cards[0].Instances[0].GI, CI: w.host.Inventory().Cards[0].Instances[0].CI})
	if _, err := w.apply(whole); err == nil || !strings.Contains(err.Error(), "something uses it") {
		t.Fatal(err)
	}
	w.sound()
}

// A host that cannot reset its cards (a virtual machine) must be restarted: the work waits for it.
func TestModeThatWaitsForARestart(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.machine.Card(0).Fail("nvmlDeviceSetMigMode", nvml.ERROR_RESET_REQUIRED)
	_, err := w.apply(mig("3g.20gb", "3g.20gb"))
	if err == nil || !strings.Contains(err.Error(), "restart the host") {
		t.Fatal(err)
	}
	w.restart()
	if got := w.slices(); !strings.Contains(got, "when the host is restarted") {
		t.Fatal(got)
	}
	w.machine.Card(0).Set("mig", 1)
	w.machine.Card(0).Fail("nvmlDeviceSetMigMode", nvml.SUCCESS)
	w.host.Refresh(t.Context())
	w.boot = "boot-2"
	w.restart()
	w.sound()
	if w.slices() != "3g.20gb, 3g.20gb" {
		t.Fatal(w.slices())
	}
}

// A boot takes the instances away, and on newer cards the mode: they are made again, where they were.
func TestRestartOfTheHostBringsTheLayoutBack(t *testing.T) {
	w := newWorld(t, nvmltest.H100())
	if _, err := w.apply(mig("2g.20gb", "1g.10gb", "1g.10gb")); err != nil {
		t.Fatal(err)
	}
	before := w.state()
	for _, mode := range []int{1, 0} {
		for _, c := range w.host.Inventory().Cards[0].Instances {
			w.machine.Card(0).Unset("gi" + strconv.Itoa(c.GI) + ".ci" + strconv.Itoa(c.CI))
			w.machine.Card(0).Unset("gi" + strconv.Itoa(c.GI))
		}
		w.machine.Card(0).Set("mig", mode)
		w.machine.Card(0).Set("mig-pending", mode)
		w.host.Refresh(t.Context())
		w.restart() // of the daemon alone: who took them away meant it
		if got := w.state(); got == before {
			t.Fatalf("the daemon made again what somebody took away: %s", got)
		}
		w.boot += "+"
		w.restart()
		if w.sound(); w.state() != before {
			t.Fatalf("it was %s, is %s", before, w.state())
		}
	}
}

// A card that falls off the bus in the middle is closed until it is back; others are done.
func TestCardLostInTheMiddle(t *testing.T) {
	w := newWorld(t, nvmltest.A100(), nvmltest.H100())
	creates := 0
	w.device = func(d nvml.Device) nvml.Device {
		if record := w.keeper.now.Load(); record.Work != nil && record.Work.Tasks[0].Step == "make" {
			if creates++; creates == 4 {
				w.machine.Card(0).Lose()
			}
		}
		return d
	}
	_, err := w.apply(mig("2g.10gb", "2g.10gb") + "  - index: 1\n    mig: [7g.80gb]\n")
	if err == nil || !strings.Contains(err.Error(), "card 0 (") || !strings.Contains(err.Error(), "it cannot be taken back") {
		t.Fatal(err)
	}
	w.device = nil
	w.host.Refresh(t.Context())
	l := w.keeper.Layout()
	if len(l.Closed) != 1 || !strings.HasSuffix(w.slices(), "7g.80gb") {
		t.Fatalf("%v; %s", l.Closed, w.slices())
	}
	w.restart() // still lost
	if l := w.keeper.Layout(); len(l.Closed) != 1 {
		t.Fatalf("%v", l)
	}
	w.machine.Card(0).Return()
	w.host.Refresh(t.Context())
	w.restart()
	if w.sound(); w.state() != "whole" {
		t.Fatal(w.state())
	}
}

// Two cannot divide at the same time; the second is told so, and the first goes on whoever follows it.
func TestOneApplyAtATime(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.hold("s1", "whole")
	asked, let := make(chan struct{}), make(chan struct{})
	w.vacated = func([]string) error { close(asked); <-let; return nil }
	job, err := w.keeper.Apply(w.spec(mig("7g.40gb")), time.Minute, w)
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	if _, err := w.keeper.Apply(w.spec(whole), 0, w); err == nil || !strings.Contains(err.Error(), "being applied already") {
		t.Error(err)
	}
	close(let)
	if _, err := w.follow(job); err != nil {
		t.Fatal(err)
	}
	w.sound()
	if _, err := w.apply(whole); err != nil {
		t.Fatal(err)
	}
}

// What ends in the middle of a drain has touched nothing, and the next start opens the cards again.
func TestDaemonThatEndsWhileSessionsDrain(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.hold("s1", "whole")
	asked, let := make(chan struct{}), make(chan struct{})
	w.vacated = func([]string) error { close(asked); <-let; return nvml.ERROR_TIMEOUT }
	job, err := w.keeper.Apply(w.spec(mig("7g.40gb")), time.Minute, w)
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	ended := make(chan struct{})
	go func() { w.end(); close(ended) }()
	w.keeper.mu.Lock()
	ctx := w.keeper.ctx
	w.keeper.mu.Unlock()
	if ctx != nil {
		<-ctx.Done()
	}
	close(let)
	<-ended
	if _, err := w.follow(job); err == nil {
		t.Fatal("it was applied")
	}
	w.end = nil
	w.restart()
	if w.sound(); w.slices() != "whole" || len(w.machine.Calls()) > 0 {
		t.Fatalf("%s, %q", w.slices(), w.machine.Calls())
	}
}

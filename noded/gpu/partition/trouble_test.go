package partition

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu/nvmltest"
)

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

// A driver that does not come back is given up on, and its card is closed. What it made after all, late, is taken back by the next start.
func TestDriverThatHangs(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.keeper.asking.make = 100 * time.Millisecond
	w.machine.Card(0).Hang("nvmlDeviceCreateGpuInstanceWithPlacement")
	t.Cleanup(w.machine.Card(0).Return)
	_, err := w.apply(mig("3g.20gb"))
	if err == nil || !strings.Contains(err.Error(), "has not come back") || !strings.Contains(err.Error(), "it cannot be taken back") {
		t.Fatal(err)
	}
	if l := w.keeper.Layout(); len(l.Closed) != 1 {
		t.Fatalf("%+v", l)
	}
	w.machine.Card(0).Return()
	for deadline := time.Now().Add(30 * time.Second); len(w.host.Inventory().Cards[0].Faults) > 0 || len(w.machine.Calls()) < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("the card does not come back: %+v, %q", w.host.Inventory().Cards[0].Faults, w.machine.Calls())
		}
		w.host.Refresh(t.Context())
	}
	w.restart()
	if w.sound(); w.state() != "whole" {
		t.Fatal(w.state())
	}
}

// A card that is lost before anybody was sent away: all stay.
func TestNobodyIsSentAwayForNothing(t *testing.T) {
	w := newWorld(t, nvmltest.A100(), nvmltest.H100())
	w.hold("s1", "whole")
	w.device = func(d nvml.Device) nvml.Device {
		if w.keeper.now.Load().Work != nil {
			w.machine.Card(1).Lose()
		}
		return d
	}
	w.vacated = func(ids []string) error { t.Errorf("%v were to go", ids); return nil }
	_, err := w.apply(mig("7g.40gb") + "  - index: 1\n    mig: [7g.80gb]\n")
	if err == nil || !strings.Contains(err.Error(), "nothing was touched: card 1: it cannot be asked") {
		t.Fatal(err)
	}
	if l := w.keeper.Layout(); len(l.Closed) > 0 || len(w.machine.Calls()) > 0 || len(w.held) != 1 {
		t.Fatalf("%+v, %q, %v", l, w.machine.Calls(), w.held)
	}
}

package partition

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"easel/noded/gpu/nvmltest"
)

// interrupt applies a file and ends the daemon where the work is held at a point, after what was told before it.
func (w *world) interrupt(file, point, told string) {
	w.t.Helper()
	if err := w.points.Arm(point + "=pause"); err != nil {
		w.t.Fatal(err)
	}
	job, err := w.keeper.Apply(w.spec(file), 0, w)
	if err != nil {
		w.t.Fatal(err)
	}
	reached := errors.New("reached")
	err = job.Follow(w.t.Context(), func(e Event) error {
		if strings.Contains(e.Text, told) {
			return reached
		}
		return nil
	})
	if !errors.Is(err, reached) {
		w.t.Fatalf("it ended without %q: %v", told, err)
	}
	w.end()
	w.end = nil
	if err := w.points.Arm(point + "=off"); err != nil {
		w.t.Fatal(err)
	}
}

// A power cut in the middle takes the instances away as well, and the mode: the next start makes all anew.
func TestPowerCutInTheMiddle(t *testing.T) {
	w := newWorld(t, nvmltest.H100())
	if _, err := w.apply(mig("1g.10gb", "2g.20gb")); err != nil {
		t.Fatal(err)
	}
	w.interrupt(mig("1g.10gb", "3g.40gb"), "gpu/begun-verify", "make 3g.40gb")
	w.host.Refresh(t.Context())
	for _, c := range w.host.Inventory().Cards[0].Instances {
		w.machine.Card(0).Unset("gi" + strconv.Itoa(c.GI) + ".ci" + strconv.Itoa(c.CI))
		w.machine.Card(0).Unset("gi" + strconv.Itoa(c.GI))
	}
	w.machine.Card(0).Set("mig", 0)
	w.machine.Card(0).Set("mig-pending", 0)
	w.host.Refresh(t.Context())
	w.boot = "boot-2"
	w.restart()
	if w.sound(); !strings.Contains(w.slices(), "1g.10gb") || !strings.Contains(w.slices(), "3g.40gb") {
		t.Fatal(w.slices())
	}
}

// What a daemon left undone and the next one had no time for before it served, it does while it serves.
func TestWorkGoesOnAfterAShortRecovery(t *testing.T) {
	w := newWorld(t, nvmltest.A100())
	w.interrupt(mig("3g.20gb", "2g.10gb"), "gpu/begun-make", "turn MIG mode on")
	none, cancel := context.WithCancel(t.Context())
	cancel()
	k, err := New(Options{DB: w.db, Cards: w, Boot: w.boot, Points: w.points, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Recover(none); err == nil {
		t.Fatal("there was time")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	w.keeper, w.end = k, func() { cancel(); <-done }
	<-k.ready
	if _, err := w.follow(k.job); err != nil {
		t.Fatal(err)
	}
	if w.sound(); w.slices() != "3g.20gb, 2g.10gb" && w.slices() != "2g.10gb, 3g.20gb" {
		t.Fatal(w.slices())
	}
}

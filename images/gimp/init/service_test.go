package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestServicesStartInOrder(t *testing.T) {
	dir := t.TempDir()
	// Each writes its name when it starts and is ready only a moment later; who starts too soon shows in the order.
	text := func(name string) string {
		return "echo start-" + name + " >>log; sleep 0.05; echo ready-" + name + " >>log; touch " + name + ".ready; exec sleep 1000"
	}
	b, _, end := kept(t, script("gimp", dir, text("gimp"), "x"), script("x", dir, text("x"), "bus"), script("bus", dir, text("bus")))
	eventually(t, "all run", func() bool { r, _ := b.snapshot(); return r.Ready })
	end()
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	want := "start-bus ready-bus start-x ready-x start-gimp ready-gimp"
	if got := strings.Join(strings.Fields(string(log)), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestGIMPThatDiesIsStartedAgainAndCounted(t *testing.T) {
	dir := t.TempDir()
	b, _, _ := kept(t, script("gimp", dir, "touch gimp.ready; exec sleep 1000"))
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
	first := stateOf(b, "gimp").Pid
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another GIMP runs", func() bool { s := stateOf(b, "gimp"); return s.State == running && s.Pid != first })
	if s := stateOf(b, "gimp"); s.Restarts != 1 {
		t.Errorf("restarts: %d, want 1", s.Restarts)
	}
}

func TestRestartingGIMPIsToldAsSuch(t *testing.T) {
	b := newBoard([]string{"gimp"})
	for _, c := range []struct {
		service serviceReport
		want    state
		ready   bool
	}{
		{serviceReport{State: starting}, starting, false},
		{serviceReport{State: running, Pid: 5}, running, true},
		{serviceReport{State: backoff, Restarts: 1}, restarting, false},
		{serviceReport{State: starting, Restarts: 1}, restarting, false},
		{serviceReport{State: running, Pid: 6, Restarts: 1}, running, true},
		{serviceReport{State: failed, Restarts: 3}, failed, false},
	} {
		before, changed := b.snapshot()
		b.update("gimp", func(r *serviceReport) { *r = c.service })
		r, _ := b.snapshot()
		if r.GIMP.State != c.want || r.Ready != c.ready {
			t.Errorf("%+v: told %s, ready %v", c.service, r.GIMP.State, r.Ready)
		}
		if before.Services["gimp"] != c.service {
			select {
			case <-changed:
			default:
				t.Errorf("%+v: nobody was woken", c.service)
			}
			if r.Seq <= before.Seq {
				t.Errorf("%+v: seq stayed %d", c.service, r.Seq)
			}
		}
	}
}

func TestServiceThatCannotRunIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	b, _, _ := kept(t, script("vnc", dir, "echo x >>starts; exit 1"), script("gimp", dir, "touch gimp.ready; exec sleep 1000"))
	eventually(t, "it is given up", func() bool { return stateOf(b, "vnc").State == failed })
	starts, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(starts), "x"); n != quickLimits.mostFails+1 {
		t.Errorf("%d starts, want %d", n, quickLimits.mostFails+1)
	}
	eventually(t, "GIMP runs all the same", func() bool { return stateOf(b, "gimp").State == running })
}

func TestServiceThatNeverBecomesReadyIsKilledAndTriedAgain(t *testing.T) {
	dir := t.TempDir()
	s := script("xorg", dir, "trap '' TERM; echo x >>starts; while :; do sleep 0.1; done")
	s.patience, s.grace = 50*time.Millisecond, 50*time.Millisecond
	b, _, _ := kept(t, s)
	eventually(t, "it is given up", func() bool { return stateOf(b, "xorg").State == failed })
}

func TestPrepareThatFailsCountsAsAFailure(t *testing.T) {
	s := script("gimp", t.TempDir(), "true")
	s.prepare = func() (command, error) { return command{}, errors.New("no home") }
	b, _, _ := kept(t, s)
	eventually(t, "it is given up", func() bool { return stateOf(b, "gimp").State == failed })
}

func TestEndComesInStagesAndSpareNoStubbornProcess(t *testing.T) {
	dir := t.TempDir()
	say := func(name string) string {
		return "trap 'echo " + name + " >>ended; exit 0' TERM; touch " + name + ".ready; while :; do sleep 0.01; done"
	}
	gimp := script("gimp", dir, "trap '' TERM; touch gimp.ready; while :; do test -e asked && echo asked >>ended && exit 0; sleep 0.01; done", "xorg")
	gimp.ask = func() error { return os.WriteFile(filepath.Join(dir, "asked"), nil, 0o600) }
	gimp.asked = patience
	stubborn := script("vnc", dir, "trap '' TERM; sleep 1000 & echo $! >child; touch vnc.ready; while :; do sleep 0.01; done", "xorg")
	b, _, end := kept(t, script("xorg", dir, say("xorg")), script("openbox", dir, say("openbox"), "xorg"), stubborn, gimp)
	eventually(t, "all run", func() bool {
		r, _ := b.snapshot()
		for _, s := range r.Services {
			if s.State != running {
				return false
			}
		}
		return true
	})
	if took := end(); took > 15*time.Second {
		t.Errorf("the end took %v", took)
	}
	ended, err := os.ReadFile(filepath.Join(dir, "ended"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(strings.Fields(string(ended)), " "), "asked openbox xorg"; got != want {
		t.Errorf("ended in order %q, want %q", got, want)
	}
	if child := pidIn(filepath.Join(dir, "child")); child == 0 || alive(child) {
		t.Errorf("the stubborn service's child %d lives", child)
	}
}

func TestGIMPThatDoesNotAnswerIsEndedInTime(t *testing.T) {
	dir := t.TempDir()
	gimp := script("gimp", dir, "trap '' TERM; touch gimp.ready; while :; do sleep 0.01; done")
	asked := make(chan struct{})
	gimp.ask = func() error { close(asked); select {} } // an X server that hangs
	gimp.asked = 100 * time.Millisecond
	b, _, end := kept(t, gimp)
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
	pid := stateOf(b, "gimp").Pid
	if took := end(); took > 15*time.Second {
		t.Errorf("the end took %v", took)
	}
	select {
	case <-asked:
	default:
		t.Error("GIMP was not asked")
	}
	if alive(pid) {
		t.Error("GIMP lives")
	}
}

func TestEndWhileStartingIsQuick(t *testing.T) {
	dir := t.TempDir()
	_, _, end := kept(t, script("xorg", dir, "sleep 1000"), script("gimp", dir, "sleep 1000", "xorg"))
	if took := end(); took > 15*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestWaitForServicesEndsWithItsContext(t *testing.T) {
	b := newBoard([]string{"xorg"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := b.waitRunning(ctx, []string{"xorg"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

package lend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/noded/gpu/partition"
)

// specs keeps whose specification was made.
type specs struct {
	made map[string]string // the slice, by session
	fail error
}

func (s *specs) Make(_ context.Context, session string, slice gpu.Slice) ([]string, error) {
	s.made[session] = slice.ID
	return []string{"device=" + session}, s.fail
}

func (s *specs) Remove(session string) error {
	delete(s.made, session)
	return s.fail
}

func (s *specs) Made() ([]string, error) { return slices.Collect(maps.Keys(s.made)), s.fail }

// bench is a lender on the C double.
type bench struct {
	*Lender
	machine *nvmltest.Machine
	host    *gpu.Host
	specs   *specs
	groups  map[int]string // sessions of the processes that are alive
}

func lender(t *testing.T, divide func(uuid string) partition.Division) *bench {
	t.Helper()
	b := &bench{machine: nvmltest.NewMachine(t, nvmltest.L40S()), specs: &specs{made: map[string]string{}}, groups: map[int]string{}}
	t.Setenv(b.machine.Variable())
	log := slog.New(slog.DiscardHandler)
	b.host = gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), log, time.Now)
	t.Cleanup(b.host.Close)
	layout := partition.Layout{Cards: map[string]partition.Division{b.card(): divide(b.card())}}
	b.Lender = New(Options{
		Cards: b.host, Specs: b.specs, Log: log,
		Slices: func() []gpu.Slice { return partition.Slices(layout, b.host.Inventory()) },
		SessionOf: func(pid int) (string, bool) {
			session, alive := b.groups[pid]
			return session, alive
		},
	})
	b.again, b.within = time.Millisecond, 50*time.Millisecond
	return b
}

func (b *bench) card() string { return b.machine.Card(0).UUID() }

func whole(string) partition.Division { return partition.Division{Mode: partition.Whole} }
func shared(string) partition.Division {
	return partition.Division{Mode: partition.Shared, Shares: 2}
}

// runs has processes use the card: this test's own, as the double drops those that have ended, or another that lives.
func (b *bench) runs(of map[int]string, memory uint64) {
	var all []nvmltest.Process
	for pid, session := range of {
		b.groups[pid] = session
		all = append(all, nvmltest.Process{PID: pid, Memory: memory, GI: -1, CI: -1})
	}
	b.machine.Card(0).Processes(all...)
}

func TestSliceIsFreeOnlyWhenItsMemoryIs(t *testing.T) {
	b := lender(t, whole)
	slice := b.Slices()[0]
	if devices, err := b.Prepare(t.Context(), slice, "sa"); err != nil || !slices.Equal(devices, []string{"device=sa"}) {
		t.Fatalf("%v, %v", devices, err)
	}
	if made, err := b.Prepared(); err != nil || !slices.Equal(made, []string{"sa"}) {
		t.Errorf("prepared for %v, %v", made, err)
	}
	b.runs(map[int]string{os.Getpid(): "sa"}, 300<<20)
	err := b.Free(t.Context(), slice, "sa")
	if want := fmt.Sprintf("process %d (", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "holds 300 MiB") {
		t.Fatalf("error %v, want one that says who holds it", err)
	}
	if len(b.specs.made) > 0 {
		t.Error("its specification is still there")
	}
	b.runs(nil, 0)
	if err := b.Free(t.Context(), slice, "sa"); err != nil {
		t.Fatal(err)
	}
}

// TestSharesAreFreedApart: a neighbour on the card keeps nobody's share; what belongs to nobody who lives keeps all.
func TestSharesAreFreedApart(t *testing.T) {
	b := lender(t, shared)
	mine, others := b.Slices()[0], b.Slices()[1]
	b.runs(map[int]string{os.Getpid(): "sb", os.Getppid(): ""}, 1<<30)
	if err := b.Free(t.Context(), mine, "sa"); err != nil {
		t.Fatalf("while another session and a stranger use the card: %v", err)
	}
	if err := b.Free(t.Context(), others, "sb"); err == nil {
		t.Fatal("a share was free while its session's process used the card")
	}
	b.lookAround(t.Context())
	if memory, _, known := b.Used(others, "sb"); !known || memory != 1<<30 {
		t.Errorf("session sb is said to take %d bytes (%v)", memory, known)
	}
	if memory, _, known := b.Used(mine, "sa"); !known || memory != 0 {
		t.Errorf("session sa is said to take %d bytes (%v)", memory, known)
	}
	if s := b.Slices()[0]; s.Unfit != "" {
		t.Errorf("a share is unfit for a stranger: %s", s.Unfit)
	}
	delete(b.groups, os.Getpid()) // it has ended, and the driver still lists it
	if err := b.Free(t.Context(), mine, "sa"); err == nil || !strings.Contains(err.Error(), "holds 1024 MiB") {
		t.Fatalf("error %v, want one that says that a dead process's memory is not free", err)
	}
}

// TestStrangerOnAWholeCard: it is nobody's while a process of no session uses it.
func TestStrangerOnAWholeCard(t *testing.T) {
	b := lender(t, whole)
	b.runs(map[int]string{os.Getpid(): ""}, 5<<20)
	slice := b.Slices()[0]
	if _, err := b.Prepare(t.Context(), slice, "sa"); err == nil || !strings.Contains(err.Error(), "holds 5 MiB") {
		t.Fatalf("error %v", err)
	}
	b.lookAround(t.Context())
	if s := b.Slices()[0]; !strings.Contains(s.Unfit, "of no session, uses it") {
		t.Fatalf("it is handed out: %+v", s)
	}
	b.runs(nil, 0)
	b.lookAround(t.Context())
	if s := b.Slices()[0]; s.Unfit != "" {
		t.Fatalf("afterwards: %s", s.Unfit)
	}
	b.runs(map[int]string{os.Getpid(): "sa"}, 5<<20)
	b.lookAround(t.Context())
	if s := b.Slices()[0]; s.Unfit != "" {
		t.Fatalf("its own session makes it unfit: %s", s.Unfit)
	}
}

// TestCardThatFellOffTheBusIsLetGo: nothing can be seen of it, and nobody gets it until it is well.
func TestCardThatFellOffTheBusIsLetGo(t *testing.T) {
	b := lender(t, whole)
	slice := b.Slices()[0]
	b.runs(map[int]string{os.Getpid(): "sa"}, 300<<20)
	b.machine.Card(0).Lose()
	if err := b.Free(t.Context(), slice, "sa"); err == nil {
		t.Fatal("it was let go before it was known to be lost")
	}
	b.host.Refresh(t.Context())
	if err := b.Free(t.Context(), slice, "sa"); err != nil {
		t.Fatal(err)
	}
	if s := b.Slices()[0]; s.Unfit == "" {
		t.Fatal("a card that is lost is handed out")
	}
	if err := b.Free(t.Context(), gpu.Slice{ID: "MIG-gone", Class: "1g.10gb", Card: "GPU-gone"}, "sb"); err != nil {
		t.Errorf("a card that is gone: %v", err)
	}
	if err := b.Free(t.Context(), gpu.Slice{}, "sc"); err != nil {
		t.Errorf("a record that names no slice: %v", err)
	}
}

func TestSpecificationThatCannotBeRemovedIsKept(t *testing.T) {
	b := lender(t, whole)
	b.specs.fail = errors.New("the disk is broken")
	if err := b.Free(t.Context(), b.Slices()[0], "sa"); !errors.Is(err, b.specs.fail) {
		t.Fatalf("error %v", err)
	}
}

func TestHowBusySessionsKeepACard(t *testing.T) {
	b := lender(t, shared)
	b.runs(map[int]string{os.Getpid(): "sa", os.Getppid(): ""}, 1<<30)
	b.machine.Card(0).Set("process-use", os.Getpid(), 40, 0, 0, 0)
	b.lookAround(t.Context())
	if _, busy, known := b.Used(b.Slices()[0], "sa"); !known || busy != 0.4 {
		t.Errorf("busy %v (%v), want 0.4", busy, known)
	}
	if _, busy, known := b.Used(b.Slices()[1], "sb"); !known || busy != 0 {
		t.Errorf("who does nothing: busy %v (%v)", busy, known)
	}
}

func TestRunLooksAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		l := New(Options{
			Cards: noCards{}, Log: slog.New(slog.DiscardHandler),
			Slices: func() []gpu.Slice { looks++; return nil },
		})
		ctx, cancel := context.WithTimeout(t.Context(), 3*lookEvery+time.Second)
		defer cancel()
		if err := l.Run(ctx); err != nil || looks != 4 {
			t.Errorf("%d looks, %v", looks, err)
		}
	})
}

// noCards is a host without any.
type noCards struct{ Cards }

func (noCards) Inventory() gpu.Inventory { return gpu.Inventory{Absent: "no library"} }

func TestSessionByItsControlGroup(t *testing.T) {
	for groups, want := range map[string]string{
		"0::/easel/saaa/box\n":                          "saaa",
		"4:memory:/easel/saaa/streamer\n1:name=x:/\n":   "saaa",
		"3:cpu:/user.slice\n4:memory:/easel/saaa/box\n": "saaa",
		"0::/easel-other/saaa/box\n":                    "",
		"0::/user.slice/easel/saaa\n":                   "",
		"0::/easel\n":                                   "",
		"":                                              "",
	} {
		if got := sessionIn(groups, "/easel"); got != want {
			t.Errorf("%q: session %q, want %q", groups, got, want)
		}
	}
	of := SessionByCgroup("/easel-no-such")
	if session, alive := of(os.Getpid()); session != "" || !alive {
		t.Errorf("this process: %q, %v", session, alive)
	}
	if _, alive := of(1 << 30); alive {
		t.Error("a process that is not there is alive")
	}
}

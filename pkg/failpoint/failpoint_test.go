package failpoint

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnarmedAndNilSetsDoNothing(t *testing.T) {
	var none *Set
	if err := none.Hit(t.Context(), "a"); err != nil || none.Names() != nil {
		t.Fatal(err)
	}
	if err := New([]string{"a"}).Hit(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
}

func TestUnlistedPointPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a point that no list names was hit in silence")
		}
	}()
	_ = New([]string{"a"}).Hit(t.Context(), "b")
}

func TestNameListedTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("accepted")
		}
	}()
	New([]string{"a", "b", "a"})
}

func TestErrorActsSoManyTimes(t *testing.T) {
	s := New([]string{"a", "b"})
	if err := s.Arm("a=2*error(disk full), b=error"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err := s.Hit(t.Context(), "a")
		if want := i < 2; errors.Is(err, ErrInjected) != want {
			t.Fatalf("hit %d: %v", i, err)
		}
		if err != nil && !strings.Contains(err.Error(), "disk full") {
			t.Fatal(err)
		}
	}
	if err := s.Arm("b=off"); err != nil {
		t.Fatal(err)
	}
	if err := s.Hit(t.Context(), "b"); err != nil {
		t.Fatalf("disarmed, yet %v", err)
	}
}

func TestDelayHoldsAndHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New([]string{"a", "p"})
		if err := s.Arm("a=delay(1500),p=pause"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := s.Hit(t.Context(), "a"); err != nil || time.Since(start) != 1500*time.Millisecond {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		for _, name := range []string{"a", "p"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := s.Hit(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s: %v", name, err)
			}
			cancel()
		}
	})
}

func TestArmRefusesNonsense(t *testing.T) {
	s := New([]string{"a"})
	for _, spec := range []string{"a", "b=kill", "a=explode", "a=delay(x)", "a=delay", "a=delay(-1)", "a=0*kill", "a=x*kill", "a=error(", "a=kill(1)", "a=", "a=error,b=kill"} {
		if err := s.Arm(spec); err == nil {
			t.Errorf("%q was accepted", spec)
		}
		if err := s.Hit(t.Context(), "a"); err != nil {
			t.Fatalf("%q armed a point though it was refused: %v", spec, err)
		}
	}
}

// TestKillIsAPowerCut runs this test binary again and lets it kill itself.
func TestKillIsAPowerCut(t *testing.T) {
	if os.Getenv("FAILPOINT_TEST_CHILD") != "" {
		s := New([]string{"a"})
		if err := s.Arm(os.Getenv(Environment)); err != nil {
			t.Fatal(err)
		}
		_ = s.Hit(t.Context(), "a")
		t.Fatal("it lived on")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestKillIsAPowerCut$")
	child.Env = append(os.Environ(), "FAILPOINT_TEST_CHILD=1", Environment+"=a=kill")
	err := child.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child ended with %v, want SIGKILL", err)
	}
}

func FuzzArm(f *testing.F) {
	for _, seed := range []string{"a=kill", "a=2*error(x)", "a=delay(10)", "=,,="} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, spec string) { _ = New([]string{"a"}).Arm(spec) })
}

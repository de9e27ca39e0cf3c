package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// proving is an openCL whose program is a shell script, which writes its answer to descriptor 3.
func proving(t *testing.T, text string) *openCL {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := &openCL{kind: "gpu", patience: patience, reaper: reaping(t), board: newBoard([]string{gimpName}), log: log, first: make(chan struct{})}
	o.program = func() (command, error) {
		read, write, err := os.Pipe()
		if err != nil {
			return command{}, err
		}
		return command{path: "/bin/sh", args: []string{"sh", "-c", text}, env: os.Environ(), files: []*os.File{write}, read: read}, nil
	}
	return o
}

func TestOpenCLIsOnlyOnWhenItWasProven(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		state  openCLState
		why    string // a part of it
	}{
		"a right picture":            {`echo '{"device":"card","why":""}' >&3`, openCLOn, ""},
		"and the driver hangs after": {`echo '{"device":"card","why":""}' >&3; exec sleep 1000`, openCLOn, ""},
		"a wrong picture":            {`echo '{"device":"card","why":"another picture"}' >&3`, openCLFailed, "another picture"},
		"a crash":                    {`kill -SEGV $$`, openCLFailed, "killed by segmentation fault"},
		"a silent end":               {`exit 3`, openCLFailed, "exit status 3"},
		"no JSON":                    {`echo on >&3`, openCLFailed, "cannot be read"},
		"an endless answer":          {`exec cat /dev/zero >&3`, openCLFailed, "longer than"},
		"text that would not print":  {`printf '{"why":"a\\u001b[31m\\nb%01000d"}\n' 0 >&3`, openCLFailed, "a [31m b000"},
	} {
		t.Run(name, func(t *testing.T) {
			o := proving(t, c.script)
			o.begin(t.Context())
			o.settle(t.Context(), 0)
			got := o.board.openCL()
			if got.State != c.state || !strings.Contains(got.Why, c.why) || len(got.Why) > mostOpenCLText {
				t.Fatalf("%+v, want %s and %q", got, c.state, c.why)
			}
			env := o.environment([]string{"A=b", "GEGL_USE_OPENCL=yes"}, o.on())
			want, rc := "GEGL_USE_OPENCL=no", "(use-opencl no)\n"
			if c.state == openCLOn {
				want, rc = "GEGL_USE_OPENCL=gpu", "(use-opencl yes)\n"
			}
			if !slices.Equal(env, []string{"A=b", want}) || o.gimprc() != rc {
				t.Errorf("GIMP is started with %q and %q", env, o.gimprc())
			}
		})
	}
}

func TestDriverThatHangsIsEndedWithAllThatItStarted(t *testing.T) {
	dir := t.TempDir()
	o := proving(t, fmt.Sprintf(`cd %s; echo $$ >outer; sh -c 'echo $$ >inner.new; mv inner.new inner; exec sleep 1000' & wait`, dir))
	o.patience = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := o.ask(ctx)
		done <- err
	}()
	eventually(t, "it runs", func() bool { return pidIn(filepath.Join(dir, "inner")) > 0 })
	cancel(context.DeadlineExceeded)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "may hang") {
		t.Errorf("%v", err)
	}
	for _, file := range []string{"outer", "inner"} {
		pid := pidIn(filepath.Join(dir, file))
		eventually(t, file+" is gone", func() bool { return !alive(pid) })
	}
}

func TestProofHasItsTime(t *testing.T) {
	o := proving(t, "exec sleep 1000")
	o.patience = 10 * time.Millisecond
	o.begin(t.Context())
	if got := o.board.openCL(); got.State != openCLFailed || !strings.Contains(got.Why, "no answer within 10ms") {
		t.Fatalf("%+v", got)
	}
}

func TestSessionWithoutOpenCLProvesNothing(t *testing.T) {
	o := proving(t, "exit 1")
	o.kind = ""
	o.program = func() (command, error) { t.Error("it was asked to"); return command{}, os.ErrInvalid }
	o.begin(t.Context())
	o.settle(t.Context(), 0)
	o.settle(t.Context(), 1)
	if got := o.board.openCL(); got != (openCLReport{State: openCLOff}) {
		t.Fatalf("%+v", got)
	}
}

func TestGIMPWaitsForTheProof(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := proving(t, fmt.Sprintf(`read x <%s/go; echo '{"device":"card"}' >&3`, dir))
	settled := make(chan struct{})
	go o.begin(t.Context())
	go func() { defer close(settled); o.settle(t.Context(), 0) }()
	eventually(t, "it is being proven", func() bool { return o.board.openCL().State == openCLProving })
	select {
	case <-settled:
		t.Error("GIMP may start before the outcome is known")
	default:
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	<-settled
	if !o.on() {
		t.Errorf("%+v", o.board.openCL())
	}
}

// A card can fall off the bus while GIMP computes on it.
func TestGIMPThatEndedHasItsOpenCLProvenAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "answer")
	say := func(why string) {
		text, _ := json.Marshal(openCLAnswer{Device: "card", Why: why})
		if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := proving(t, "cat "+file+" >&3")
	say("")
	o.begin(t.Context())
	o.settle(t.Context(), 1)
	if !o.on() {
		t.Fatalf("%+v", o.board.openCL())
	}
	say("the card is gone")
	o.settle(t.Context(), 1)
	if got := o.board.openCL(); got.State != openCLFailed || got.Why != "the card is gone" {
		t.Fatalf("%+v", got)
	}
	say("")
	o.settle(t.Context(), 1)
	if o.on() {
		t.Fatal("a card that failed is trusted again within one session")
	}
}

func TestGIMPThatEndsAgainAndAgainGoesWithoutOpenCL(t *testing.T) {
	o := proving(t, `echo '{"device":"card"}' >&3`)
	o.begin(t.Context())
	o.settle(t.Context(), mostLivesWithOpenCL-1)
	if !o.on() {
		t.Fatalf("%+v", o.board.openCL())
	}
	o.settle(t.Context(), mostLivesWithOpenCL)
	if got := o.board.openCL(); got.State != openCLFailed || got.Device != "card" || !strings.Contains(got.Why, "GIMP ended 3 times") {
		t.Fatalf("%+v", got)
	}
}

func TestKindOfOpenCL(t *testing.T) {
	for value, want := range map[string]string{"": "", "0": "", "1": "gpu", "cpu": "cpu"} {
		kind, limit, err := kindOfOpenCL(value)
		if err != nil || kind != want || (limit > 0) != (want != "") {
			t.Errorf("%q: %q, %s, %v", value, kind, limit, err)
		}
	}
	if _, _, err := kindOfOpenCL("yes please"); err == nil {
		t.Error("accepted")
	}
}

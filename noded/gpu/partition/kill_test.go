package partition

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/pkg/failpoint"
)

// victim is a process of its own that opens the database and the cards as noded does, ends what was interrupted, and
// applies a file if it is given one.
type victim struct {
	DB, Library, File string
}

// found is what it says at its end.
type found struct {
	State  string // of the card
	Layout Layout
	Slices []gpu.Slice
	Work   bool   // is left
	Error  string // of applying
}

const victimVariable = "EASEL_PARTITION_VICTIM"

func (v victim) run(t *testing.T) {
	db, err := bbolt.Open(v.DB, 0o600, &bbolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.NoSync = true // a kill loses nothing that was written; a power cut is bbolt's own care
	points := failpoint.New(Failpoints())
	if err := points.Arm(os.Getenv(failpoint.Environment)); err != nil {
		t.Fatal(err)
	}
	host := gpu.Open(gpu.Library(v.Library), quiet(), time.Now)
	defer host.Close()
	k, err := New(Options{DB: db, Cards: host, Boot: "boot", Points: points, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Recover(t.Context()); err != nil {
		t.Log(err) // why it was undone
	}
	var out found
	if v.File != "" {
		out.Error = v.apply(t, k)
	}
	host.Refresh(t.Context())
	out.State = describeState(t, k, host.Inventory().Cards[0])
	out.Layout, out.Slices, out.Work = k.Layout(), k.Slices(), k.now.Load().Work != nil
	data, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", victimVariable, data)
}

func (v victim) apply(t *testing.T, k *Keeper) string {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = k.Run(ctx) })
	<-k.ready
	spec, err := Parse([]byte("version: 1\ncards:\n"+v.File), "gpu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job, err := k.Apply(spec, 0, &world{})
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	if err := job.Follow(ctx, func(e Event) error { last = e.Error; return nil }); err != nil {
		t.Fatal(err)
	}
	return last
}

// scene is a node whose daemon dies.
type scene struct {
	t       *testing.T
	machine *nvmltest.Machine
	library string
	db      string
}

// start runs the daemon's part to its end, which killed tells to be that of a SIGKILL.
func (s scene) start(file, points string) (out found, killed bool) {
	s.t.Helper()
	v, err := json.Marshal(victim{s.db, s.library, file})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKillAtEveryStep$", "-test.v")
	cmd.Env = append(os.Environ(), victimVariable+"="+string(v), s.machine.Env(), failpoint.Environment+"="+points)
	text, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil {
		return out, true
	}
	if err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	_, answer, _ := strings.Cut(string(text), victimVariable)
	if err := json.NewDecoder(strings.NewReader(answer)).Decode(&out); err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	return out, false
}

// copy makes the scene as another is.
func (s scene) copy(o scene) {
	s.t.Helper()
	if err := os.RemoveAll(s.machine.Dir); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(s.machine.Dir, os.DirFS(o.machine.Dir)); err != nil {
		s.t.Fatal(err)
	}
	data, err := os.ReadFile(o.db)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.db, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// sound fails unless nothing is left of the work, and what is handed out is all there is.
func (f found) sound(t *testing.T, instances int) {
	t.Helper()
	if f.Work || len(f.Layout.Closed) > 0 || len(f.Slices) != instances {
		t.Fatalf("%+v", f)
	}
	for _, s := range f.Slices {
		if s.Unfit != "" {
			t.Fatalf("%s is not handed out: %s", s.ID, s.Unfit)
		}
	}
}

// kill -9 at every step of an application, forward and back, and again while the next start ends it: the card is then as
// it was, or as it was to be, and nothing is left over.
func TestKillAtEveryStep(t *testing.T) {
	if text := os.Getenv(victimVariable); text != "" {
		var v victim
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		v.run(t)
		return
	}
	library := nvmltest.BuildDouble(t)
	three := mig("2g.10gb", "1g.5gb", "1g.5gb")
	changes := map[string]struct {
		from, to string
		before   int // slices
		after    int
	}{
		"whole to MIG":  {whole, three, 1, 3},
		"MIG to MIG":    {three, mig("3g.20gb", "1g.5gb", "2g.10gb"), 3, 3},
		"MIG to shares": {three, "  - index: 0\n    shares: 2\n", 3, 2},
	}
	met := sync.Map{}
	t.Run("at", func(t *testing.T) {
		for name, c := range changes {
			begun := scene{t, nvmltest.NewMachine(t, nvmltest.A100()), library, filepath.Join(t.TempDir(), "noded.db")}
			before, _ := begun.start(c.from, "")
			before.sound(t, c.before)
			for _, point := range Failpoints() {
				t.Run(name+" "+strings.TrimPrefix(point, "gpu/"), func(t *testing.T) {
					t.Parallel()
					s := scene{t, nvmltest.NewMachine(t, nvmltest.A100()), library, filepath.Join(t.TempDir(), "noded.db")}
					s.copy(begun)
					back := strings.HasPrefix(point, "gpu/und")
					points := point + "=kill"
					if back {
						points += ",gpu/made-verify=error"
					}
					after, killed := s.start(c.to, points)
					if killed {
						met.Store(point, true)
						_, _ = s.start("", points) // dies again, where it meets the point again
						after, _ = s.start("", "")
					}
					if back || killed && point == "gpu/closed" {
						if after.sound(t, c.before); after.State != before.State {
							t.Fatalf("the card was %q, is %q", before.State, after.State)
						}
						return
					}
					if after.sound(t, c.after); after.State == before.State {
						t.Fatalf("the card stayed %q", after.State)
					}
				})
			}
		}
	})
	for _, point := range Failpoints() {
		if _, is := met.Load(point); !is {
			t.Errorf("no change met %s", point)
		}
	}
}

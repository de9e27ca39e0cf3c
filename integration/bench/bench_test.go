package main

import (
	"bytes"
	"encoding/json"
	"image"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

func TestStatTimesWithAnAwkwardProcessName(t *testing.T) {
	line := "42 (a) R (b) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 7 8 20 0 1 0 100 1 1"
	if got := parseStatTimes([]byte(line)); got != 2*time.Second {
		t.Errorf("got %v, want 2s", got)
	}
	if got := parseStatTimes([]byte("nonsense")); got != 0 {
		t.Errorf("nonsense gives %v", got)
	}
}

func TestOwnProcessHasTimesAndMemory(t *testing.T) {
	g := Groups{"me": {os.Getpid()}}
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := time.Now()
	cores, err := coresOver(func() (Groups, error) { return g, nil }, func() error {
		// A busy machine may give this loop little of a core: it ends when it has had enough.
		for from := used(); used()-from < 200*time.Millisecond && time.Since(began) < 20*time.Second; {
		}
		return nil
	})
	if had := cores["me"] * time.Since(began).Seconds(); err != nil || had < 0.15 {
		t.Errorf("a loop of 0.2 s of CPU time counts as %.3f s, %v", had, err)
	}
	m, err := memory(g)
	if err != nil || m["me"] < 1<<20 {
		t.Errorf("memory %v, %v", m, err)
	}
}

func TestDescendantsAreFound(t *testing.T) {
	c := exec.Command("sleep", "5")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	pids, err := withChildren(os.Getpid())
	if err != nil || !slices.Contains(pids, c.Process.Pid) {
		t.Errorf("descendants %v, %v lack %d", pids, err, c.Process.Pid)
	}
}

// A frame shown twice must not count twice, an unreadable one or one before or after the time that counts not at all, and the age is that of the drawing.
func TestJoinCountsEachFrameOnceWithItsAge(t *testing.T) {
	t0 := time.Unix(100, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	var m viewing
	m.join([]xclient.Frame{{Counter: 1, At: at(0)}, {Counter: 2, At: at(100)}, {Counter: 3, At: at(990)}, {Counter: 4, At: at(-20)}, {Counter: 5, At: at(5000)}},
		[]browser.Shown{{Counter: 4, At: at(-3)}, {Counter: -1, At: at(-2)}, {Counter: 1, At: at(10)}, {Counter: 1, At: at(30)}, {Counter: 2, At: at(110)}, {Counter: -1, At: at(120)}, {Counter: 77, At: at(130)}, {Counter: 3, At: at(1005)}},
		t0, time.Second)
	if m.Shown != 2 || m.Drawn != 3 || m.Unread != 2 || !slices.Equal(m.ages, []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}) {
		t.Errorf("got %+v", m)
	}
}

func TestLikeness(t *testing.T) {
	a, b := image.NewRGBA(image.Rect(0, 0, 4, 4)), image.NewRGBA(image.Rect(0, 0, 4, 4))
	if v := likeness(a, b); !math.IsInf(v.RGB, 1) || !math.IsInf(v.Luma, 1) {
		t.Errorf("equal pictures: %v dB", v)
	} else if text, err := json.Marshal(v); err != nil || string(text) != `{"Exact":true}` {
		t.Errorf("equal pictures in JSON: %s, %v", text, err)
	}
	for i := range b.Pix {
		b.Pix[i] = 16
	}
	if v := likeness(a, b); math.Abs(v.RGB-24.05) > 0.01 || math.Abs(v.Luma-24.05) > 0.01 {
		t.Errorf("off by 16: %v dB, want 24.05", v)
	} else if text, err := json.Marshal(v); err != nil || !strings.HasPrefix(string(text), `{"Exact":false,"RGB":24.0`) {
		t.Errorf("off by 16 in JSON: %s, %v", text, err)
	}
}

func spread(p50, p95 int) Quantiles {
	return Quantiles{N: 1, P50: time.Duration(p50) * time.Millisecond, P95: time.Duration(p95) * time.Millisecond}
}

func TestReportSaysReachedAndMiss(t *testing.T) {
	cores := map[string]float64{"x": 1.5}
	idle := 0.3
	easel := &Result{
		Name: easelName, AtRest: Clicks{Small: spread(12, 19), Full: spread(19, 19)}, Animating: Clicks{Small: spread(24, 25)},
		Play: map[xclient.Kind]Motion{
			xclient.Scroll: {Shown: 59, AgeP50: 20 * time.Millisecond, Cores: cores},
			xclient.Paint:  {Shown: 59, AgeP50: 9 * time.Millisecond, Cores: cores},
			xclient.Noise:  {Shown: 29, AgeP50: 24 * time.Millisecond, Cores: cores},
		},
		IdleKBps: &idle, Still: Likeness{math.Inf(1), math.Inf(1)}, Exact: spread(100, 401), Memory: map[string]int64{"streamer": 100 << 20, "Xorg": 30 << 20},
	}
	other := &Result{Name: novncName, AtRest: Clicks{Small: spread(20, 30), Full: spread(20, 30)}, Animating: Clicks{Small: spread(25, 30)}}
	// The floor is in the table but is nobody to be compared with: beside it every ratio would be another.
	floor := &Result{Name: floorName, AtRest: Clicks{Small: spread(5, 5), Full: spread(5, 5)}, Animating: Clicks{Small: spread(11, 11)}}
	var out bytes.Buffer
	if err := report(&out, []*Result{easel, other, floor}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ what, verdict string }{
		{"page at rest, 200×200, part", "reached"},
		{"page at rest, 200×200, p95 beside", "reached"},
		{"page at rest, full screen, part", "MISS"},
		{"page animating, 200×200, part", "MISS"},
		{"page animating, 200×200, p95 beside", "MISS"},
		{"page animating: local canvas (floor)", "–"},
		{"scroll 60 Hz shown", "reached"},
		{"scroll 60 Hz server", "MISS"},
		{"paint 60 Hz age", "MISS"},
		{"noise 30 Hz age", "reached"},
		{"idle page receives", "MISS"},
		{"still detailed picture after 2 s", "reached"},
		{"last change → exact", "MISS"},
		{"streamer and X", "MISS"},
	} {
		found := false
		for line := range strings.SplitSeq(out.String(), "\n") {
			if strings.HasPrefix(line, want.what) || strings.Contains(line, want.what) && strings.Contains(line, want.verdict) {
				found = found || strings.HasSuffix(strings.TrimSpace(line), want.verdict)
			}
		}
		if !found {
			t.Errorf("no line %q with %s in\n%s", want.what, want.verdict, out.String())
		}
	}
	if strings.Contains(out.String(), "noise 30 Hz server") {
		t.Error("noise has no goal for the server's cores")
	}
	if code := run(t.Context(), []string{"-targets", "nonsense"}, &out, &out); code != usage {
		t.Errorf("a wrong target exits with %d", code)
	}
}

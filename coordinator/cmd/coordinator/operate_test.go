package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"easel/coordinator/api"
	"easel/coordinator/events"
)

func TestNodeTableSaysHowEachNodeIs(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	deadline := now.Add(time.Hour)
	var out bytes.Buffer
	err := nodeTable(&out, []api.Node{
		{
			Name: "a", Region: "eu", Zone: "eu-1", Total: 8, Used: 3, Reachable: true, Duty: "serving", Seen: now.Add(-2 * time.Second),
			Load: api.Load{CPUs: 16, CPUPercent: 25, MemoryTotal: 64 << 30, MemoryFree: 32 << 30}, Pools: []api.Pool{{Want: 2, Warm: 1}, {Want: 1, Warm: 1}},
		},
		{Name: "b", Reachable: true, Duty: "draining", Draining: true, Deadline: &deadline},
		{Name: "c", Reachable: true, Duty: "cordoned", Draining: true},
		{Name: "d", Reachable: true, Duty: "serving", Draining: true, Isolated: true},
		{Name: "e", Reachable: true, Duty: "serving", Full: "8 of 8"},
		{Name: "f", Error: "no route"},
		{Name: "g", Lost: true, Error: "silent since noon"},
		{
			Name: "h", Reachable: true, Duty: "serving",
			Classes: []api.Room{{Class: "none", Total: 8}, {Class: "1g.10gb", Total: 7, Used: 2}, {Class: "shared", Total: 4, Used: 1, Encoders: 3}},
			Cards:   []api.Card{{Model: "NVIDIA H100 80GB HBM3", Count: 2, Unhealthy: 1}, {Model: "NVIDIA L40S", Count: 1, Encoder: true}},
		},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range [][]string{
		{"NODE", "STATE"},
		{"a ", "eu/eu-1", "3/8", "2/3", "25% of 16", "32.0 of 64.0 GiB", "2s ago", "serving"},
		{"b ", "draining, sessions end by " + deadline.Local().Format(time.DateTime)},
		{"c ", "cordoned"},
		{"d ", "ISOLATED"},
		{"e ", "full: 8 of 8"},
		{"f ", "SILENT: no route"},
		{"g ", "LOST: silent since noon"},
		{"h ", "1g.10gb 2/7, shared 1/4 (3 enc)", "2 H100 80GB HBM3, no encoder, 1 UNHEALTHY; 1 L40S "},
	} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %q lacks %q", lines[i], part)
			}
		}
	}
}

func TestOverviewFitsItsParts(t *testing.T) {
	var out bytes.Buffer
	view := overview{
		At:       time.Now(),
		Nodes:    []api.Node{{Name: "a", Total: 8, Used: 3, Reachable: true, Duty: "serving"}, {Name: "b", Total: 8, Draining: true, Reachable: true}},
		Sessions: api.SessionList{Sessions: []api.Session{{State: "connected"}, {State: "connected"}, {State: "lost"}}},
		Events:   []events.Event{{At: time.Now(), Subject: "b", Text: "went silent", Bad: true, Times: 3}},
	}
	if err := view.draw(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nodes: 2, serving 1", "room: 3 of 16 used", "sessions: 3, 2 connected, 1 lost", "b: went silent (3 times)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
}

// TestOperatorsCommandsAskTheDaemon: over its socket, with nobody signed in.
func TestOperatorsCommandsAskTheDaemon(t *testing.T) {
	p := newPlace(t)
	if code, _, stderr := p.command("", "nodes"); code != exitFailed || !strings.Contains(stderr, "is it running") {
		t.Errorf("without a daemon: exit %d, %q", code, stderr)
	}
	p.daemon()
	if out := p.mustRun("", "nodes"); !strings.HasPrefix(out, "NODE") {
		t.Errorf("nodes: %q", out)
	}
	if out := p.mustRun("", "sessions"); !strings.HasPrefix(out, "SESSION") {
		t.Errorf("sessions: %q", out)
	}
	var view overview
	if err := json.Unmarshal([]byte(p.mustRun("", "top", "--json")), &view); err != nil || view.At.IsZero() || view.Nodes == nil {
		t.Errorf("top --json: %v, %+v", err, view)
	}
	if out := p.mustRun("", "top", "--once"); !strings.Contains(out, "nodes: 0, serving 0") || strings.Contains(out, "\x1b") {
		t.Errorf("top --once: %q", out)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"drain", "nowhere"}, exitFailed, "there is no such node"},
		{[]string{"uncordon"}, exitUsage, "one node's name"},
		{[]string{"cordon", "a", "--deadline", "5m"}, exitUsage, "deadline"},
		{[]string{"drain", "a", "--deadline", "-5m"}, exitFailed, "deadline_seconds"},
	} {
		if code, _, stderr := p.command("", c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: exit %d, %q", c.args, code, stderr)
		}
	}
}

// frames is a writer that tells of each frame of top.
type frames struct {
	mu    sync.Mutex
	text  strings.Builder
	drawn chan struct{}
}

func (f *frames) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text.Write(b)
	select {
	case f.drawn <- struct{}{}:
	default:
	}
	return len(b), nil
}

func TestTopDrawsUntilItIsInterrupted(t *testing.T) {
	p := newPlace(t)
	p.daemon()
	ctx, interrupt := context.WithCancel(t.Context())
	out, code := &frames{drawn: make(chan struct{}, 10)}, make(chan int)
	go func() { code <- run(ctx, []string{"top", "--config", p.file}, process{os.Stdin, out, os.Stderr}) }()
	for range 2 {
		select {
		case <-out.drawn:
		case <-time.After(10 * time.Second):
			t.Fatal("it draws nothing")
		}
	}
	interrupt()
	if c := <-code; c != exitDone {
		t.Errorf("exit %d", c)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if !strings.HasPrefix(out.text.String(), "\x1b[H") {
		t.Errorf("%q", out.text.String())
	}
}

package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/noded/gpu/partition"
	"easel/noded/session"
	"easel/pkg/api/easel/v1/easelv1connect"
	"easel/pkg/failpoint"
)

// serveCards is a node's GPUService on an admin socket, with cards of the double.
func serveCards(t *testing.T, models ...nvmltest.Model) (config string) {
	t.Helper()
	machine := nvmltest.NewMachine(t, models...)
	t.Setenv(machine.Variable())
	log := slog.New(slog.DiscardHandler)
	cards := gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), log, time.Now)
	t.Cleanup(cards.Close)
	dir, err := os.MkdirTemp("", "nd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	db, err := bbolt.Open(filepath.Join(dir, "noded.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	store, err := session.NewStore(db, log)
	if err != nil {
		t.Fatal(err)
	}
	manager := session.New(session.Options{Store: store, Metrics: session.NewMetrics(prometheus.NewRegistry()), Log: log})
	keeper, err := newLayout(t.Context(), log, db, cards, failpoint.New(partition.Failpoints()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	l, err := net.Listen("unix", filepath.Join(dir, "noded.sock"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(easelv1connect.NewGPUServiceHandler(&gpuService{host: cards, keeper: keeper, sessions: holders{manager}}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return write(t, "run_dir: "+dir+"\ngpu: {layout: "+filepath.Join(dir, "gpu.yaml")+"}\n")
}

func TestGPUPlanAndApply(t *testing.T) {
	config := serveCards(t, nvmltest.H100(), nvmltest.L40S())
	file := write(t, "version: 1\ncards:\n  - model: NVIDIA H100*\n    mig: [3g.40gb, 1g.10gb]\n  - model: NVIDIA L4\n    whole: true\n")
	code, out, errs := cli(t, "gpu", "plan", file, "--config", config)
	for _, want := range []string{
		"card 0: NVIDIA H100", "is whole, is to be MIG 3g.40gb + 1g.10gb (line 3: model \"NVIDIA H100*\")", "1. turn MIG mode on", "2. make 3g.40gb at 0:",
		"card 1: NVIDIA L40S", "stays as it is: whole (no line is about it)", "note: line 5: no card here has model \"NVIDIA L4\"",
	} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Fatalf("plan: %d, %q is not in\n%s%s", code, want, out, errs)
		}
	}
	var p partition.Plan
	if code, out, _ := cli(t, "gpu", "apply", file, "--dry-run", "--json", "--config", config); code != exitDone || json.Unmarshal([]byte(out), &p) != nil || len(p.Cards) != 2 || !p.Cards[0].Reset {
		t.Fatalf("apply --dry-run --json: %d\n%s", code, out)
	}
	if code, out, errs := cli(t, "gpu", "apply", file, "--drain", "0s", "--config", config); code != exitDone || !strings.Contains(out, "card 0: it is MIG 3g.40gb + 1g.10gb now\nDone.\n") {
		t.Fatalf("apply: %d\n%s%s", code, out, errs)
	}
	if code, out, _ := cli(t, "gpu", "status", "--config", config); code != exitDone || !strings.Contains(out, "divided: MIG 3g.40gb + 1g.10gb") || !strings.Contains(out, "1g.10gb") {
		t.Fatalf("status: %d\n%s", code, out)
	}
	if code, out, _ := cli(t, "gpu", "plan", file, "--config", config); code != exitDone || !strings.HasSuffix(out, "Nothing changes.\n") {
		t.Fatalf("plan again: %d\n%s", code, out)
	}
	code, out, _ = cli(t, "gpu", "apply", file, "--json", "--config", config)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last partition.Event
	if code != exitDone || json.Unmarshal([]byte(lines[len(lines)-1]), &last) != nil || !last.Done {
		t.Fatalf("apply --json: %d\n%s", code, out)
	}
}

func TestGPUPlanAndApplyRefuse(t *testing.T) {
	config := serveCards(t, nvmltest.A100())
	head := "version: 1\ncards:\n"
	for name, c := range map[string]struct {
		file, says string
		code       int
		more       []string
	}{
		"does not fit":    {head + "  - index: 0\n    mig: [7g.40gb, 1g.5gb]\n", "do not fit on it together", exitFailed, nil},
		"unknown field":   {head + "  - index: 0\n    hole: true\n", `:4: unknown field "hole" in cards; did you mean "whole"?`, exitFailed, nil},
		"no such card":    {head + "  - index: 1\n    whole: true\n", "this node has no card with index 1", exitFailed, nil},
		"two files":       {head, "one file at most", exitUsage, []string{"x"}},
		"an odd argument": {head, "flag provided but not defined", exitUsage, []string{"--yes"}},
	} {
		for _, command := range []string{"plan", "apply"} {
			args := append([]string{"gpu", command, write(t, c.file), "--config", config}, c.more...)
			if code, out, errs := cli(t, args...); code != c.code || !strings.Contains(errs, c.says) {
				t.Errorf("%s, %s: %d\n%s%s", command, name, code, out, errs)
			}
		}
	}
	if code, _, errs := cli(t, "gpu", "apply", "--drain", "-1s", "--config", config); code != exitUsage || !strings.Contains(errs, "--drain") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := cli(t, "gpu", "plan", "--config", config); code != exitFailed || !strings.Contains(errs, "gpu.yaml: no such file") {
		t.Errorf("the file of the configuration is not there: %d %s", code, errs)
	}
}

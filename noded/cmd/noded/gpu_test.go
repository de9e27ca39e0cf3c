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

	"connectrpc.com/connect"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	"easel/noded/gpu/partition"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// cardsOnly is the daemon's answers about its cards, without sessions.
type cardsOnly struct {
	easelv1connect.UnimplementedGPUServiceHandler
	host *gpu.Host
}

func (s cardsOnly) GPUStatus(context.Context, *connect.Request[easelv1.GPUStatusRequest]) (*connect.Response[easelv1.GPUStatusResponse], error) {
	text, err := json.Marshal(s.host.Status(nil, nil))
	return connect.NewResponse(&easelv1.GPUStatusResponse{Json: text}), err
}

func TestGPUStatus(t *testing.T) {
	mock := nvmltest.NewMock(nvmltest.H200(), nvmltest.L40S())
	host := gpu.Open(mock, slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	mock.Cards[1].Lose()
	host.Refresh(t.Context())
	dir, err := os.MkdirTemp("", "nd") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "noded.sock"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(easelv1connect.NewGPUServiceHandler(cardsOnly{host: host}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	config := write(t, "run_dir: "+dir+"\n")
	code, out, errs := cli(t, "gpu", "status", "--config", config)
	for _, want := range []string{"card 0: NVIDIA H200", "encodes nothing (no NVENC)", "card 1: NVIDIA L40S", "FAULTY since", "(lost)"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Fatalf("gpu status: %d, without %q: %s\n%s", code, want, out, errs)
		}
	}
	code, out, errs = cli(t, "gpu", "status", "--json", "--config", config)
	var s gpu.Status
	if err := json.Unmarshal([]byte(out), &s); code != exitDone || err != nil || len(s.Inventory.Cards) != 2 || s.Inventory.Cards[1].Faults[0].Code != "lost" {
		t.Errorf("gpu status --json: %d, %v: %s\n%s", code, err, out, errs)
	}
}

// The layout that the guide shows is one that noded takes.
func TestGuidesLayoutIsTaken(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/gpu.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(guide), "```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the guide has no layout")
	}
	spec, err := partition.Parse([]byte(text), "docs/gpu.md")
	if err != nil || len(spec.Rules) != 3 {
		t.Errorf("the guide's layout: %v, %d rules", err, len(spec.Rules))
	}
}

func TestGPUConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"gpu: {library: libnvidia-ml.so.1}": "gpu.library", "gpu: {layout: gpu.yaml}": "gpu.layout", "gpu: {driver_root: \"\"}": "gpu.driver_root",
		"gpu: {libary: /x}": `did you mean "library"`,
	} {
		if _, err := load(write(t, text+"\n"), func(*Config) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

package gpu_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// layout is one card whole, and one in two shares.
type layout struct{ slices []gpu.Slice }

func (l layout) Slices() []gpu.Slice { return l.slices }

func (l layout) Divided(card string) string {
	for _, s := range l.slices {
		if s.Card == card {
			return "as the test has it: " + s.Class
		}
	}
	return ""
}

type holders map[string]gpu.Holder

func (h holders) Holders() map[string]gpu.Holder { return h }

func TestStatus(t *testing.T) {
	host, mock := onMock(nvmltest.H100(), nvmltest.L40S())
	defer host.Close()
	mock.Cards[1].Processes(nvmltest.Process{PID: os.Getpid(), Memory: 3 << 30, GI: -1, CI: -1})
	mock.Cards[0].Hot(true)
	host.Refresh(t.Context())
	hot, well := mock.Cards[0].UUID, mock.Cards[1].UUID
	l := layout{[]gpu.Slice{
		{ID: hot, Class: gpu.Whole, Card: hot, Memory: 80 << 30, Unfit: "it is too hot"},
		{ID: well + "#1", Class: gpu.Shared, Card: well, Memory: 20 << 30, Encoder: true},
		{ID: well + "#2", Class: gpu.Shared, Card: well, Memory: 20 << 30, Encoder: true},
	}}
	s := host.Status(l, holders{well + "#1": {Session: "s1", User: "frida"}})
	var b strings.Builder
	if err := s.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"driver " + nvmltest.Driver + ", CUDA 12.8", "card 0: NVIDIA H100 80GB HBM3, 80.0 GiB", "card 1: NVIDIA L40S", "at 00000000:11:00.0, NUMA node 0, CPUs 0-1",
		"MIG: off; encodes nothing (no NVENC); decodes h264, hevc\n", "MIG: no; encodes h264, hevc, av1; decodes h264, hevc, av1\n",
		"memory 3.0 GiB of 45.0 GiB", "divided: as the test has it: shared", "(thermal): it is too hot", "not handed out: it is too hot", "held by s1 of frida", "#2  shared  20.0 GiB  yes      free",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the status has no %q:\n%s", want, b.String())
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again gpu.Status
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(s, again) {
		t.Errorf("the status through JSON: %v\n%+v\nwas\n%+v", err, again, s)
	}
}

func TestStatusOfCPUNode(t *testing.T) {
	host := gpu.Open(gpu.Library("/nonexistent/libnvidia-ml.so.1"), slog.New(slog.DiscardHandler), time.Now)
	defer host.Close()
	var b strings.Builder
	if err := host.Status(nil, nil).Write(&b); err != nil || !strings.HasPrefix(b.String(), "a CPU node: NVIDIA's library") {
		t.Errorf("status: %q, %v", b.String(), err)
	}
}

// The operators' guide names the profiles that the models have, and says of each what it encodes.
func TestGuideNamesModels(t *testing.T) {
	guide, err := os.ReadFile("../../docs/gpu.md")
	if err != nil {
		t.Fatal(err)
	}
	for row, model := range map[string]nvmltest.Model{
		"A100 40 GB": nvmltest.A100(), "H100 80 GB": nvmltest.H100(), "H200 141 GB": nvmltest.H200(), "B200 180 GB": nvmltest.B200(),
	} {
		line := regexp.MustCompile(`(?m)^\| ` + row + ` \| (\S+) \| (.*) \|$`).FindSubmatch(guide)
		if line == nil {
			t.Errorf("the guide has no row of %s", row)
			continue
		}
		if none := string(line[1]) == "none"; none == gpu.HasEncoder(model.Name) {
			t.Errorf("the guide says of %s that its NVENC is %q", row, line[1])
		}
		for constant, info := range model.MIGProfiles.GpuInstanceProfiles {
			name, err := gpu.ProfileName(constant, info, model.MemoryMB<<20)
			if err != nil || strings.Count(string(line[2]), "`"+name+"`") != 1 {
				t.Errorf("%s: profile %q, %v, is not once in %q", row, name, err, line[2])
			}
		}
	}
}

// What NVIDIA calls its cards, and whether they have the engine.
func TestHasEncoder(t *testing.T) {
	for model, want := range map[string]bool{
		"NVIDIA A100-SXM4-40GB": false, "NVIDIA A100 80GB PCIe": false, "NVIDIA A100X": false, "NVIDIA A30": false, "NVIDIA A800-SXM4-80GB": false,
		"NVIDIA H100 80GB HBM3": false, "NVIDIA H100 NVL": false, "NVIDIA H200": false, "NVIDIA H20": false, "NVIDIA GH200 480GB": false,
		"NVIDIA B200": false, "NVIDIA GB200": false, "NVIDIA B300 SXM6 AC": false,
		"NVIDIA L4": true, "NVIDIA L40S": true, "NVIDIA A10": true, "NVIDIA A16": true, "NVIDIA A40": true, "NVIDIA RTX A3000 Laptop GPU": true, "Tesla T4": true,
		"NVIDIA RTX PRO 6000 Blackwell Server Edition": true, "NVIDIA GeForce RTX 4090": true, "Tesla V100-SXM2-16GB": true,
	} {
		if got := gpu.HasEncoder(model); got != want {
			t.Errorf("%s has an encoder: %v", model, got)
		}
	}
}

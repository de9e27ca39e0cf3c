package gpucard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"easel/noded/gpu/nvmltest"
	"easel/pkg/codec/nvenctest"
)

func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == JailCommand:
		err = Jail(os.Stdin)
	case len(os.Args) == 3 && os.Args[1] == EncodeCommand:
		err = Encode(os.Args[2], os.Stdout)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func compile(t *testing.T, out, source string, flags ...string) {
	t.Helper()
	args := append([]string{"-O2", "-Wall", "-Wextra", "-Werror", "-o", out, source}, flags...)
	if text, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", source, err, text)
	}
}

// onDoubles has the whole test run on doubles of the driver, one of CUDA's built with these flags.
func onDoubles(t *testing.T, cuda []string, models ...nvmltest.Model) (Options, *nvmltest.Machine) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a jail needs root")
	}
	machine := nvmltest.NewMachine(t, models...)
	t.Setenv(machine.Variable())
	root := machine.DriverRoot()
	library := filepath.Join(root, "usr/lib/x86_64-linux-gnu/libcuda.so."+nvmltest.Driver)
	compile(t, library, "testdata/cuda.c", append(cuda, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-Wl,--no-as-needed", "-lm")...)
	compute := filepath.Join(t.TempDir(), "compute")
	compile(t, compute, "compute/compute.c", "-ldl")
	return Options{Library: nvmltest.BuildDouble(t), DriverRoot: root, Compute: compute, Log: slog.New(slog.DiscardHandler)}, machine
}

func TestCardIsTried(t *testing.T) {
	driver := nvenctest.Build(t)
	for _, c := range []struct {
		name   string
		cuda   []string
		model  nvmltest.Model
		spoil  func(*nvmltest.Machine)
		failed bool
		says   []string
	}{
		{"all well", nil, nvmltest.A100(), nil, false, []string{"A100-SXM4-40GB", "1048576 numbers", "all right", "ok    encode: nothing, as the inventory says", "passed: 4 checks"}},
		{"one number is wrong", []string{"-DWRONG"}, nvmltest.H100(), nil, true, []string{"number 1048575 is wrong", "FAILED: 1 of 4"}},
		{"a session sees two devices", []string{"-DDEVICES=2"}, nvmltest.H100(), nil, true, []string{"must see one device, and sees 2"}},
		{"a card that encodes", nil, nvmltest.L40S(), func(m *nvmltest.Machine) {
			m.Card(0).Set("uuid", nvenctest.Card)
			m.Card(0).Set("encode", "h264 hevc")
		}, false, []string{"ok    encode: h264, hevc; "}},
		{"an encoder that is not there", nil, nvmltest.L40S(), nil, true, []string{"the inventory says h264, hevc, av1, NVENC itself nothing"}},
		{"a faulty card", nil, nvmltest.L40S(), func(m *nvmltest.Machine) { m.Card(0).Set("rows-failed", 1) }, true, []string{"FAIL  health", "replace the card"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, machine := onDoubles(t, c.cuda, c.model)
			if c.spoil != nil {
				c.spoil(machine)
			}
			if c.name == "a card that encodes" {
				t.Setenv("LD_LIBRARY_PATH", driver.Libraries)
			}
			var report bytes.Buffer
			err := Test(t.Context(), o, &report)
			if failed := errors.Is(err, ErrFailed); failed != c.failed || err != nil && !failed {
				t.Errorf("the test says %v, want it failed: %v\n%s", err, c.failed, report.String())
			}
			for _, s := range c.says {
				if !strings.Contains(report.String(), s) {
					t.Errorf("the report has no %q:\n%s", s, report.String())
				}
			}
			if calls := machine.Calls(); len(calls) != 0 {
				t.Errorf("the card was changed: %q", calls)
			}
		})
	}
}

// Without a card nothing has passed.
func TestNoCardIsNotTested(t *testing.T) {
	var report bytes.Buffer
	err := Test(t.Context(), Options{Library: "/nonexistent/libnvidia-ml.so.1", Log: slog.New(slog.DiscardHandler)}, &report)
	if !errors.Is(err, ErrNoCard) || strings.Contains(report.String(), "passed") {
		t.Errorf("without a card: %v\n%s", err, report.String())
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		inventory []string
		nvenc     encodes
		says      string
		wrong     bool
	}{
		{[]string{"h264", "hevc"}, encodes{Codecs: []string{"hevc", "h264"}, Full: true, Bytes: 9}, "hevc, h264; H.264 in 4:4:4 too; a keyframe of 1920×1080 is 9 bytes", false},
		{[]string{"h264"}, encodes{Codecs: []string{"h264"}, Bytes: 9}, "h264; no 4:4:4; a keyframe of 1920×1080 is 9 bytes", false},
		{nil, encodes{Why: "no engine"}, "nothing, as the inventory says; NVENC itself: no engine", false},
		{nil, encodes{Codecs: []string{"h264"}}, "", true},
		{[]string{"h264"}, encodes{Why: "no engine"}, "", true},
	} {
		says, err := compare(c.inventory, c.nvenc)
		if says != c.says || (err != nil) != c.wrong {
			t.Errorf("inventory %q, NVENC %+v: %q, %v", c.inventory, c.nvenc, says, err)
		}
	}
}

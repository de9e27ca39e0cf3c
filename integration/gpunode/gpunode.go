// Package gpunode gives tests a stack with a real noded that has cards: those of a double of NVIDIA's library.
package gpunode

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"easel/integration/devstack"
	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
)

// Options say what node it is.
type Options struct {
	Machine *nvmltest.Machine
	Library string         // the double
	NoImage bool           // without the session image, in a containerd root of its own
	Config  map[string]any // sections of the node's configuration that replace the stack's
}

// Start starts a stack, which the test's end stops. Its cards are not divided, and no layout file is there.
func Start(t *testing.T, o Options) *devstack.Stack {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("noded needs root: run this with sudo make integration")
	}
	dir, err := os.MkdirTemp("", "easel-gn-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	root := ""
	if o.NoImage {
		root = filepath.Join(dir, "containerd-root")
	}
	cards := map[string]any{"library": o.Library, "driver_root": o.Machine.DriverRoot(), "layout": filepath.Join(dir, "none.yaml")}
	stack, err := devstack.Start(t.Context(), devstack.Options{
		Dir: dir, Root: root, NoImage: o.NoImage,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Env: map[string][]string{"noded": {o.Machine.Env()}},
		NodeConfig: func(c map[string]any) {
			c["gpu"] = cards
			maps.Copy(c, o.Config)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("noded's log ends:\n%s", stack.Noded.LogTail(80))
		}
		if err := stack.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return stack
}

// Status is what the node says of its cards.
func Status(t *testing.T, stack *devstack.Stack) gpu.Status {
	t.Helper()
	out, err := stack.NodedCLI(t.Context(), "gpu", "status", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var s gpu.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// Package gpustream proves that the picture of a real session, in a real browser, is encoded by the card that the session holds, on doubles of NVIDIA's
// libraries, and that it outlives the card.
package gpustream

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/gpunode"
	"easel/integration/xclient"
	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/codec/nvenctest"
)

const cardName = "Double of an L40S"

// drivers puts the doubles of all of the driver's libraries side by side, where noded is told that the driver is.
func drivers(t *testing.T) (*nvenctest.Driver, string) {
	t.Helper()
	d := nvenctest.Build(t)
	d.OpenToAll()
	text, err := os.ReadFile(nvmltest.BuildDouble(t))
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(d.Libraries, "libnvidia-ml.so.1")
	if err := os.WriteFile(library, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return d, library
}

func start(t *testing.T, machine *nvmltest.Machine, library string) *devstack.Stack {
	t.Helper()
	return gpunode.Start(t, gpunode.Options{Machine: machine, Library: library, Config: map[string]any{
		"pool": map[string]any{"ready": 0, "desktop": 0}, "sessions": map[string]any{"pin": true},
	}})
}

// until asks again and again, at most for half a minute.
func until(t *testing.T, what string, is func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = is(); err == nil {
			return
		}
	}
	t.Fatalf("waited 30 s until %s: %v", what, err)
}

// noise covers a session's screen with what goes by video alone, until the test ends.
func noise(t *testing.T, stack *devstack.Stack, id string) {
	t.Helper()
	s, err := artist.Inspect(t.Context(), stack, id)
	if err != nil {
		t.Fatal(err)
	}
	x, err := artist.X(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	stop, err := x.Start(t.Context(), xclient.Noise)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSessionsPictureIsMadeByItsCard(t *testing.T) {
	d, library := drivers(t)
	machine := nvmltest.NewMachine(t, nvmltest.L40S())
	d.OnlyCard(machine.Card(0).UUID(), cardName) // before the node proves its encoder
	stack := start(t, machine, library)
	chrome, err := browser.StartChromium(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chrome.Close)
	a, err := artist.SignIn(t.Context(), stack, chrome)
	if err != nil {
		t.Fatal(err)
	}
	made, err := a.CreateAs(map[string]string{"key": "painting", "class": gpu.Whole, "encoder": "hardware"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artist.Await(t.Context(), artist.Node(stack), made.ID, time.Minute, easelv1.State_STATE_READY); err != nil {
		t.Fatal(err)
	}
	proofs := len(d.Frames()) // the session waited for them
	p, err := a.View(made.ID, "scale=1&chrome=0&size=1280x720", browser.PageOptions{Width: 1280, Height: 720})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := artist.AwaitPicture(p, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	encoder := func(want string) func() error {
		return func() error {
			stats, err := artist.Stats(p)
			if err != nil || stats["encoder"] != want {
				return fmt.Errorf("the viewer says %v (%v), want %q", stats["encoder"], err, want)
			}
			return nil
		}
	}
	until(t, "the card encodes", encoder("NVENC ("+cardName+")"))
	if n := len(d.Frames()); proofs == 0 || n == proofs {
		t.Errorf("the card made %d frames, of which %d prove it", n, proofs)
	}

	d.Fault("lost", 1)
	noise(t, stack, made.ID)
	until(t, "x264 stands in", encoder("x264 (software)"))
	until(t, "the node says why", func() error {
		s, err := artist.Await(t.Context(), artist.Node(stack), made.ID, time.Minute, easelv1.State_STATE_CONNECTED)
		if err != nil {
			return err
		}
		if s.GetEncoder() != "x264 (software)" || !slices.ContainsFunc(s.GetDegraded(), func(text string) bool {
			return strings.Contains(text, "stands in") && strings.Contains(text, "device does not exist")
		}) {
			return fmt.Errorf("encoder %q, degraded %q", s.GetEncoder(), s.GetDegraded())
		}
		return nil
	})
	d.Forgive() // a card that is lost takes nothing back
}

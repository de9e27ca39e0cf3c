package runtime

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"easel/noded/gpu"
	"easel/noded/gpu/cdi"
	"easel/noded/gpu/nvmltest"
)

// TestContainerHasItsSlice takes a card of the double through NVIDIA's library into a container, and looks at it from inside, where the
// user namespace makes nobody of the device's owner.
func TestContainerHasItsSlice(t *testing.T) {
	r := dial(t)
	machine := nvmltest.NewMachine(t, nvmltest.L40S(), nvmltest.L40S())
	t.Setenv(machine.Variable())
	cards := gpu.Open(gpu.Library(nvmltest.BuildDouble(t)), slog.Default(), time.Now)
	defer cards.Close()
	root := machine.DriverRoot()
	// The double's nodes are /dev/null under other names, which every container may open: this one needs a rule of its own.
	control := filepath.Join(root, "dev/nvidiactl")
	if err := os.Remove(control); err != nil {
		t.Fatal(err)
	}
	const loopControl = 237 // it opens for everybody, and homes need it anyway
	if err := unix.Mknod(control, unix.S_IFCHR|0o666, int(unix.Mkdev(10, loopControl))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(control, 0o666); err != nil {
		t.Fatal(err)
	}
	maker, err := cdi.New(filepath.Join(t.TempDir(), "cdi"), root, cards, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := started(t, r, func(c *Container) {
		slice := gpu.Slice{ID: machine.Card(1).UUID() + "#2", Class: gpu.Shared, Card: machine.Card(1).UUID()}
		devices, err := maker.Make(t.Context(), c.ID, slice)
		if err != nil {
			t.Fatal(err)
		}
		c.Devices, c.DeviceDir, c.OpenCL = devices, maker.Dir(), true
	})
	var answer string
	for _, device := range []string{"/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"} {
		if tell(t, c, "open "+device, &answer); answer != "ok" {
			t.Errorf("%s does not open in the container: %s", device, answer)
		}
	}
	if tell(t, c, "open /dev/nvidia0", &answer); !strings.Contains(answer, "no such file") {
		t.Errorf("another's card is in the container: %s", answer)
	}
	library := "/usr/lib/x86_64-linux-gnu/libcuda.so." + nvmltest.Driver
	if tell(t, c, "read "+library, &answer); strings.HasPrefix(answer, "error") || answer == "" {
		t.Errorf("the driver's library: %q", answer)
	}
	if tell(t, c, "write "+library+" hostile", &answer); !strings.Contains(answer, "read-only") && !strings.Contains(answer, "permission denied") {
		t.Errorf("the driver's library can be written to: %s", answer)
	}
	var f guestFacts
	if tell(t, c, "facts", &f); !slices.Contains(f.Env, "EASEL_OPENCL=1") {
		t.Errorf("environment: %v", f.Env)
	}
	for line := range strings.Lines(f.Mounts) {
		if at := strings.Fields(line); strings.HasPrefix(at[1], "/usr/lib/") && !strings.HasPrefix(at[3], "ro,") {
			t.Errorf("%s is mounted %s", at[1], at[3])
		}
	}
}

// TestContainerRefusesDevicesThatTakeMore: a specification that would run programs of the host, or hide the container's own mounts, makes
// no container.
func TestContainerRefusesDevicesThatTakeMore(t *testing.T) {
	r := dial(t)
	for name, c := range map[string]struct{ edits, says string }{
		"a hook":           {`{"hooks":[{"hookName":"createContainer","path":"/bin/true"}]}`, "hooks"},
		"its own mount":    {`{"mounts":[{"hostPath":"/etc","containerPath":"/tmp/.X11-unix","options":["rbind","ro"]}]}`, "own mount at /tmp/.X11-unix"},
		"no specification": {"", "has no specification"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.edits != "" {
				spec := `{"cdiVersion":"0.6.0","kind":"easel.local/gpu","devices":[{"name":"x","containerEdits":` + c.edits + `}]}`
				if !json.Valid([]byte(spec)) {
					t.Fatal("the test's own specification is none")
				}
				if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(spec), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			session := newSession(t, r, func(c *Container) { c.Devices, c.DeviceDir = []string{"easel.local/gpu=x"}, dir })
			if err := r.CreateContainer(t.Context(), session); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// Package nvenctest has a double of NVIDIA's driver for tests: libcuda.so.1 and libnvidia-encode.so.1, written in C, which are loaded as the
// real ones are. They mind that the API is used as its contract says, make real H.264 by x264, and fail on demand.
package nvenctest

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed double
var sources embed.FS

// Devices of the double: two cards, and a MIG device of the second.
const (
	Card  = "GPU-5a1e0000-0000-4000-8000-000000000001"
	Other = "GPU-5a1e0000-0000-4000-8000-000000000002"
	MIG   = "MIG-5a1e0000-0000-5000-8000-000000000003"
)

const (
	cudaLibrary   = "libcuda.so.1"
	encodeLibrary = "libnvidia-encode.so.1"
)

// Driver is the double. Its state lies in its folder, so that a test changes it from outside, in this process or another.
type Driver struct {
	t testing.TB
	// Libraries is the folder of the two libraries.
	Libraries string
	faults    map[string]int
	forgiven  bool
}

// Build compiles the double and gives it its devices. When the test ends, nothing may be left of what was opened, and no rule of the API may
// have been broken.
func Build(t testing.TB) *Driver {
	t.Helper()
	d := &Driver{t: t, Libraries: t.TempDir(), faults: map[string]int{}}
	d.compile()
	d.begin()
	return d
}

// Again gives another test a double of its own without compiling it again. A process that has loaded one takes no notice of the other.
func (d *Driver) Again(t testing.TB) *Driver {
	t.Helper()
	again := &Driver{t: t, Libraries: t.TempDir(), faults: map[string]int{}}
	for _, library := range []string{cudaLibrary, encodeLibrary} {
		b, err := os.ReadFile(filepath.Join(d.Libraries, library))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(again.Libraries, library), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	again.begin()
	return again
}

func (d *Driver) compile() {
	d.t.Helper()
	t := d.t
	source := t.TempDir()
	tree, err := fs.Sub(sources, "double")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(source, tree); err != nil {
		t.Fatal(err)
	}
	for library, arguments := range map[string][]string{
		cudaLibrary:   {"cuda.c", "double.c"},
		encodeLibrary: {"encode.c", "h264.c", "double.c", "-lx264"},
	} {
		cc := exec.Command("cc", append([]string{
			"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden", "-o", filepath.Join(d.Libraries, library),
		}, arguments...)...)
		cc.Dir = source
		if out, err := cc.CombinedOutput(); err != nil {
			t.Fatalf("build the double of %s: %v\n%s", library, err, out)
		}
	}
}

func (d *Driver) begin() {
	d.write("devices", fmt.Sprintf("%s %[1]s Double of a card\n%s %[2]s Double of another card\n%s %[2]s Double of a MIG device\n", Card, Other, MIG))
	d.t.Cleanup(d.check)
}

func (d *Driver) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.Libraries, name)
	// A streamer of another user has to write beside it; it reads a whole file or the one before.
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
}

// Fault makes something go wrong from now on; double.h's users in C say what there is. The value that a fault has by itself takes it back.
func (d *Driver) Fault(key string, value int) {
	d.t.Helper()
	d.faults[key] = value
	var b strings.Builder
	for k, v := range d.faults {
		fmt.Fprintf(&b, "%s=%d\n", k, v)
	}
	d.write("faults", b.String())
}

// OnlyCard gives the double one card with this UUID instead of its own devices.
func (d *Driver) OnlyCard(uuid, name string) {
	d.t.Helper()
	d.write("devices", fmt.Sprintf("%s %[1]s %s\n", uuid, name))
}

// OpenToAll lets processes of any user load the double and write what they call.
func (d *Driver) OpenToAll() {
	d.t.Helper()
	if err := errors.Join(os.Chmod(d.Libraries, 0o777), os.Chmod(filepath.Dir(d.Libraries), 0o755)); err != nil {
		d.t.Fatal(err)
	}
	calls, err := os.OpenFile(filepath.Join(d.Libraries, "calls"), os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		d.t.Fatal(err)
	}
	// Several users write to it: the node's proof, and sessions.
	if err := errors.Join(calls.Chmod(0o666), calls.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// Calls are what was called, as far as it counts.
func (d *Driver) Calls() []string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.Libraries, "calls"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Count is how many calls begin so.
func (d *Driver) Count(prefix string) int {
	d.t.Helper()
	n := 0
	for _, c := range d.Calls() {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// Frame is what the double noted of one frame.
type Frame struct {
	Number, Key, QP, Bytes int
	Copied, Copies         int // bytes that came to the card for it, and in how many calls
	Skipped                int // macroblocks that the map of quantisers left out
	Reconfigured           int // how often the session was retuned for it
}

// Frames are all frames that were encoded.
func (d *Driver) Frames() []Frame {
	d.t.Helper()
	var frames []Frame
	for _, c := range d.Calls() {
		var f Frame
		if n, _ := fmt.Sscanf(c, "frame=%d key=%d qp=%d bytes=%d copied=%d copies=%d skipped=%d reconfigured=%d",
			&f.Number, &f.Key, &f.QP, &f.Bytes, &f.Copied, &f.Copies, &f.Skipped, &f.Reconfigured); n == 8 {
			frames = append(frames, f)
		}
	}
	return frames
}

// Await waits until so many calls begin so: what hung goes on in its own time.
func (d *Driver) Await(prefix string, n int) {
	d.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for d.Count(prefix) < n {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited 30 s for %d calls %q of the driver, saw %d", n, prefix, d.Count(prefix))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// check tells of what the API's user did wrong.
func (d *Driver) check() {
	for _, c := range d.Calls() {
		if strings.HasPrefix(c, "violation: ") {
			d.t.Errorf("the driver's API was misused: %s", strings.TrimPrefix(c, "violation: "))
		}
	}
	if d.forgiven {
		return
	}
	for made, gone := range map[string]string{"context made": "context destroyed", "session opened": "session destroyed", "memory allocated": "memory freed"} {
		if a, b := d.Count(made), d.Count(gone); a != b {
			d.t.Errorf("of the driver's API: %d times %q, %d times %q", a, made, b, gone)
		}
	}
}

// Forgive has nothing be missed that a hung driver kept.
func (d *Driver) Forgive() { d.forgiven = true }

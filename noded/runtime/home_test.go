package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"easel/noded/volume"
)

// A home keeps its files for sessions with different uid ranges: on disk they are uid 1000's, whoever wrote them.
func TestHomeVolumeIsTheArtistsInEverySession(t *testing.T) {
	r := dial(t)
	homes := &volume.Homes{StateDir: shared.path("homes-state"), RunDir: shared.path("run"), Size: 32 << 20}
	t.Cleanup(func() {
		if err := homes.Sweep(t.Context(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
	})
	for round, order := range []string{"write /home/artist/picture painted", "read /home/artist/picture"} {
		c := newSession(t, r, func(c *Container) { c.Home = filepath.Join(c.RunDir, "home") })
		if err := homes.Open(t.Context(), "ada", c.Home); err != nil {
			t.Fatal(err)
		}
		if err := r.CreateContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := r.StartTask(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		var answer string
		tell(t, c, order, &answer)
		if want := []string{"ok", "painted"}[round]; answer != want {
			t.Errorf("%s: %q", order, answer)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(c.Home, "picture"), &st); err != nil || st.Uid != artistUID || st.Gid != artistUID {
			t.Errorf("on disk it belongs to %d:%d, %v", st.Uid, st.Gid, err)
		}
		checkFullHome(t, c)
		checkHomeThrottled(t, r, c)
		if err := r.Remove(t.Context(), c.ID, 0); err != nil {
			t.Fatal(err)
		}
		if err := homes.Close(t.Context(), "ada", c.Home); err != nil {
			t.Fatal(err)
		}
	}
}

// loopsOf are the loop devices of images below a directory.
func loopsOf(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && strings.HasPrefix(string(text), dir) {
			found = append(found, strings.TrimSpace(string(text)))
		}
	}
	return found
}

func checkFullHome(t *testing.T, c Container) {
	t.Helper()
	var got struct {
		N     int
		Error string
	}
	tell(t, c, "fill /home/artist/big", &got)
	if got.N > 32<<20 || got.N < 1<<20 || !strings.Contains(got.Error, "no space left") {
		t.Errorf("the home took %d bytes: %s", got.N, got.Error)
	}
}

// The volume's own loop device is throttled: the disk below sees the kernel's writes, not the session's.
func checkHomeThrottled(t *testing.T, r *Runtime, c Container) {
	t.Helper()
	if r.groups.Version() != 1 {
		return // io.max is read by the cgroup package's own test
	}
	text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/blkio", c.Cgroup, "box/blkio.throttle.write_bps_device"))
	if err != nil || !strings.Contains(string(text), DeviceOf(c.Home)+" ") {
		t.Errorf("throttled devices %q (the home is %s), %v", text, DeviceOf(c.Home), err)
	}
}

// What a session asks for at once of its home takes the time that its limits say, whatever the disk could do.
func TestDiskLimitsHold(t *testing.T) {
	r := dial(t)
	homes := &volume.Homes{StateDir: shared.path("throttle-state"), RunDir: shared.path("run"), Size: 64 << 20}
	t.Cleanup(func() {
		if err := homes.Sweep(t.Context(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
	})
	const rate, amount = 8, 16 // MiB a second, MiB
	c := newSession(t, r, func(c *Container) {
		c.Home = filepath.Join(c.RunDir, "home")
		c.Limits.ReadBps, c.Limits.WriteBps = rate<<20, rate<<20
	})
	if err := homes.Open(t.Context(), "ada", c.Home); err != nil {
		t.Fatal(err)
	}
	if err := r.CreateContainer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartTask(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"write", "read"} {
		var got struct {
			MS    int64
			Error string
		}
		tell(t, c, fmt.Sprintf("direct %s /home/artist/big %d", what, amount), &got)
		t.Logf("%s: %d MiB in %d ms", what, amount, got.MS)
		if least := int64(1000 * amount / rate / 2); got.Error != "" || got.MS < least { // half: the kernel counts in slices of time
			t.Errorf("%s: %d MiB took %d ms, at %d MiB a second they take %d at least; %s", what, amount, got.MS, rate, least, got.Error)
		}
	}
	if err := r.Remove(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := homes.Close(t.Context(), "ada", c.Home); err != nil {
		t.Fatal(err)
	}
}

// A home comes into a container that runs already, as it does into one that is made with it, and goes with the container.
func TestHomeComesIntoARunningContainer(t *testing.T) {
	r := dial(t)
	homes := &volume.Homes{StateDir: t.TempDir(), RunDir: shared.path("run"), Size: 32 << 20}
	t.Cleanup(func() {
		if err := homes.Sweep(t.Context(), func(string) bool { return false }); err != nil {
			t.Error(err)
		}
	})
	if got, err := homes.HasProfile("ada"); err != nil || got {
		t.Fatalf("who was never here has a profile: %v, %v", got, err)
	}
	c := newSession(t, r, func(c *Container) { c.Home, c.Warm = filepath.Join(c.RunDir, "home"), "desktop" })
	if err := r.CreateContainer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartTask(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var facts struct{ Env []string }
	tell(t, c, "facts", &facts)
	if !slices.Contains(facts.Env, "EASEL_WARM=desktop") {
		t.Errorf("environment %q", facts.Env)
	}
	var answer string
	tell(t, c, "write /home/artist/before nothing", &answer)
	if err := r.AttachHome(t.Context(), c); err == nil {
		t.Fatal("a home that is not mounted was attached")
	}
	if err := homes.Open(t.Context(), "ada", c.Home); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a noded that was killed does it again
		if err := r.AttachHome(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if tell(t, c, "write /home/artist/picture painted", &answer); answer != "ok" {
		t.Errorf("writing into it: %q", answer)
	}
	if tell(t, c, "read /home/artist/before", &answer); answer == "nothing" {
		t.Error("the home of before still shows")
	}
	var mounts struct{ Mounts string }
	tell(t, c, "facts", &mounts)
	if n := strings.Count(mounts.Mounts, " /home/artist ext4 "); n != 1 {
		t.Errorf("the home is mounted %d times", n)
	}
	for line := range strings.Lines(mounts.Mounts) {
		if strings.Contains(line, "/home/artist ext4") && !(strings.Contains(line, "nosuid") && strings.Contains(line, "nodev")) {
			t.Errorf("mounted as %s", line)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(c.Home, "picture"), &st); err != nil || st.Uid != artistUID || st.Gid != artistUID {
		t.Errorf("on disk it belongs to %d:%d, %v", st.Uid, st.Gid, err)
	}
	checkHomeThrottled(t, r, c)
	if err := r.Wake(t.Context(), c.ID); err != nil {
		t.Error(err)
	}
	if err := r.Remove(t.Context(), c.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.AttachHome(t.Context(), c); err == nil {
		t.Error("a home was attached to a container that is gone")
	}
	if err := homes.Close(t.Context(), "ada", c.Home); err != nil {
		t.Fatal(err)
	}
	if attached := loopsOf(t, shared.path("attach-state")); len(attached) > 0 {
		t.Errorf("the home's device is in use after its container's end: %v", attached)
	}
	if got, err := homes.HasProfile("ada"); err != nil || !got {
		t.Errorf("who has a home has no profile: %v, %v", got, err)
	}
}

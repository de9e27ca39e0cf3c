package runtime

import (
	"os"
	"path/filepath"
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

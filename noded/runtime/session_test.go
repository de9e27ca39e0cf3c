package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"

	"easel/pkg/safesocket"
)

var sessionCount int

// newSession is a prepared session that the test's end takes away, checking that nothing of it is left.
func newSession(t *testing.T, r *Runtime, change func(*Container)) Container {
	t.Helper()
	sessionCount++
	id := fmt.Sprintf("s%016d", sessionCount)
	c := Container{
		ID: id, Image: testImage, UIDBase: 20_000_000 + uint32(sessionCount)*uidRange,
		RunDir: shared.path("run/s/" + id), Cgroup: shared.group + "/" + id,
		Width: 1280, Height: 720, LogPath: shared.path("logs/" + id),
		Limits: Limits{Memory: 128 << 20, CPUs: 1, PIDs: 64, ReadBps: 100 << 20, WriteBps: 100 << 20, Device: DeviceOf(shared.dir)},
	}
	if change != nil {
		change(&c)
	}
	if err := r.PrepareDirs(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { discard(t, r, c) })
	return c
}

func discard(t *testing.T, r *Runtime, c Container) {
	t.Helper()
	ctx := context.Background()
	if err := r.Remove(ctx, c.ID, 0); err != nil {
		t.Error(err)
	}
	if err := r.RemoveDirs(c.RunDir); err != nil {
		t.Error(err)
	}
	if err := leftovers(ctx, r, c); err != nil {
		t.Error("left behind: ", err)
	}
}

// leftovers lists what of the session, and of it alone, is still in containerd, the control groups, the mounts and the file system: another
// test's leftovers are that test's failure.
func leftovers(ctx context.Context, r *Runtime, c Container) error {
	var errs []error
	if _, err := r.client.LoadContainer(ctx, c.ID); !errdefs.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("container (%v)", err))
	}
	if _, err := r.client.SnapshotService(snapshotter).Stat(ctx, c.ID); !errdefs.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("snapshot (%v)", err))
	}
	all, err := r.client.LeasesService().List(ctx)
	if err != nil || slices.ContainsFunc(all, func(l leases.Lease) bool { return l.ID == leaseID(c.ID) }) {
		errs = append(errs, fmt.Errorf("leases %v (%v)", all, err))
	}
	if groups, err := r.Cgroups(); err != nil || slices.Contains(groups, c.ID) {
		errs = append(errs, fmt.Errorf("its control group (%v)", err), r.RemoveCgroup(ctx, r.parent+"/"+c.ID))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.ID) {
		errs = append(errs, fmt.Errorf("mounts with %s (%v)", c.ID, err))
	}
	for _, path := range []string{c.RunDir, shared.bundle(c.ID), shared.bundle("." + c.ID)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s (%v)", path, err))
		}
	}
	return errors.Join(errs...)
}

// started is a session whose guest answers.
func started(t *testing.T, r *Runtime, change func(*Container)) (Container, int) {
	t.Helper()
	c := newSession(t, r, change)
	if err := r.CreateContainer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	pid, err := r.StartTask(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c, pid
}

// tell sends the guest an order and decodes its answer, waiting for the guest to listen.
func tell(t *testing.T, c Container, order string, answer any) {
	t.Helper()
	if err := order1(t.Context(), filepath.Join(c.RunDir, "edge"), "init.sock", order, answer); err != nil {
		log, _ := os.ReadFile(c.LogPath)
		t.Fatalf("telling the guest %q: %v\n%s", order, err, log)
	}
}

func order1(ctx context.Context, dir, name, order string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := safesocket.Dial(ctx, safesocket.Stream, dir, name)
		if err != nil {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(5 * time.Millisecond):
				continue
			}
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := fmt.Fprintln(conn, order); err != nil {
			return err
		}
		return json.NewDecoder(conn).Decode(answer)
	}
}

func ended(t *testing.T, exits <-chan Exit) Exit {
	t.Helper()
	select {
	case exit, ok := <-exits:
		if !ok {
			t.Fatal("the watch ended without an exit")
		}
		return exit
	case <-time.After(20 * time.Second):
		t.Fatal("the container does not end")
	}
	return Exit{}
}

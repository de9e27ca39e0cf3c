package session

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"easel/noded/stream/contract"
)

// within fails the test when do takes longer.
func within(t *testing.T, limit time.Duration, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s takes longer than %s", what, limit)
	}
}

// TestHungContainerdHangsNobody: sessions go on and are followed, new ones are refused in time and with a clear word, the node says
// so, and all is well again when containerd is.
func TestHungContainerdHangsNobody(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.hang(true)
	within(t, containerdPatience+2*time.Second, "a reservation", func() {
		_, _, err := n.Reserve(context.Background(), Request{User: "bob", Key: "k"})
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Reason != "containerd" || !strings.Contains(err.Error(), "no answer within") {
			t.Errorf("%v", err)
		}
	})
	within(t, containerdPatience+2*time.Second, "the node's status", func() {
		status, err := n.Status(context.Background())
		if err != nil || len(status.Degraded) == 0 || !strings.Contains(status.Full, "containerd does not answer") {
			t.Errorf("%+v, %v", status, err)
		}
	})
	h.say(s.ID, func(x *contract.Health) { x.Viewers, x.GIMP.Restarts = 1, 1 })
	n.untilState(s.ID, Connected)
	n.until(s.ID, "known to have restarted GIMP", func(s Session) bool { return s.GIMPRestarts == 1 })
	h.say(s.ID, func(x *contract.Health) { x.Viewers = 0 })
	n.untilState(s.ID, Detached)
	h.hang(false)
	n.reserve("bob", "k")
	if status, err := n.Status(t.Context()); err != nil || len(status.Degraded) > 0 || status.Full != "" {
		t.Errorf("afterwards: %+v, %v", status, err)
	}
}

// TestSlowDiskHangsNobody: while a write takes its time, the node still tells of its sessions, and its watchdog is content.
func TestSlowDiskHangsNobody(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	slow, err := n.db.Begin(true) // every other write waits for this one, as for a disk that syncs for seconds
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, _, err := n.Reserve(ctx, Request{User: "bob", Key: "k"})
		asked <- err
	}()
	within(t, 2*time.Second, "reading", func() {
		if _, err := n.List("", false); err != nil { // what the watchdog asks
			t.Error(err)
		}
		if _, err := n.Get(s.ID); err != nil {
			t.Error(err)
		}
		if _, err := n.Status(context.Background()); err != nil {
			t.Error(err)
		}
	})
	within(t, 2*time.Second, "a reservation with a deadline", func() {
		if err := <-asked; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the reservation: %v", err)
		}
	})
	if err := slow.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, created := n.reserve("bob", "later"); !created {
		t.Error("no session once the disk is quick again")
	}
	all, err := n.List("bob", true)
	if err != nil || len(all) != 1 {
		t.Errorf("a reservation that nobody waited for made a session: %+v, %v", all, err)
	}
}

// TestFullDiskHarmsNoSession: the node says so and takes none, after a restart too, until there is room.
func TestFullDiskHarmsNoSession(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small disk: run it as root")
	}
	h := newHost(t)
	if err := unix.Mount("small", h.run, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(h.run, 0); err != nil {
			t.Errorf("unmount the small disk: %v", err)
		}
	})
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	filler := filepath.Join(h.run, "filler")
	fill(t, filler)
	// The database has some room of its own; it fills that too.
	refused := fillDatabase(t, n)
	if !strings.Contains(refused.Error(), "no space left") {
		t.Fatalf("%v", refused)
	}
	status, err := n.Status(t.Context())
	if err != nil || !strings.Contains(status.Full, "is the disk full?") || len(status.Degraded) == 0 {
		t.Fatalf("%+v, %v", status, err)
	}
	if got, _ := n.Get(s.ID); got.State != Ready || !h.running(s.ID) {
		t.Fatalf("the session is %s", got.State)
	}
	n.stop()
	n = start(t, h, "", nil)
	n.until(s.ID, "taken up", func(s Session) bool { return n.Settled() && s.State == Ready && s.Health.Seq > 0 })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n.reserve("bob", "k")
	if status, err := n.Status(t.Context()); err != nil || status.Full != "" {
		t.Errorf("afterwards: %+v, %v", status, err)
	}
}

// fill writes a file until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// fillDatabase writes to the node's database until it cannot.
func fillDatabase(t *testing.T, n *node) error {
	t.Helper()
	for i := range 1000 {
		err := n.store.update(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketBroken).Put([]byte{byte(i >> 8), byte(i)}, make([]byte, 8192))
		})
		if err != nil {
			return err
		}
	}
	t.Fatal("the database takes what the disk does not")
	return nil
}

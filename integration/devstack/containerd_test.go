package devstack

import (
	"os"
	"path/filepath"
	"testing"
)

// bare is a stack of containerd alone, on a root of its own.
func bare(t *testing.T) *Stack {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"noded", "coordinator", "streamer"} {
		if err := os.WriteFile(filepath.Join(bin, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &Stack{Options: Options{Dir: dir, BinDir: bin, Root: filepath.Join(dir, "root")}}
	if err := s.setDefaults(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.takeLocks(); err != nil {
		t.Fatal(err)
	}
	if err := s.makeDirs(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Containerd.Kill() })
	return s
}

func TestContainerdIsPrivateAndEndsLeavingNothing(t *testing.T) {
	s := bare(t)
	if err := s.startContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, ctx, err := s.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	version, err := c.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("containerd", version.Version)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Containerd.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Containerd.Start(t.Context()); err != nil {
		t.Fatalf("start again after kill -9: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if left, err := findLeftovers(s.rec); err != nil || len(left.list(true)) > 0 {
		t.Errorf("left: %v, %v", left.list(true), err)
	}
}

// A stack that was killed leaves its containerd running: the next one on the same root ends it.
func TestNextStackEndsTheDaemonsOfAKilledOne(t *testing.T) {
	s := bare(t)
	if err := s.startContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What a SIGKILL of the stack's process does: the locks are gone, the record and the daemon are not.
	if err := s.lock.release(); err != nil {
		t.Fatal(err)
	}
	if err := s.dirs.release(); err != nil {
		t.Fatal(err)
	}
	next := &Stack{Options: s.Options}
	if err := next.setDefaults(); err != nil {
		t.Fatal(err)
	}
	previous, err := next.takeLocks()
	if err != nil {
		t.Fatal(err)
	}
	if err := next.recover(t.Context(), previous); err != nil {
		t.Fatal(err)
	}
	if !next.adopt {
		t.Error("the same directory's sessions are not taken over")
	}
	if s.Containerd.PID() != 0 {
		<-s.Containerd.Exited()
	}
	if err := next.startContainerd(t.Context()); err != nil {
		t.Errorf("start on the same root: %v", err)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

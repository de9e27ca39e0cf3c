package devstack

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// whole is a running stack without a session image, in directories of its own.
func whole(t *testing.T) *Stack {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("starts containerd, which needs root")
	}
	run, err := os.MkdirTemp("/run", "eds")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir, RunDir: run, Root: filepath.Join(dir, "root"), NoImage: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Stack) cli(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.CoordinatorCLI(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// seen waits until the coordinator has a node in view, or has none.
func (s *Stack) seen(t *testing.T, want int, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		resp, err := http.Get(s.CoordinatorURL() + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == want {
				return time.Since(began)
			}
		}
		if time.Since(began) > within {
			t.Fatalf("the coordinator's readyz is not %d after %v: %v; noded says:\n%s", want, within, err, s.Noded.LogTail(15))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The whole life of a membership, by the commands that an operator has, on the daemons that ship.
func TestNodeIsRemovedAndJoinsAgain(t *testing.T) {
	s := whole(t)
	if list := s.cli(t, "member", "list"); !strings.Contains(list, nodeName) || !strings.Contains(list, "coordinator1") {
		t.Fatalf("members: %s", list)
	}
	s.cli(t, "gossip", "rotate")
	took := s.seen(t, http.StatusOK, time.Second)
	s.cli(t, "member", "remove", nodeName)
	out := s.seen(t, http.StatusServiceUnavailable, 2*time.Second)
	t.Logf("in view %v after a rotation began, out of view %v after a removal", took, out)
	if err := s.Noded.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Noded.Start(t.Context()); err != nil { // a removed node runs, for the sessions that it has
		t.Fatal(err)
	}
	s.seen(t, http.StatusServiceUnavailable, time.Second)
	if err := os.Rename(filepath.Join(s.state("noded"), "identity"), filepath.Join(s.state("noded"), "identity.old")); err != nil {
		t.Fatal(err)
	}
	if err := s.joinNode(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Noded.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Noded.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.seen(t, http.StatusOK, 20*time.Second)
}

// A coordinator that moved to another address is found again by the node, which knows only the old one and the gossip.
func TestNodeFindsACoordinatorThatMoved(t *testing.T) {
	s := whole(t)
	if err := s.Coordinator.Kill(); err != nil {
		t.Fatal(err)
	}
	moved, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s.api[1] = moved
	if err := s.writeConfigs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Coordinator.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		trust, err := os.ReadFile(filepath.Join(s.state("noded"), "identity", "trust.json"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(trust), moved) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node never heard of %s; it trusts %s", moved, trust)
		}
	}
}

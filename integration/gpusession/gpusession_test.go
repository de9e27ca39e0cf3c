// Package gpusession proves that a real noded, on the double of NVIDIA's library, gives real sessions slices of cards and takes them back.
package gpusession

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/devstack"
	"easel/integration/gpunode"
	"easel/noded/gpu"
	"easel/noded/gpu/nvmltest"
	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// patience is for a session to come up, or to go, on a busy machine.
const patience = 90 * time.Second

// world is a stack whose node has a card of two shares and a whole one, both with encoders.
type world struct {
	t       *testing.T
	stack   *devstack.Stack
	node    easelv1connect.NodeServiceClient
	machine *nvmltest.Machine
}

func start(t *testing.T) *world {
	t.Helper()
	machine := nvmltest.NewMachine(t, nvmltest.L40S(), nvmltest.L40S())
	stack := gpunode.Start(t, gpunode.Options{Machine: machine, Library: nvmltest.BuildDouble(t), Config: map[string]any{
		"sessions": map[string]any{"max": 3, "grace": "10m", "start_timeout": "60s"},
	}})
	w := &world{t: t, stack: stack, node: artist.Node(stack), machine: machine}
	layout := filepath.Join(t.TempDir(), "layout.yaml")
	if err := os.WriteFile(layout, []byte("version: 1\ncards:\n  - index: 0\n    shares: 2\n    memory: 16GiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cli("gpu", "apply", layout)
	return w
}

// cli runs one of the operator's commands, which must succeed.
func (w *world) cli(args ...string) string {
	w.t.Helper()
	out, err := w.stack.NodedCLI(w.t.Context(), args...)
	if err != nil {
		w.t.Fatalf("noded %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *world) reserve(user, class, encoder string) (string, error) {
	r, err := w.node.Reserve(w.t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: user, Key: "k", Class: class, Encoder: encoder}))
	if err != nil {
		return "", err
	}
	return r.Msg.GetSession().GetId(), nil
}

func (w *world) await(id string, states ...easelv1.State) *easelv1.Session {
	w.t.Helper()
	s, err := artist.Await(w.t.Context(), w.node, id, patience, states...)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) stop(id string) {
	w.t.Helper()
	if _, err := w.node.Stop(w.t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: id})); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits until is has no error to tell.
func (w *world) eventually(what string, is func() error) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: not after %s: %v", what, patience, err)
		}
	}
}

// slices is the node's slices by their ids.
func (w *world) slices() map[string]gpu.Holding {
	w.t.Helper()
	all := map[string]gpu.Holding{}
	for _, h := range gpunode.Status(w.t, w.stack).Slices {
		all[h.ID] = h
	}
	return all
}

// free fails unless no slice is held and nothing of one is left.
func (w *world) free() error {
	for id, h := range w.slices() {
		if h.Holder != nil {
			return fmt.Errorf("slice %s is held by %s", id, h.Holder.Session)
		}
	}
	left, err := os.ReadDir(filepath.Join(w.stack.RunDir, "noded", "cdi"))
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("device specifications are left: %v", left)
	}
	return err
}

func degraded(s *easelv1.Session, says string) bool {
	return slices.ContainsFunc(s.GetDegraded(), func(d string) bool { return strings.Contains(d, says) })
}

var over = []easelv1.State{easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED}

// TestSessionsHoldSlices is an operator's day: a session with a share, its card fails, comes back; another's memory does not come free.
func TestSessionsHoldSlices(t *testing.T) {
	w := start(t)
	id := strings.TrimSpace(w.cli("session", "create", "--user", "ann", "--class", "shared", "--encoder", "hardware"))
	s := w.await(id, easelv1.State_STATE_READY)
	share := w.machine.Card(0).UUID() + "#1"
	if s.GetGpu() != share || s.GetClass() != gpu.Shared {
		t.Fatalf("session %s has slice %q of class %q, want %q", id, s.GetGpu(), s.GetClass(), share)
	}
	inside := fmt.Sprintf("/proc/%d/root/dev/", s.GetPids().GetInit())
	for device, there := range map[string]bool{"nvidia0": true, "nvidiactl": true, "nvidia1": false} {
		info, err := os.Stat(inside + device)
		if there && (err != nil || info.Mode()&os.ModeCharDevice == 0 || info.Mode()&0o006 != 0o006) || !there && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("/dev/%s in the container: %v, %v", device, info, err)
		}
	}
	if h := w.slices()[share]; h.Holder == nil || h.Holder.Session != id || h.Holder.User != "ann" {
		t.Errorf("slice %s is said to be held by %v", share, h.Holder)
	}
	if out := w.cli("session", "inspect", id); !strings.Contains(out, share+" (shared)") {
		t.Errorf("inspect says:\n%s", out)
	}

	w.machine.Card(0).Lose()
	w.eventually("a session on a lost card says so", func() error {
		if s := w.await(id, easelv1.State_STATE_READY, easelv1.State_STATE_DETACHED); !degraded(s, "is not well") {
			return fmt.Errorf("degraded: %q", s.GetDegraded())
		}
		return nil
	})
	if _, err := w.reserve("bob", gpu.Shared, ""); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a share of a lost card: %v", err)
	}
	w.stop(id)
	w.await(id, over...)
	w.machine.Card(0).Return()
	w.eventually("the card's shares are handed out again", func() error { // the inventory looks now and then
		_, err := w.reserve("bob", gpu.Shared, "")
		return err
	})

	whole, err := w.reserve("carl", gpu.Whole, "")
	if err != nil {
		t.Fatal(err)
	}
	w.await(whole, easelv1.State_STATE_READY)
	w.machine.Card(1).Processes(nvmltest.Process{PID: os.Getpid(), Memory: 300 << 20, GI: -1, CI: -1})
	w.stop(whole)
	w.eventually("the node says who keeps the card", func() error {
		r, err := w.node.Status(t.Context(), connect.NewRequest(&easelv1.StatusRequest{}))
		if err != nil {
			return err
		}
		want := fmt.Sprintf("process %d", os.Getpid())
		if !slices.ContainsFunc(r.Msg.GetDegraded(), func(d string) bool { return strings.Contains(d, whole) && strings.Contains(d, want) }) {
			return fmt.Errorf("degraded: %q", r.Msg.GetDegraded())
		}
		return nil
	})
	if _, err := w.reserve("dora", gpu.Whole, ""); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("a card whose memory is not free: %v", err)
	}
	w.machine.Card(1).Processes()
	w.await(whole, over...)
	if _, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: w.only("bob")})); err != nil {
		t.Fatal(err)
	}
	w.eventually("all slices are free", w.free)
}

// only is the one session that a user has.
func (w *world) only(user string) string {
	w.t.Helper()
	list, err := w.node.List(w.t.Context(), connect.NewRequest(&easelv1.ListRequest{User: user}))
	if err != nil {
		w.t.Fatal(err)
	}
	if n := len(list.Msg.GetSessions()); n != 1 {
		w.t.Fatalf("%s has %d sessions", user, n)
	}
	return list.Msg.GetSessions()[0].GetId()
}

// TestKillWalkOfTheSlice kills noded at each point of the step that makes a slice ready and takes it back. integration's own walk has no card.
func TestKillWalkOfTheSlice(t *testing.T) {
	w := start(t)
	var points []string
	for _, p := range strings.Fields(w.cli("failpoints")) {
		if strings.HasPrefix(p, "session/") && strings.HasSuffix(p, "-gpu") {
			points = append(points, p)
		}
	}
	if len(points) != 6 {
		t.Fatalf("points %v", points)
	}
	for _, point := range points {
		w.walk(point)
		if t.Failed() {
			t.Fatalf("after kill -9 at %s", point)
		}
	}
}

func (w *world) walk(point string) {
	w.t.Helper()
	t := w.t
	if err := w.stack.Noded.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.Noded.Start(t.Context(), w.machine.Env(), "EASEL_FAILPOINTS="+point+"=kill"); err != nil {
		t.Fatal(err)
	}
	user := strings.NewReplacer("/", "-").Replace(point)
	id, err := w.reserve(user, gpu.Whole, "hardware")
	if err == nil && (strings.Contains(point, "unma") || strings.Contains(point, "cleared")) {
		w.eventually("the session has a streamer", func() error {
			if s, err := artist.Inspect(t.Context(), w.stack, id); err != nil || s.GetPids().GetStreamer() == 0 {
				return fmt.Errorf("%v, %v", s, err)
			}
			return nil
		})
		_, err = w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: id}))
	}
	select {
	case <-w.stack.Noded.Exited(): // an error then is of the kill's making
	case <-time.After(patience):
		t.Fatalf("noded did not meet the point: %v", err)
	}
	if err := w.stack.Noded.Start(t.Context(), w.machine.Env()); err != nil {
		t.Fatal(err)
	}
	id = w.last(user)
	s := w.await(id, append([]easelv1.State{easelv1.State_STATE_READY}, over...)...)
	if s.GetState() == easelv1.State_STATE_FAILED {
		t.Errorf("the session failed: %s", s.GetReason())
	}
	if s.GetState() == easelv1.State_STATE_READY {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/dev/nvidia1", s.GetPids().GetInit())); err != nil {
			t.Errorf("the session has no card: %v", err)
		}
		w.stop(id)
		w.await(id, over...)
	}
	w.eventually("all slices are free", w.free)
}

// last is the session that a user has or had last.
func (w *world) last(user string) string {
	w.t.Helper()
	list, err := w.node.List(w.t.Context(), connect.NewRequest(&easelv1.ListRequest{User: user, Ended: true}))
	if err != nil {
		w.t.Fatal(err)
	}
	all := list.Msg.GetSessions()
	if len(all) != 1 {
		w.t.Fatalf("%s has %d sessions, want one", user, len(all))
	}
	return all[0].GetId()
}

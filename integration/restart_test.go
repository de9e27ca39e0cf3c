package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// Restarting any daemon ends no session and freezes no stream: frames keep coming all the while it is away.
func TestStreamRunsThroughRestarts(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.unscaled(t, s.ID, 1280, 720, "")
	before := w.inspect(t, s.ID)
	for _, c := range []struct {
		name   string
		daemon *devstack.Process
		end    func(ctx context.Context) error
	}{
		{"restart noded", w.stack.Noded, w.stack.Noded.Stop},
		{"kill -9 noded", w.stack.Noded, func(context.Context) error { return w.stack.Noded.Kill() }},
		{"kill -9 containerd", w.stack.Containerd, func(context.Context) error { return w.stack.Containerd.Kill() }},
		{"kill -9 coordinator", w.stack.Coordinator, func(context.Context) error { return w.stack.Coordinator.Kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := w.x(t, s.ID)
			frames := w.framesWhileAway(t, p, x, c.daemon, c.end)
			if rate := float64(frames) / away.Seconds(); rate < 8 {
				t.Errorf("%d frames in %v without the daemon: the stream froze", frames, away)
			} else {
				t.Logf("%.0f frames a second while it was away", rate)
			}
			after := w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_CONNECTED)
			eventually(t, 30*time.Second, "every process is the one it was", func() error {
				after = w.inspect(t, s.ID)
				if after.GetPids().GetStreamer() != before.GetPids().GetStreamer() || after.GetPids().GetGimp() != before.GetPids().GetGimp() {
					return fmt.Errorf("they were %v, are %v", before.GetPids(), after.GetPids())
				}
				return nil
			})
		})
	}
	if err := p.Until(30*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Error(err)
	}
}

// away is how long a daemon is left dead.
const away = 2500 * time.Millisecond

// framesWhileAway shows a moving picture, ends a daemon, starts it again after a while, and counts the pictures that the page
// showed in between.
func (w *world) framesWhileAway(t *testing.T, p *browser.Page, x *xclient.Screen, daemon *devstack.Process, end func(context.Context) error) int {
	t.Helper()
	stop, err := x.Start(t.Context(), xclient.Paint)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Errorf("X client: %v", err)
		}
	}()
	if _, err := p.Watch(500 * time.Millisecond); err != nil { // the picture gets under way
		t.Fatal(err)
	}
	if err := end(t.Context()); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	seen, err := p.Watch(away)
	to := time.Now()
	if err := errors.Join(err, daemon.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range seen {
		if f.At.After(from) && f.At.Before(to) {
			n++
		}
	}
	return n
}

// A streamer that dies is started again, and the page finds it by itself.
func TestStreamerDiesAndComesBack(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	before := w.inspect(t, s.ID)
	x := w.x(t, s.ID)
	holds(t, p, x)
	if err := killPID(before.GetPids().GetStreamer()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "another streamer runs", func() error {
		now := w.inspect(t, s.ID)
		if now.GetPids().GetStreamer() == before.GetPids().GetStreamer() || now.GetPids().GetStreamer() == 0 || now.GetStreamerRestarts() == 0 {
			return fmt.Errorf("%v, %d restarts", now.GetPids(), now.GetStreamerRestarts())
		}
		return nil
	})
	if err := p.Until(30*time.Second, "window.easel.state === 'connected' && __probe.size().width > 0"); err != nil {
		t.Fatal(err)
	}
	letsGo(t, x)
	eventually(t, 30*time.Second, "the same GIMP runs", func() error {
		if after := w.inspect(t, s.ID); after.GetPids().GetGimp() != before.GetPids().GetGimp() {
			return fmt.Errorf("GIMP was %d, is %d: the drawing is lost", before.GetPids().GetGimp(), after.GetPids().GetGimp())
		}
		return nil
	})
}

// A container that dies fails its session with a reason, and leaves nothing.
func TestContainerDies(t *testing.T) {
	w := get(t)
	s := w.session(t)
	w.await(t, s.ID, 60*time.Second, easelv1.State_STATE_READY)
	if err := killPID(w.inspect(t, s.ID).GetPids().GetInit()); err != nil {
		t.Fatal(err)
	}
	got := w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_FAILED)
	if got.GetReason() == "" {
		t.Error("it failed without a reason")
	}
	t.Logf("the reason: %s", got.GetReason())
	w.gone(t, got)
}

// A session that is made while containerd is away comes up when it is back, or fails with a reason; it does not hang.
func TestContainerdAwayWhileASessionStarts(t *testing.T) {
	w := get(t)
	if err := w.stack.Containerd.Kill(); err != nil {
		t.Fatal(err)
	}
	restarted := make(chan error, 1)
	time.AfterFunc(1500*time.Millisecond, func() { restarted <- w.stack.Containerd.Start(context.WithoutCancel(t.Context())) })
	r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "patient", Key: key(t), Class: "none"}))
	if e := <-restarted; e != nil {
		t.Fatal(e)
	}
	if err != nil {
		// A refusal that says why is an answer too; afterwards it must work.
		t.Logf("refused: %v", err)
		eventually(t, 30*time.Second, "the node admits a session again", func() (err error) {
			r, err = w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "patient", Key: key(t), Class: "none"}))
			return err
		})
	}
	w.await(t, r.Msg.GetSession().GetId(), 60*time.Second, easelv1.State_STATE_READY)
}

// containersOf says what containerd still has of a session.
func (w *world) containersOf(ctx context.Context, id string) error {
	c, err := client.New(w.stack.ContainerdAddress())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, devstack.Namespace)
	list, err := c.Containers(ctx)
	if err != nil {
		return err
	}
	for _, ctr := range list {
		labels, _ := ctr.Labels(ctx)
		if ctr.ID() == id || labels["easel.session"] == id {
			return fmt.Errorf("container %s is left", ctr.ID())
		}
	}
	return c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Name == id {
			return fmt.Errorf("snapshot %s is left", info.Name)
		}
		return nil
	})
}

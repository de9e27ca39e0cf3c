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

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/devstack"
	"easel/integration/xclient"
	easelv1 "easel/pkg/api/easel/v1"
)

// Restarting any daemon ends no session and freezes no stream: frames keep coming while it is away.
func TestStreamRunsThroughRestarts(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "scale=1&chrome=0&size=1280x720", browser.PageOptions{Width: 1280, Height: 720})
	before := w.inspect(t, s.ID)
	for _, c := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"restart noded", func(ctx context.Context) error { return errors.Join(w.stack.Noded.Stop(ctx), w.stack.Noded.Start(ctx)) }},
		{"kill -9 noded", func(ctx context.Context) error { return errors.Join(w.stack.Noded.Kill(), w.stack.Noded.Start(ctx)) }},
		{"kill -9 containerd", func(ctx context.Context) error {
			return errors.Join(w.stack.Containerd.Kill(), w.stack.Containerd.Start(ctx))
		}},
		{"kill -9 coordinator", func(ctx context.Context) error {
			return errors.Join(w.stack.Coordinator.Kill(), w.stack.Coordinator.Start(ctx))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fps, gap := w.framesDuring(t, p, before, c.do)
			t.Logf("%.1f frames a second, longest wait %v", fps, gap.Round(time.Millisecond))
			if fps < 20 || gap > time.Second {
				t.Errorf("%.1f frames a second with a wait of %v: the stream froze", fps, gap)
			}
			after := w.await(t, s.ID, 20*time.Second, easelv1.State_STATE_CONNECTED)
			after = w.inspect(t, after.GetId())
			if after.GetPids().GetStreamer() != before.GetPids().GetStreamer() || after.GetPids().GetGimp() != before.GetPids().GetGimp() {
				t.Errorf("processes were %v, are %v", before.GetPids(), after.GetPids())
			}
		})
	}
	if err := p.Until(5*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Error(err)
	}
}

// framesDuring shows a moving picture for six seconds, does something in the middle of it, and returns the rate of pictures
// that the page showed and the longest wait for one.
func (w *world) framesDuring(t *testing.T, p *browser.Page, s *easelv1.Session, do func(context.Context) error) (fps float64, gap time.Duration) {
	t.Helper()
	x, err := artist.X(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := x.Play(ctx, xclient.Paint, func() { close(ready) })
		ended <- err
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("X client: %v", err)
		}
	}()
	<-ready
	time.Sleep(500 * time.Millisecond) // the picture gets under way
	done := make(chan error, 1)
	timer := time.AfterFunc(time.Second, func() { done <- do(t.Context()) })
	defer timer.Stop()
	const watch = 6 * time.Second
	seen, err := p.Watch(watch)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(seen) < 2 {
		return 0, watch
	}
	for i := 1; i < len(seen); i++ {
		gap = max(gap, seen[i].At.Sub(seen[i-1].At))
	}
	return float64(len(seen)) / watch.Seconds(), gap
}

// A streamer that dies is started again, and the page finds it by itself.
func TestStreamerDiesAndComesBack(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	before := w.inspect(t, s.ID)
	if err := killPID(before.GetPids().GetStreamer()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "another streamer runs", func() error {
		now := w.inspect(t, s.ID)
		if now.GetPids().GetStreamer() == before.GetPids().GetStreamer() || now.GetPids().GetStreamer() == 0 || now.GetStreamerRestarts() == 0 {
			return fmt.Errorf("%v, %d restarts", now.GetPids(), now.GetStreamerRestarts())
		}
		return nil
	})
	if err := p.Until(20*time.Second, "window.easel.state === 'connected' && __probe.size().width > 0"); err != nil {
		t.Fatal(err)
	}
	if after := w.inspect(t, s.ID); after.GetPids().GetGimp() != before.GetPids().GetGimp() {
		t.Errorf("GIMP was %d, is %d: the drawing is lost", before.GetPids().GetGimp(), after.GetPids().GetGimp())
	}
}

// A container that dies fails its session with a reason, and leaves nothing.
func TestContainerDies(t *testing.T) {
	w := get(t)
	s := w.session(t)
	w.await(t, s.ID, 60*time.Second, easelv1.State_STATE_READY)
	if err := killPID(w.inspect(t, s.ID).GetPids().GetInit()); err != nil {
		t.Fatal(err)
	}
	got := w.await(t, s.ID, 20*time.Second, easelv1.State_STATE_FAILED)
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
		eventually(t, 15*time.Second, "the node admits a session again", func() (err error) {
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

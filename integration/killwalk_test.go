package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// kill -9 at any recorded transition leaks nothing and loses no session. The list of points comes from noded itself, so a
// new transition cannot dodge the walk.
func TestKillWalk(t *testing.T) {
	w := get(t)
	out, err := w.stack.NodedCLI(t.Context(), "failpoints")
	if err != nil {
		t.Fatal(err)
	}
	points := strings.Fields(out)
	if len(points) < 20 {
		t.Fatalf("noded names only %d failpoints: %v", len(points), points)
	}
	for _, point := range points {
		if strings.HasSuffix(point, "-gpu") {
			continue // the node of these tests has no card; integration/gpusession walks these
		}
		t.Run(strings.ReplaceAll(point, "/", "-"), func(t *testing.T) { w.walk(t, point) })
	}
}

// walk runs a session's life with noded killed at a point, which that life must meet.
func (w *world) walk(t *testing.T, point string) {
	t.Helper()
	// Whatever happens, the next test finds a noded that runs without failpoints.
	defer func() {
		defer w.cool(t)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if w.stack.Noded.PID() == 0 {
			if err := w.stack.Noded.Start(ctx); err != nil {
				t.Fatalf("noded does not start again: %v", err)
			}
		}
		if err := w.endAll(); err != nil {
			t.Fatal(err)
		}
	}()
	if err := w.stack.Noded.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.stack.Noded.Start(t.Context(), "EASEL_FAILPOINTS="+point+"=kill"); err != nil {
		t.Fatal(err)
	}
	id, err := w.lifeTo(point)(t)
	select {
	case <-w.stack.Noded.Exited(): // an error then is of the kill's making
	case <-time.After(30 * time.Second):
		t.Fatalf("noded did not meet the point %s in the life of a session that should: %v", point, err)
	}
	if err := w.stack.Noded.Start(t.Context()); err != nil {
		t.Fatalf("noded does not start after kill -9 at %s: %v", point, err)
	}
	w.whole(t, point, id)
}

// lifeTo returns what brings a session's life to a point.
func (w *world) lifeTo(point string) func(t *testing.T) (string, error) {
	reserve := func(t *testing.T, image string) (string, error) {
		r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "walker", Key: key(t), Class: "none", Image: image}))
		if err != nil {
			return "", err
		}
		return r.Msg.GetSession().GetId(), nil
	}
	through := func(t *testing.T, after func(id string) error) (string, error) {
		id, err := reserve(t, "")
		if err != nil {
			return id, err
		}
		return id, after(id)
	}
	up := []easelv1.State{easelv1.State_STATE_READY, easelv1.State_STATE_CONNECTED, easelv1.State_STATE_DETACHED}
	name := point[strings.LastIndex(point, "/")+1:]
	switch {
	case strings.HasSuffix(name, "-connected"), strings.HasSuffix(name, "-detached"):
		return func(t *testing.T) (string, error) {
			return through(t, func(id string) error {
				if _, err := artist.Await(t.Context(), w.node, id, 60*time.Second, up...); err != nil {
					return err
				}
				return w.visit(t, id)
			})
		}
	case strings.HasSuffix(name, "-claim"), strings.HasSuffix(name, "-attach"), strings.HasSuffix(name, "-wake"):
		return func(t *testing.T) (string, error) {
			w.warm(t, "desktop")
			return through(t, func(id string) error {
				if err := w.complete(t, id); err != nil || !strings.HasPrefix(name, "unma") && !strings.HasPrefix(name, "cleared") {
					return err
				}
				if _, err := artist.Await(t.Context(), w.node, id, 60*time.Second, up...); err != nil {
					return err
				}
				_, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: id}))
				return err
			})
		}
	case strings.HasSuffix(name, "-failed"), strings.HasSuffix(name, "-release"):
		return func(t *testing.T) (string, error) {
			// A container that ends at once fails its session. The image is imported through containerd alone.
			return reserve(t, w.hostileImage(t, "exit"))
		}
	case strings.HasPrefix(name, "unma"), strings.HasPrefix(name, "cleared"), strings.HasSuffix(name, "-stopping"), strings.HasSuffix(name, "-stopped"):
		return func(t *testing.T) (string, error) {
			return through(t, func(id string) error {
				// Ended while GIMP still starts: all steps are done by then, and it is quicker.
				if err := w.complete(t, id); err != nil {
					return err
				}
				_, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: id}))
				return err
			})
		}
	default:
		return func(t *testing.T) (string, error) { return reserve(t, "") }
	}
}

// complete waits until every step of a session's making is done.
func (w *world) complete(t *testing.T, id string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(25 * time.Millisecond) {
		r, err := w.node.Get(t.Context(), connect.NewRequest(&easelv1.GetRequest{Id: id}))
		if err != nil {
			return err
		}
		if r.Msg.GetSession().GetPids().GetStreamer() > 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("session %s has no streamer", id)
		}
	}
}

// visit connects a viewer to a session and leaves again. It gives up as soon as noded is killed.
func (w *world) visit(t *testing.T, id string) error {
	p, err := w.openAs(t, id, "", browser.PageOptions{Width: 800, Height: 600})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		select {
		case <-w.stack.Noded.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	for err = artist.AwaitPicture(p, time.Second); err != nil && ctx.Err() == nil; {
		err = artist.AwaitPicture(p, time.Second)
	}
	if err != nil {
		return err
	}
	_, err = artist.Await(ctx, w.node, id, 30*time.Second, easelv1.State_STATE_CONNECTED)
	return err
}

// whole checks what the restarted noded has: the session lives and is usable, or it is gone with all it held.
func (w *world) whole(t *testing.T, point, id string) {
	t.Helper()
	if id == "" {
		// Killed before the answer: the same request again must give one session, not a second one.
		r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "walker", Key: key(t), Class: "none"}))
		if err != nil {
			t.Fatalf("the request repeated after kill -9 at %s: %v", point, err)
		}
		id = r.Msg.GetSession().GetId()
	}
	over := []easelv1.State{easelv1.State_STATE_STOPPED, easelv1.State_STATE_FAILED}
	want := append([]easelv1.State{easelv1.State_STATE_READY, easelv1.State_STATE_CONNECTED, easelv1.State_STATE_DETACHED}, over...)
	s := w.await(t, id, 60*time.Second, want...)
	list, err := w.node.List(t.Context(), connect.NewRequest(&easelv1.ListRequest{User: "walker"}))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(list.Msg.GetSessions()); n > 1 {
		t.Errorf("%d sessions after kill -9 at %s, want at most one", n, point)
	}
	if s.GetState() != easelv1.State_STATE_STOPPED && s.GetState() != easelv1.State_STATE_FAILED {
		eventually(t, 30*time.Second, "the session lives after kill -9 at "+point, func() error { return lives(w.inspect(t, id)) })
		if _, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: id})); err != nil {
			t.Fatal(err)
		}
		s = w.await(t, id, 30*time.Second, over...)
	}
	w.gone(t, s)
	if err := w.containersOf(t.Context(), id); err != nil {
		t.Errorf("after kill -9 at %s: %v", point, err)
	}
}

// lives checks that every process of a session runs.
func lives(s *easelv1.Session) error {
	for name, pid := range map[string]int32{"streamer": s.GetPids().GetStreamer(), "init": s.GetPids().GetInit(), "X": s.GetPids().GetX(), "GIMP": s.GetPids().GetGimp()} {
		if !alive(pid) {
			return fmt.Errorf("session %s is %v, but its %s (process %d) does not run", s.GetId(), s.GetState(), name, pid)
		}
	}
	return nil
}

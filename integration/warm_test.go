package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/artist"
	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// warm has the node keep one warm session of a kind until cool, and returns when it can be claimed.
func (w *world) warm(t *testing.T, kind string) {
	t.Helper()
	if err := w.setPool(t, &easelv1.Pool{Kind: kind, Want: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "a warm session of kind "+kind+" can be claimed", func() error { return w.pool(t, kind, 1) })
}

// cool ends the node's warm sessions, and returns when they are gone.
func (w *world) cool(t *testing.T) {
	t.Helper()
	if err := w.setPool(t); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "the warm sessions are gone", func() error {
		list, err := w.node.List(t.Context(), connect.NewRequest(&easelv1.ListRequest{Warm: true}))
		if err != nil {
			return err
		}
		for _, s := range list.Msg.GetSessions() {
			if s.GetUser() == "" {
				return fmt.Errorf("%s is there, %v", s.GetId(), s.GetState())
			}
		}
		return nil
	})
}

func (w *world) setPool(t *testing.T, pools ...*easelv1.Pool) error {
	_, err := w.node.SetPool(t.Context(), connect.NewRequest(&easelv1.SetPoolRequest{Pools: pools}))
	return err
}

func (w *world) pool(t *testing.T, kind string, want uint32) error {
	status, err := w.node.Status(t.Context(), connect.NewRequest(&easelv1.StatusRequest{}))
	if err != nil {
		return err
	}
	for _, p := range status.Msg.GetPool() {
		if p.GetPool().GetKind() == kind && p.GetWarm() == want {
			return nil
		}
	}
	return fmt.Errorf("the pool is %v", status.Msg.GetPool())
}

func (w *world) claim(t *testing.T, user, intent string) *easelv1.Session {
	t.Helper()
	begin := time.Now()
	r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: user, Key: key(t), Class: "none", Intent: user + intent}))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("reserved in %s", time.Since(begin).Round(time.Microsecond))
	return r.Msg.GetSession()
}

// homeInside checks that the user's home volume, and nothing else, is the container's home.
func homeInside(t *testing.T, s *easelv1.Session) {
	t.Helper()
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.GetPids().GetInit()))
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[4] == "/home/artist" {
			last = line
		}
	}
	if !strings.Contains(last, " ext4 ") || !strings.Contains(last, "nosuid,nodev") {
		t.Errorf("the container's home is %q", last)
	}
}

// Who has no profile gets a GIMP that is up already, works in a home of their own, and has a profile next time.
func TestReadySessionIsClaimed(t *testing.T) {
	w := get(t)
	defer w.cool(t)
	w.warm(t, "ready")
	user := "fresh-" + strings.ToLower(fmt.Sprint(time.Now().UnixNano()))
	s := w.claim(t, user, "first")
	if s.GetWarmth() != "ready" || s.GetUser() != user {
		t.Fatalf("claimed %v", s)
	}
	s = w.await(t, s.GetId(), 30*time.Second, easelv1.State_STATE_READY)
	if took := s.GetTimes()[len(s.GetTimes())-1].GetAt().AsTime().Sub(s.GetCreated().AsTime()); took > 5*time.Second {
		t.Errorf("it was ready %s after the claim: GIMP's start was waited for", took)
	}
	s = w.inspect(t, s.GetId())
	homeInside(t, s)
	eventually(t, 30*time.Second, "the home has a profile", func() error {
		_, err := os.Stat(filepath.Join(s.GetVolume(), ".config/GIMP/3.0/pluginrc"))
		return err
	})
	if s.GetGimpRestarts() != 0 {
		t.Errorf("GIMP was started again %d times:\n%s", s.GetGimpRestarts(), containerLog(s))
	}
	// GIMP began in another home; its dialogs begin in the artist's.
	out, err := inside(t, s, "/bin/sh", "-c", `for p in /proc/[0-9]*; do if [ "$(cat $p/comm)" = gimp-3.0 ]; then readlink $p/cwd; fi; done`)
	if err != nil || strings.TrimSpace(out) != "/home/artist" {
		t.Errorf("GIMP's folder is %q, %v", out, err)
	}
	p, err := w.openAs(t, s.GetId(), "", browser.PageOptions{Width: 800, Height: 600})
	if err != nil {
		t.Fatal(err)
	}
	if err := artist.AwaitPicture(p, 30*time.Second); err != nil {
		t.Error(err)
	}
	p.Close()
	w.end(t, s)

	w.warm(t, "desktop")
	again := w.claim(t, user, "second")
	if again.GetWarmth() != "desktop" {
		t.Errorf("who has a profile now got a session that began %s", again.GetWarmth())
	}
	again = w.await(t, again.GetId(), 30*time.Second, easelv1.State_STATE_READY)
	w.end(t, again)
}

// Who has a profile gets a desktop, in which GIMP starts with it; a GIMP that runs without it is not for them.
func TestDesktopStartsGIMPWithTheArtistsProfile(t *testing.T) {
	w := get(t)
	first := w.session(t)
	w.await(t, first.ID, 60*time.Second, easelv1.State_STATE_READY)
	s := w.inspect(t, first.ID)
	const mine = ".config/GIMP/3.0/mine.gpl"
	if err := os.WriteFile(filepath.Join(s.GetVolume(), mine), []byte("GIMP Palette\nName: mine\n#\n1 2 3 mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.end(t, s)

	defer w.cool(t)
	w.warm(t, "desktop")
	created, err := w.artist.Create(key(t) + "-again")
	if err != nil {
		t.Fatal(err)
	}
	p := w.view(t, created.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	defer p.Close()
	s = w.inspect(t, created.ID)
	if s.GetWarmth() != "desktop" || !s.GetWarm() {
		t.Fatalf("it began %s", s.GetWarmth())
	}
	homeInside(t, s)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/home/artist/%s", s.GetPids().GetGimp(), mine)); err != nil {
		t.Errorf("GIMP does not see the artist's profile: %v", err)
	}
	t.Logf("GIMP's window %d ms after the claim", s.GetWindowMs())
	p.Close()
	w.end(t, s)
}

// end ends a session and wants nothing of it left.
func (w *world) end(t *testing.T, s *easelv1.Session) {
	t.Helper()
	if _, err := w.node.Stop(t.Context(), connect.NewRequest(&easelv1.StopRequest{Id: s.GetId()})); err != nil {
		t.Fatal(err)
	}
	s = w.await(t, s.GetId(), 30*time.Second, easelv1.State_STATE_STOPPED)
	w.gone(t, s)
}

// A node that is full of warm sessions has room for whoever asks.
func TestWarmSessionsGiveWay(t *testing.T) {
	w := get(t)
	ref := w.hostileImage(t, "silent")
	defer w.cool(t)
	w.warm(t, "ready")
	for i := range maxSessions {
		if _, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "many", Key: fmt.Sprint("way", i), Class: "none", Image: ref})); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	if err := w.pool(t, "ready", 0); err != nil {
		t.Error(err)
	}
}

// What the operator says at the coordinator is what the node keeps, and a claim through the portal's API finds it.
func TestPolicyOfTheCoordinatorReachesTheNode(t *testing.T) {
	w := get(t)
	pool := func(args ...string) {
		t.Helper()
		if out, err := w.stack.CoordinatorCLI(t.Context(), append([]string{"pool"}, args...)...); err != nil {
			t.Fatalf("coordinator pool %q: %v: %s", args, err, out)
		}
	}
	defer w.cool(t)
	pool("set", "--mode", "fixed", "--desktop", "1")
	eventually(t, 60*time.Second, "the node keeps the warm session that the policy wants", func() error { return w.pool(t, "desktop", 1) })
	begin := time.Now()
	s := w.session(t)
	t.Logf("claimed through the coordinator in %s", time.Since(begin).Round(time.Millisecond))
	if got := w.inspect(t, s.ID); got.GetWarmth() != "desktop" && got.GetWarmth() != "ready" {
		t.Errorf("the session began %s", got.GetWarmth())
	}
	pool("clear")
	eventually(t, 30*time.Second, "the node keeps none, as its own configuration says", func() error { return w.pool(t, "desktop", 0) })
	w.await(t, s.ID, 60*time.Second, easelv1.State_STATE_READY)
}

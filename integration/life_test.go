package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"easel/integration/browser"
	easelv1 "easel/pkg/api/easel/v1"
)

// An artist who reloads the page, or loses it, finds the same session with the same GIMP.
func TestReloadFindsTheSameSession(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	before := w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_CONNECTED)
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(30*time.Second, "window.easel?.state === 'connected' && __probe.size().width > 0"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_DETACHED)
	again := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	after := w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_CONNECTED)
	again.Close()
	if before.GetPids().GetGimp() == 0 || before.GetPids().GetGimp() != after.GetPids().GetGimp() || before.GetContainerId() != after.GetContainerId() {
		t.Errorf("before %v in %s, after %v in %s", before.GetPids(), before.GetContainerId(), after.GetPids(), after.GetContainerId())
	}
	if after.GetGimpRestarts() != 0 || after.GetStreamerRestarts() != 0 {
		t.Errorf("GIMP restarted %d times, the streamer %d", after.GetGimpRestarts(), after.GetStreamerRestarts())
	}
}

// The last window wins, and the first one says so and can take the session back.
func TestSecondTabReplacesTheFirst(t *testing.T) {
	w := get(t)
	s := w.session(t)
	first := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	second := w.view(t, s.ID, "", browser.PageOptions{Width: 900, Height: 600})
	if err := first.Until(30*time.Second, "window.easel.state === 'replaced'"); err != nil {
		t.Fatal(err)
	}
	// It must stay so: two tabs that take turns would be worse than one that is lost.
	time.Sleep(2 * time.Second)
	for page, want := range map[*browser.Page]string{first: "replaced", second: "connected"} {
		if state, err := browser.Eval[string](page, 30*time.Second, "window.easel.state"); err != nil || state != want {
			t.Errorf("a tab is %q, %v; want %q", state, err, want)
		}
	}
	if got := w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_CONNECTED); got.GetViewers() != 1 {
		t.Errorf("%d viewers, want 1", got.GetViewers())
	}
}

// The button on the portal is the artist's way in.
func TestPortalButtonOpensGIMP(t *testing.T) {
	w := get(t)
	p := w.artist.Portal
	if err := p.Do(`[...document.querySelectorAll('button, input[type=submit], a')].find((b) => /new session/i.test(b.textContent || b.value)).click()`); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(60*time.Second, "window.easel?.state === 'connected' && __probe.size().width > 0"); err != nil {
		t.Fatal(err)
	}
	if err := p.Until(30*time.Second, "!location.hash.includes('token')"); err != nil {
		t.Errorf("the token stays in the address: %v", err)
	}
	if err := p.Go(w.stack.CoordinatorURL() + "/"); err != nil {
		t.Fatal(err)
	}
}

// Two requests with one key at the same time are one session.
func TestTwoRequestsAtOnceAreOneSession(t *testing.T) {
	w := get(t)
	const n = 6
	ids := make([]string, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			r, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "twice", Key: "same", Class: "none"}))
			if err != nil {
				errs[i] = err
				return
			}
			ids[i] = r.Msg.GetSession().GetId()
		})
	}
	wg.Wait()
	for i := range n {
		if errs[i] != nil || ids[i] != ids[0] {
			t.Errorf("request %d: %q, %v; the first is %q", i, ids[i], errs[i], ids[0])
		}
	}
	list, err := w.node.List(t.Context(), connect.NewRequest(&easelv1.ListRequest{User: "twice"}))
	if err != nil || len(list.Msg.GetSessions()) != 1 {
		t.Errorf("%d sessions, %v", len(list.Msg.GetSessions()), err)
	}
}

// A node that is full says why, to the operator and to the artist.
func TestFullNodeSaysWhy(t *testing.T) {
	w := get(t)
	ref := w.hostileImage(t, "silent")
	for i := range maxSessions {
		if _, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "many", Key: fmt.Sprint(i), Class: "none", Image: ref})); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.node.Reserve(t.Context(), connect.NewRequest(&easelv1.ReserveRequest{User: "many", Key: "one too many", Class: "none"}))
	if connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), fmt.Sprint(maxSessions)) {
		t.Errorf("the node says %v (%v); want resource exhausted, with the limit", err, connect.CodeOf(err))
	}
	eventually(t, 30*time.Second, "the coordinator refuses with the reason", func() error {
		_, err := w.artist.Create("full")
		if err == nil {
			return fmt.Errorf("it made a session")
		}
		if !strings.Contains(err.Error(), "503") && !strings.Contains(err.Error(), "429") && !strings.Contains(err.Error(), "409") {
			return err
		}
		return nil
	})
}

// GIMP that dies comes back by itself, and the artist is told.
func TestGIMPDiesAndComesBack(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	before := w.inspect(t, s.ID)
	if err := killPID(before.GetPids().GetGimp()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "another GIMP runs", func() error {
		now := w.inspect(t, s.ID)
		if now.GetGimpRestarts() == 0 || now.GetPids().GetGimp() == before.GetPids().GetGimp() || now.GetPids().GetGimp() == 0 {
			return fmt.Errorf("restarts %d, pid %d", now.GetGimpRestarts(), now.GetPids().GetGimp())
		}
		return nil
	})
	if err := p.Until(30*time.Second, "/gimp/i.test([...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map((e) => e.textContent).join(' '))"); err != nil {
		t.Errorf("the page does not tell of it: %v", err)
	}
	if err := p.Until(30*time.Second, "window.easel.state === 'connected'"); err != nil {
		t.Error(err)
	}
}

// A stopped session tells its page, and its page does not try for ever.
func TestEndedSessionTellsItsPage(t *testing.T) {
	w := get(t)
	s := w.session(t)
	p := w.view(t, s.ID, "", browser.PageOptions{Width: 1000, Height: 700})
	if err := w.artist.End(s.ID); err != nil {
		t.Fatal(err)
	}
	w.await(t, s.ID, 30*time.Second, easelv1.State_STATE_STOPPED)
	if err := p.Until(30*time.Second, "window.easel.state === 'ended'"); err != nil {
		t.Fatal(err)
	}
	r, err := http.Get(w.stack.NodeURL() + "/s/" + s.ID + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusOK {
		return // still remembered: fine, as long as it answers
	}
	if r.StatusCode != http.StatusUnauthorized && r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusGone {
		t.Errorf("its status is %s", r.Status)
	}
}

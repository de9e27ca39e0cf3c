package session

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"easel/noded/stream/contract"
)

func TestStreamerThatKeepsEndingFailsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", func(o *Options) { o.Grace = time.Hour })
		s, _ := n.reserve("ann", "k")
		for range crashLimit {
			synctest.Wait()
			time.Sleep(10 * time.Second)
			if err := h.KillWorker(t.Context(), s.Paths.Cgroup, Worker{}); err != nil {
				t.Fatal(err)
			}
		}
		n.untilReleased(s.ID)
		if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, "the streamer ended 6 times") {
			t.Fatalf("%s: %s", s.State, s.Reason)
		}
		n.expectNothingLeft(h)
		n.cut()
		<-n.ended
	})
}

func TestContainerThatEndsFailsItsSession(t *testing.T) {
	for name, tc := range map[string]struct {
		code uint32
		oom  bool
		log  string
		says string
	}{
		"by itself": {1, false, "Fatal: no \x1b[31mscreen\x1b[0m\n", "exit code 1; its last words: Fatal: no [31mscreen [0m"},
		"by signal": {139, false, "", "signal 11"},
		"memory":    {137, true, "", "ran out of memory: its limit is 2048 MiB"},
		"killed":    {137, false, "", "signal 9"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.oom = tc.oom
			n := start(t, h, "", nil)
			s, _ := n.reserve("ann", "k")
			n.untilState(s.ID, Ready)
			if err := os.WriteFile(s.Paths.BoxLog, []byte(tc.log), 0o600); err != nil {
				t.Fatal(err)
			}
			h.die(s.ID, tc.code)
			n.untilReleased(s.ID)
			if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, tc.says) {
				t.Fatalf("%s: %q, want %q", s.State, s.Reason, tc.says)
			}
			n.expectNothingLeft(h)
		})
	}
}

func TestContainerThatNeverGetsReadyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.mute = true
		n := start(t, h, "", nil)
		s, _ := n.reserve("ann", "k")
		time.Sleep(5 * time.Second)
		h.say(s.ID, func(x *contract.Health) {
			x.Services = map[string]contract.Service{"xorg": {State: contract.Backoff}, "dbus": {State: contract.Running}}
		})
		time.Sleep(26 * time.Second)
		synctest.Wait()
		s, err := n.Get(s.ID)
		if err != nil || s.State != Failed || !strings.Contains(s.Reason, "not ready within 30s") || !strings.Contains(s.Reason, "xorg is backoff") {
			t.Fatalf("%s: %s, %v", s.State, s.Reason, err)
		}
		n.untilReleased(s.ID)
		n.expectNothingLeft(h)
		n.cut()
		<-n.ended
	})
}

func TestUnusedSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", nil)
		never, _ := n.reserve("ann", "never")
		left, _ := n.reserve("ann", "left")
		stays, _ := n.reserve("ann", "stays")
		for _, s := range []Session{left, stays} {
			n.untilState(s.ID, Ready)
			h.say(s.ID, func(x *contract.Health) { x.Viewers = 1 })
			n.untilState(s.ID, Connected)
		}
		time.Sleep(50 * time.Second)
		h.say(left.ID, func(x *contract.Health) { x.Viewers = 0 })
		time.Sleep(11 * time.Second)
		n.untilReleased(never.ID)
		if s, _ := n.Get(never.ID); s.State != Stopped || !strings.Contains(s.Reason, "nobody connected within 1m0s") {
			t.Fatalf("%s: %s", s.State, s.Reason)
		}
		n.untilState(left.ID, Detached)
		time.Sleep(time.Minute)
		n.untilReleased(left.ID)
		n.untilState(stays.ID, Connected)
		n.cut()
		<-n.ended
	})
}

func TestReconnectingStopsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "", nil)
		var id string
		for _, part := range (life{reserveIt, getReady, connect, detach}) {
			part(n, h, &id)
		}
		time.Sleep(40 * time.Second)
		connect(n, h, &id)
		time.Sleep(10 * time.Minute)
		n.untilState(id, Connected)
		n.cut()
		<-n.ended
	})
}

func TestGIMPThatGaveUpFailsTheSession(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.say(s.ID, func(x *contract.Health) { x.GIMP.State = contract.Failed; x.Error = "exit 1" })
	n.untilReleased(s.ID)
	if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, "GIMP ends again and again") {
		t.Fatalf("%s: %s", s.State, s.Reason)
	}
}

func TestStepThatKeepsFailingFailsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.failing["home"] = errors.New("disk on fire")
		n := start(t, h, "", nil)
		s, _ := n.reserve("ann", "k")
		n.untilReleased(s.ID)
		if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, "mount the home volume: disk on fire") {
			t.Fatalf("%s: %s", s.State, s.Reason)
		}
		n.expectNothingLeft(h)
		n.cut()
		<-n.ended
	})
}

func TestEndIsTriedUntilItSucceeds(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	n.untilState(s.ID, Ready)
	h.mu.Lock()
	h.failing["remove"] = errors.New("containerd is away")
	h.mu.Unlock()
	if _, err := n.Stop(t.Context(), s.ID, ""); err != nil {
		t.Fatal(err)
	}
	n.untilState(s.ID, Stopping)
	time.Sleep(250 * time.Millisecond)
	if s, _ := n.Get(s.ID); !s.holds() {
		t.Fatal("released although its container is there")
	}
	h.mu.Lock()
	delete(h.failing, "remove")
	h.mu.Unlock()
	n.untilReleased(s.ID)
	n.expectNothingLeft(h)
}

func TestContainerThatEndedWhileNodedWasAwayFails(t *testing.T) {
	for _, whole := range []bool{true, false} { // a restart of the host leaves not even a task
		h := newHost(t)
		n := start(t, h, "", nil)
		s, _ := n.reserve("ann", "k")
		n.untilState(s.ID, Ready)
		n.stop()
		h.die(s.ID, 3)
		if !whole {
			h.boxes[s.ID].pid = 0
		}
		n = start(t, h, "", nil)
		n.untilReleased(s.ID)
		if s, _ = n.Get(s.ID); s.State != Failed || s.Reason == "" {
			t.Fatalf("%s: %s", s.State, s.Reason)
		}
		n.expectNothingLeft(h)
	}
}

func TestStopOfAnEndedSessionChangesNothing(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", nil)
	s, _ := n.reserve("ann", "k")
	for _, reason := range []string{"first", "second"} {
		if _, err := n.Stop(t.Context(), s.ID, reason); err != nil {
			t.Fatal(err)
		}
	}
	n.untilReleased(s.ID)
	if s, _ = n.Stop(t.Context(), s.ID, "third"); s.Reason != "first" || s.State != Stopped {
		t.Fatalf("%s: %s", s.State, s.Reason)
	}
}

func TestStepThatHangsFailsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h, "session/made-home=pause", nil)
		s, _ := n.reserve("ann", "k")
		time.Sleep(31 * time.Second)
		n.untilReleased(s.ID)
		if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, "mount the home volume") {
			t.Fatalf("%s: %s", s.State, s.Reason)
		}
		n.expectNothingLeft(h)
		n.cut()
		<-n.ended
	})
}

// TestContainerThatEndsAtOnceSaysSo: the streamer cannot start then, but that is not what was wrong.
func TestContainerThatEndsAtOnceSaysSo(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "session/begun-streamer=delay(300)", nil)
	s, _ := n.reserve("ann", "k")
	n.until(s.ID, "at its streamer", func(s Session) bool { return s.Steps["streamer"] == Begun })
	h.die(s.ID, 1)
	n.untilReleased(s.ID)
	if s, _ = n.Get(s.ID); s.State != Failed || !strings.Contains(s.Reason, "the container ended with exit code 1 before it was ready") || h.times("streamer") > 1 {
		t.Fatalf("%s: %s, %d tries", s.State, s.Reason, h.times("streamer"))
	}
	n.expectNothingLeft(h)
}

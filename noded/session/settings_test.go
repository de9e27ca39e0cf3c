package session

import (
	"errors"
	"testing"
	"time"
)

// TestSettingsChangeForNewSessions: those that there are keep what they were made with.
func TestSettingsChangeForNewSessions(t *testing.T) {
	h := newHost(t)
	n := start(t, h, "", func(o *Options) { o.Admission.Max = 1 })
	old, _ := n.reserve("ann", "k")
	n.untilState(old.ID, Ready)
	next := n.settings().Settings
	next.Max, next.Limits.Memory, next.Grace = 2, 1<<30, 2*time.Second
	n.Configure(next)
	s, _ := n.reserve("bob", "k")
	if s.Limits.Memory != 1<<30 || old.Limits.Memory != 2<<30 {
		t.Fatalf("limits: the new one's %+v, the old one's %+v", s.Limits, old.Limits)
	}
	n.untilState(s.ID, Stopped) // for want of a viewer, within its grace
	if got, _ := n.Get(old.ID); got.State != Ready {
		t.Fatalf("the old session is %s (%s): its grace is another", got.State, got.Reason)
	}
	next.Max = 1
	n.Configure(next)
	var refusal *Refusal
	if _, _, err := n.Reserve(t.Context(), Request{User: "eve", Key: "k"}); !errors.As(err, &refusal) || refusal.Reason != "full" {
		t.Fatalf("one more than sessions.max of now: %v", err)
	}
}

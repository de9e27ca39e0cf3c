package stream

import (
	"testing"
	"time"
)

// newKeys are those of a lead that was just sent a keyframe.
func newKeys(at time.Time) *keys {
	k := &keys{}
	k.anew(0)
	k.sent(10_000, 10_000, at)
	return k
}

func TestKeyframesAreRepeatedEverMoreRarelyUntilOneIsConfirmed(t *testing.T) {
	now := time.Unix(1000, 0)
	k := newKeys(now)
	for _, want := range []time.Duration{200, 400, 800, 1600, 2000, 2000} {
		at := k.at(keyUnconfirmed, time.Hour, time.Time{})
		if at.Sub(now) != want*time.Millisecond {
			t.Fatalf("the next is due after %v, want %d ms", at.Sub(now), want)
		}
		now = at
		k.sent(10_000, 10_000, now)
	}
	if at := k.at(keyNone, 0, time.Time{}); !at.IsZero() {
		t.Errorf("nobody needs one, and it is due at %v", at)
	}
	k.anew(0)
	k.sent(10_000, 10_000, now)
	if at := k.at(keyUnconfirmed, 0, time.Time{}); at.Sub(now) != keyRepeat {
		t.Errorf("another lead waits %v, want %v", at.Sub(now), keyRepeat)
	}
}

func TestLeadThatLostPacketsWaitsForItsLine(t *testing.T) {
	now := time.Unix(1000, 0)
	k := newKeys(now)
	if at := k.at(keyWanted, 700*time.Millisecond, time.Time{}); at.Sub(now) != 700*time.Millisecond {
		t.Errorf("it is due after %v, want what the line takes", at.Sub(now))
	}
	// A guest that needs one sooner brings it to the lead too.
	if at := k.at(keyWanted, 700*time.Millisecond, now); at.Sub(now) != guestKeys {
		t.Errorf("with a guest that waits it is due after %v, want %v", at.Sub(now), guestKeys)
	}
	k.must()
	if at := k.at(keyWanted, 0, now); !at.IsZero() {
		t.Errorf("another encoder's first frame is one anyhow, and one is due at %v", at)
	}
}

func TestKeyframesForGuestsTakeTheirShare(t *testing.T) {
	now := time.Unix(1000, 0)
	k := newKeys(now)
	k.sent(250_000, 10_000, now) // 0.2 s of the rate
	if at := k.at(keyNone, 0, now); at.Sub(now) != 2*time.Second {
		t.Errorf("after a large one the next for guests is due after %v, want 2 s, of which it took a tenth", at.Sub(now))
	}
	if later := now.Add(time.Minute); !k.at(keyNone, 0, later).Equal(later) {
		t.Error("a guest that may have one later gets it sooner")
	}
}

func TestGuestThatAlwaysNeedsKeyframesGetsThemRarely(t *testing.T) {
	now := time.Unix(1000, 0)
	var p patience
	if p.next(false).After(now) {
		t.Fatal("who just came waits")
	}
	for _, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 8000} {
		p.had(true, now)
		if wait := p.next(false).Sub(now); wait != want*time.Millisecond {
			t.Fatalf("it waits %v, want %d ms", wait, want)
		}
		now = p.next(false)
	}
	if wait := p.next(true).Sub(now); wait > guestKeysRest {
		t.Errorf("while the picture rests it waits %v", wait)
	}
	p.had(false, now) // for another's sake
	if wait := p.next(false).Sub(now); wait != guestKeysMax {
		t.Errorf("after one that it did not need it waits %v", wait)
	}
	now = now.Add(guestCalm + time.Second)
	p.had(true, now)
	if wait := p.next(false).Sub(now); wait != guestKeys {
		t.Errorf("after a calm it waits %v, want %v", wait, guestKeys)
	}
}

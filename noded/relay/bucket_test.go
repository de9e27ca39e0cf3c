package relay

import (
	"testing"
	"time"
)

func TestBucket(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	b := newBucket(1000, now)
	take := func(bytes, want int) {
		t.Helper()
		if got := b.take(bytes, now); got != want {
			t.Errorf("%d of %d bytes were given, want %d", got, bytes, want)
		}
	}
	take(300, 300)
	take(300, 200) // half a second's share at once, no more
	take(1, 0)
	now = now.Add(100 * time.Millisecond)
	take(500, 100)
	now = now.Add(-time.Hour) // a clock that was set back gives nothing and takes nothing
	take(500, 0)
	now = now.Add(2 * time.Hour) // a long rest saves no more than a burst
	take(10000, 500)
}

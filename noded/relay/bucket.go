package relay

import (
	"sync"
	"time"
)

// burst is how much may pass at once, as a part of a second's share: a keyframe comes in one piece.
const burst = time.Second / 2

// bucket bounds bytes a second. It is asked once for many packets, so a lock costs nothing.
type bucket struct {
	mu     sync.Mutex
	rate   float64 // bytes a second
	tokens float64
	filled time.Time
}

func newBucket(rate int64, now time.Time) *bucket {
	b := &bucket{rate: float64(rate), filled: now}
	b.tokens = b.rate * burst.Seconds()
	return b
}

// setRate changes the bound; what may pass now stays.
func (b *bucket) setRate(rate int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate = float64(rate)
}

// take gives as many of the bytes as may pass now.
func (b *bucket) take(bytes int, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if since := now.Sub(b.filled); since > 0 {
		b.tokens = min(b.tokens+b.rate*since.Seconds(), b.rate*burst.Seconds())
		b.filled = now
	}
	given := min(float64(bytes), max(b.tokens, 0))
	b.tokens -= given
	return int(given)
}

package auth

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// RateLimited says that there were too many failed attempts, and how long to wait.
type RateLimited struct{ After time.Duration }

func (e *RateLimited) Error() string {
	return fmt.Sprintf("too many failed sign-ins; try again in %d seconds", e.Seconds())
}

// Seconds is the wait for a Retry-After header (RFC 9110, 10.2.3), at least 1.
func (e *RateLimited) Seconds() int { return max(1, int((e.After+time.Second-1)/time.Second)) }

// allowance is a token bucket's size and how often it gains one.
type allowance struct {
	burst int
	every time.Duration
}

// Failed attempts that are allowed: few from one address on one account; more on the account from
// everywhere, so that a stranger cannot easily lock its owner out; more from one address in all.
var (
	perPair    = allowance{burst: 5, every: 15 * time.Second}
	perAccount = allowance{burst: 20, every: 10 * time.Second}
	perAddress = allowance{burst: 30, every: 2 * time.Second}
)

// maxBuckets bounds memory; what is forgotten beyond it has the most room left.
const maxBuckets = 20000

// limiter counts failed attempts by name, in token buckets.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	allowance
	tokens float64
	at     time.Time
}

func newLimiter() *limiter { return &limiter{buckets: map[string]*bucket{}} }

// attempt takes one try from every bucket that account and address have, or none and says how long to
// wait. A try that succeeds is given back with refund.
func (l *limiter) attempt(account, address string, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.of(account, address, now)
	var wait time.Duration
	for _, b := range all {
		b.refill(now)
		if b.tokens < 1 {
			wait = max(wait, time.Duration((1-b.tokens)*float64(b.every)))
		}
	}
	if wait > 0 {
		return &RateLimited{After: wait}
	}
	for _, b := range all {
		b.tokens--
	}
	return nil
}

func (l *limiter) refund(account, address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.of(account, address, now) {
		b.tokens = min(b.tokens+1, float64(b.burst))
	}
}

func (l *limiter) of(account, address string, now time.Time) []*bucket {
	address = network(address)
	return []*bucket{
		l.get("pair "+account+" "+address, perPair, now),
		l.get("account "+account, perAccount, now),
		l.get("address "+address, perAddress, now),
	}
}

func (l *limiter) get(name string, a allowance, now time.Time) *bucket {
	if b, ok := l.buckets[name]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		l.shrink(now)
	}
	b := &bucket{allowance: a, tokens: float64(a.burst), at: now}
	l.buckets[name] = b
	return b
}

// shrink forgets buckets that are full again, and when there are none, half of them.
func (l *limiter) shrink(now time.Time) {
	for name, b := range l.buckets {
		if b.refill(now); b.tokens >= float64(b.burst) {
			delete(l.buckets, name)
		}
	}
	for name := range l.buckets { // map order is random, so nobody chooses whose count is lost
		if len(l.buckets) <= maxBuckets/2 {
			return
		}
		delete(l.buckets, name)
	}
}

func (b *bucket) refill(now time.Time) {
	if gone := now.Sub(b.at); gone > 0 {
		b.tokens = min(float64(b.burst), b.tokens+float64(gone)/float64(b.every))
		b.at = now
	}
}

// network is the address itself for IPv4, and its /64 for IPv6, which one host may have whole.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

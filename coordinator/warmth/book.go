package warmth

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"easel/coordinator/state"
)

// Buckets of the coordinators' state. Keys are IMAGE NUL CLASS, with NUL DAY behind it for arrivals.
const (
	bucketPolicies = "warmth-policies"
	bucketArrivals = "warmth-arrivals"
	bucketTold     = "warmth-told" // whether nodes were ever told anything
	keyEver        = "ever"
)

// maxPolicies bounds what nodes are told, and what is remembered.
const maxPolicies = 50

// Book is the policies and what was asked of the cluster before, both in the coordinators' state. Its methods are safe for concurrent use.
type Book struct {
	store *state.Store

	mu   sync.Mutex
	news map[string]day // arrivals that are not written yet, by key
}

// NewBook opens the book in store.
func NewBook(store *state.Store) *Book { return &Book{store: store, news: map[string]day{}} }

func keyOf(image, class string) string { return image + "\x00" + className(class) }

// Policies returns every policy, by image and class.
func (b *Book) Policies() ([]Policy, error) {
	var all []Policy
	err := b.store.View(func(tx state.Tx) error {
		return tx.Each(bucketPolicies, func(_ string, value []byte) error {
			var p Policy
			if json.Unmarshal(value, &p) == nil && p.Check() == nil { // else a newer coordinator wrote it: that one follows it
				all = append(all, p)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the policies of warm sessions: %w", err)
	}
	return all, nil
}

// everSet tells whether there ever was a policy: before, nodes need not be told that there is none.
func (b *Book) everSet() (ever bool, err error) {
	err = b.store.View(func(tx state.Tx) error {
		ever = tx.Get(bucketTold, keyEver) != nil
		return nil
	})
	return ever, err
}

// Changed returns a channel that is closed at the next change of the state, the book's or another's.
func (b *Book) Changed() <-chan struct{} { return b.store.Changed() }

// SetPolicy makes p the policy of its image and class.
func (b *Book) SetPolicy(ctx context.Context, p Policy) error {
	if err := p.Check(); err != nil {
		return err
	}
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	err = b.store.Update(ctx, func(tx state.Tx) error {
		n := 0
		if err := tx.Each(bucketPolicies, func(string, []byte) error { n++; return nil }); err != nil {
			return err
		}
		if n >= maxPolicies && tx.Get(bucketPolicies, keyOf(p.Image, p.Class)) == nil {
			return fmt.Errorf("%w: there are %d policies already", ErrInvalid, n)
		}
		tx.Put(bucketPolicies, keyOf(p.Image, p.Class), value)
		tx.Put(bucketTold, keyEver, []byte("1"))
		return nil
	})
	if err != nil {
		return fmt.Errorf("set a policy of warm sessions: %w", err)
	}
	return nil
}

// ClearPolicy removes the policy of an image and class, and tells whether there was one. Without any the nodes' own numbers apply.
func (b *Book) ClearPolicy(ctx context.Context, image, class string) (bool, error) {
	var was bool
	err := b.store.Update(ctx, func(tx state.Tx) error {
		was = tx.Get(bucketPolicies, keyOf(image, class)) != nil
		if was {
			tx.Delete(bucketPolicies, keyOf(image, class))
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("clear a policy of warm sessions: %w", err)
	}
	return was, nil
}

// Arrival is a session that somebody was given.
type Arrival struct {
	Image, Class string // as they were asked for
	Region       string // of its node
	Warmth       string // what it began from: "cold", "desktop" or "ready"
}

// maxNews bounds what waits to be written, when the state cannot be for long.
const maxNews = 1000

// Arrived counts a session that has begun; Write keeps it.
func (b *Book) Arrived(a Arrival, at time.Time) {
	if len(a.Image) > maxName || len(a.Class) > maxName || len(a.Region) > maxName {
		return
	}
	one := day{Slots: map[int]int{int(slotOf(at) - dayOf(at)*int64(slotsOfDay)): 1}, Regions: map[string]int{a.Region: 1}}
	switch a.Warmth {
	case "ready":
		one.Ready = 1
	case "desktop":
		one.Desktop = 1
	}
	key := dayKey(a.Image, a.Class, dayOf(at))
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.news[key]; !known && len(b.news) >= maxNews {
		return
	}
	d := b.news[key]
	d.add(one)
	b.news[key] = d
}

func dayKey(image, class string, n int64) string {
	return keyOf(image, class) + "\x00" + time.Unix(n*86400, 0).UTC().Format(time.DateOnly)
}

// Write keeps what arrived since, and forgets days that are too old to tell of the next.
func (b *Book) Write(ctx context.Context, now time.Time) error {
	b.mu.Lock()
	news := b.news
	b.news = map[string]day{}
	b.mu.Unlock()
	if len(news) == 0 {
		return nil
	}
	err := b.store.Update(ctx, func(tx state.Tx) error {
		for _, key := range slices.Sorted(maps.Keys(news)) {
			var d day
			if value := tx.Get(bucketArrivals, key); value != nil && (json.Unmarshal(value, &d) != nil || !d.sane()) {
				d = day{} // it cannot be read: what is lost is one day of one image
			}
			d.add(news[key])
			value, err := json.Marshal(d)
			if err != nil {
				return err
			}
			tx.Put(bucketArrivals, key, value)
		}
		return nil
	})
	if err != nil {
		b.giveBack(news)
		return fmt.Errorf("keep when sessions were asked for: %w", err)
	}
	return nil
}

func (b *Book) giveBack(news map[string]day) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, d := range news {
		kept := b.news[key]
		kept.add(d)
		b.news[key] = kept
	}
}

// Prune forgets days that are too old to tell of the next. One coordinator does it for all.
func (b *Book) Prune(ctx context.Context, now time.Time) error {
	oldest := now.AddDate(0, 0, -daysKept).UTC().Format(time.DateOnly)
	var old []string
	err := b.store.View(func(tx state.Tx) error {
		return tx.Each(bucketArrivals, func(key string, _ []byte) error {
			if key[strings.LastIndexByte(key, 0)+1:] < oldest {
				old = append(old, key)
			}
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return b.store.Update(ctx, func(tx state.Tx) error {
		for _, key := range old {
			tx.Delete(bucketArrivals, key)
		}
		return nil
	})
}

// history is what was asked for of an image and class, with what is not written yet.
func (b *Book) history(image, class string) (history, error) {
	h := history{}
	prefix := keyOf(image, class) + "\x00"
	take := func(key string, d day) {
		at, err := time.Parse(time.DateOnly, key[len(prefix):])
		if err != nil || !d.sane() {
			return
		}
		have := h[dayOf(at)]
		have.add(d)
		h[dayOf(at)] = have
	}
	err := b.store.View(func(tx state.Tx) error {
		return tx.EachPrefix(bucketArrivals, prefix, func(key string, value []byte) error {
			var d day
			if json.Unmarshal(value, &d) == nil {
				take(key, d)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read when sessions were asked for: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, d := range b.news {
		if strings.HasPrefix(key, prefix) {
			take(key, d)
		}
	}
	return h, nil
}

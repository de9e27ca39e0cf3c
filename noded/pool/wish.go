package pool

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"easel/noded/session"
)

// Wish is how many warm sessions of an image, class and kind the node should have. Its JSON form is in the database: fields are added, never
// renamed.
type Wish struct {
	Image string         `json:"image,omitempty"` // "" means the node's default image
	Class string         `json:"class,omitempty"`
	Kind  session.Warmth `json:"kind"`
	Want  int            `json:"want"`
}

// Bounds of what may be wished for.
const (
	maxWishes = 64
	maxWant   = 1000
	maxImage  = 255
)

// ErrInvalid is wrapped by the error of a wish that makes no sense.
var ErrInvalid = session.ErrInvalid

func (w Wish) check() error {
	switch {
	case w.Kind != session.WarmReady && w.Kind != session.WarmDesktop:
		return fmt.Errorf("warm sessions of kind %q: %w: want ready or desktop", session.Printable(string(w.Kind), 40), ErrInvalid)
	case w.Want < 0 || w.Want > maxWant:
		return fmt.Errorf("%d warm sessions: %w: want 0 to %d", w.Want, ErrInvalid, maxWant)
	case len(w.Image) > maxImage || session.Printable(w.Image, 2*maxImage) != w.Image || len(w.Class) > maxImage:
		return fmt.Errorf("warm sessions of image %q: %w: want an image's reference", session.Printable(w.Image, 100), ErrInvalid)
	}
	return nil
}

// Set replaces the wishes. They outlive the daemon.
func (p *Pool) Set(wishes []Wish) error {
	if len(wishes) > maxWishes {
		return fmt.Errorf("%d wishes for warm sessions: %w: want at most %d", len(wishes), ErrInvalid, maxWishes)
	}
	for _, w := range wishes {
		if err := w.check(); err != nil {
			return err
		}
	}
	if err := writeWishes(p.DB, wishes); err != nil {
		return fmt.Errorf("keep what warm sessions are wished for: %w", err)
	}
	p.take(wishes)
	return nil
}

// SetOwn makes the wishes of the node's own configuration apply again.
func (p *Pool) SetOwn() error {
	if err := forgetWishes(p.DB); err != nil {
		return fmt.Errorf("forget what warm sessions were wished for: %w", err)
	}
	p.mu.Lock()
	own := p.Own
	p.mu.Unlock()
	p.take(own)
	return nil
}

// Configure changes what the node's own configuration says. What a coordinator has told stands above its wishes.
func (p *Pool) Configure(own []Wish, maxAge time.Duration, cpu float64) error {
	for _, w := range own {
		if err := w.check(); err != nil {
			return err
		}
	}
	_, told, err := readWishes(p.DB)
	if err != nil {
		return fmt.Errorf("read what warm sessions were wished for: %w", err)
	}
	p.mu.Lock()
	p.Own, p.MaxAge, p.CPU = own, maxAge, cpu
	p.mu.Unlock()
	if !told {
		p.take(own)
	}
	return nil
}

// Hold ends the warm sessions and begins none until the daemon starts again: the node is being emptied.
func (p *Pool) Hold() {
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
	p.wake()
}

func (p *Pool) take(wishes []Wish) {
	p.mu.Lock()
	same := slices.Equal(p.wishes, wishes)
	p.wishes = slices.Clone(wishes)
	p.mu.Unlock()
	if !same {
		p.Log.Info("warm sessions are wished for anew", "wishes", wishes)
		p.wake()
	}
}

func (p *Pool) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// row is what is wished for of one kind, and what is there of it.
type row struct {
	wish Wish
	warm []session.Warm // oldest first
}

func (r *row) up() (n int) {
	for _, w := range r.warm {
		if w.Up {
			n++
		}
	}
	return n
}

// lastNeeded is the session that is missed least: one that is not up, or the oldest.
func (r *row) lastNeeded() session.Warm {
	for _, w := range r.warm {
		if !w.Up {
			return w
		}
	}
	return r.warm[0]
}

// table is the wishes beside what there is, each kind once, in a steady order.
func (p *Pool) table(warm []session.Warm) []*row {
	p.mu.Lock()
	wishes, held := p.wishes, p.held
	p.mu.Unlock()
	var rows []*row
	of := func(image, class string, kind session.Warmth) *row {
		if image == "" {
			image = p.Sessions.DefaultImage()
		}
		if class == "" {
			class = "none"
		}
		for _, r := range rows {
			if r.wish.Image == image && r.wish.Class == class && r.wish.Kind == kind {
				return r
			}
		}
		rows = append(rows, &row{wish: Wish{Image: image, Class: class, Kind: kind}})
		return rows[len(rows)-1]
	}
	for _, w := range wishes {
		r := of(w.Image, w.Class, w.Kind)
		if !held {
			r.wish.Want += w.Want
		}
	}
	for _, w := range warm {
		r := of(w.Image, w.Class, w.Kind)
		r.warm = append(r.warm, w)
	}
	slices.SortFunc(rows, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.wish.Image, b.wish.Image), cmp.Compare(a.wish.Class, b.wish.Class), cmp.Compare(a.wish.Kind, b.wish.Kind))
	})
	return rows
}

// needy is the rows that lack something, those first that have the smallest part of what is wished for.
func needy(rows []*row) []*row {
	lacking := slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return len(r.warm) >= r.wish.Want })
	slices.SortStableFunc(lacking, func(a, b *row) int { return cmp.Compare(len(a.warm)*b.wish.Want, len(b.warm)*a.wish.Want) })
	return lacking
}

// State is what is wished for of one kind, and what is there of it.
type State struct {
	Wish
	Warm     int // ready to be claimed
	Starting int
}

// States is the whole pool.
func (p *Pool) States() ([]State, error) {
	warm, err := p.Sessions.Warm()
	if err != nil {
		return nil, fmt.Errorf("look at the warm sessions: %w", err)
	}
	var states []State
	for _, r := range p.table(warm) {
		states = append(states, State{Wish: r.wish, Warm: r.up(), Starting: len(r.warm) - r.up()})
	}
	return states, nil
}

var (
	bucket  = []byte("pool")
	keyWish = []byte("wishes")
)

// readWishes returns what was told last; ok is false when nothing was, or it cannot be read: it will be told again.
func readWishes(db *bbolt.DB) (wishes []Wish, ok bool, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil || b.Get(keyWish) == nil {
			return nil
		}
		if json.Unmarshal(b.Get(keyWish), &wishes) != nil || slices.ContainsFunc(wishes, func(w Wish) bool { return w.check() != nil }) {
			wishes = nil
			return nil
		}
		ok = true
		return nil
	})
	return wishes, ok, err
}

func writeWishes(db *bbolt.DB, wishes []Wish) error {
	if wishes == nil {
		wishes = []Wish{}
	}
	text, err := json.Marshal(wishes)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		if string(b.Get(keyWish)) == string(text) {
			return errSame // it is told again and again: the disk need not hear of it
		}
		return b.Put(keyWish, text)
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

var errSame = errors.New("nothing changes")

func forgetWishes(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucket); b != nil {
			return b.Delete(keyWish)
		}
		return nil
	})
}

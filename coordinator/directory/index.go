package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"easel/coordinator/state"
)

// Buckets of the index in the coordinators' state.
const (
	placementsBucket = "placements" // USER\x00KEY → Placement
	sessionsBucket   = "sessions"   // session ID → Owner
	homesBucket      = "homes"      // user → names of the nodes that have the home, the latest last
)

const (
	maxHomes     = 8
	writeTimeout = 10 * time.Second
)

// ErrMoved means that somebody else placed the session meanwhile: look again.
var ErrMoved = errors.New("the session was placed by somebody else meanwhile")

// Placement is where the session of a user's key is, or is about to be: the intent is written before the
// node is asked, so that who comes upon it can ask that node again and get the same session.
type Placement struct {
	Intent  string `json:"intent"`
	Node    string `json:"node"`
	Session string `json:"session,omitempty"` // "" until the node has answered
	Image   string `json:"image,omitempty"`   // as it was asked for, for who asks again when the node is lost
	Class   string `json:"class,omitempty"`
	Encoder string `json:"encoder,omitempty"`
	At      int64  `json:"at"` // of the intent, ms since the Unix epoch
}

// Owner is whose a session is and where it runs.
type Owner struct {
	User    string `json:"user"`
	Key     string `json:"key"`
	Node    string `json:"node"`
	Image   string `json:"image,omitempty"` // this and the following as the placement's
	Class   string `json:"class,omitempty"`
	Encoder string `json:"encoder,omitempty"`
	At      int64  `json:"at"`
	Ended   string `json:"ended,omitempty"` // why it must end once its node is back; "" while it may live
}

// Index is the coordinators' shared memory of where sessions were placed. It is a memory, not the truth: that
// is on the nodes. Its methods are safe for concurrent use.
type Index struct {
	store *state.Store
	turn  chan struct{} // held by who writes

	mu   sync.Mutex
	next *batch // gathers changes while another is written
}

// NewIndex returns the index that lies in store.
func NewIndex(store *state.Store) *Index {
	return &Index{store: store, turn: make(chan struct{}, 1)}
}

// Leader tells whether this coordinator settles what one must settle for all.
func (x *Index) Leader() bool { return x.store.Leader() }

// Get returns the placement of a user's key and where the user's homes are. No placement has no Intent.
func (x *Index) Get(user, key string) (p Placement, homes []string, err error) {
	err = x.store.View(func(tx state.Tx) error {
		homes = decode[[]string](tx.Get(homesBucket, user))
		p = decode[Placement](tx.Get(placementsBucket, name(user, key)))
		return nil
	})
	if err != nil {
		return Placement{}, nil, fmt.Errorf("look up where the session of %s is: %w", user, err)
	}
	return p, homes, nil
}

// Owner returns whose session id is. On a miss it makes sure that nothing is on its way.
func (x *Index) Owner(ctx context.Context, id string) (o Owner, found bool, err error) {
	for _, last := range []bool{false, true} {
		err = x.store.View(func(tx state.Tx) error {
			raw := tx.Get(sessionsBucket, id)
			o, found = decode[Owner](raw), raw != nil
			return nil
		})
		if err != nil || found || last {
			break
		}
		if err = x.store.Barrier(ctx); err != nil {
			break
		}
	}
	if err != nil {
		return Owner{}, false, fmt.Errorf("look up session %s: %w", id, err)
	}
	return o, found, nil
}

// Placed is a placement with its name.
type Placed struct {
	User, Key string
	Placement
}

// Of returns a user's placements, or everybody's for "".
func (x *Index) Of(user string) (all []Placed, homes []string, err error) {
	prefix := ""
	if user != "" {
		prefix = name(user, "")
	}
	err = x.store.View(func(tx state.Tx) error {
		all, homes = nil, nil
		if user != "" {
			homes = decode[[]string](tx.Get(homesBucket, user))
		}
		return tx.EachPrefix(placementsBucket, prefix, func(at string, value []byte) error {
			user, key, _ := strings.Cut(at, "\x00")
			all = append(all, Placed{User: user, Key: key, Placement: decode[Placement](value)})
			return nil
		})
	})
	if err != nil {
		return nil, nil, fmt.Errorf("look up where the sessions of %q are: %w", user, err)
	}
	return all, homes, nil
}

// Swap replaces the placement of a user's key if it is still before; a zero before means that there is none,
// a zero after that there shall be none. An after with a session also tells whose the session is. It returns
// ErrMoved when the placement is not before.
func (x *Index) Swap(ctx context.Context, user, key string, before, after Placement) error {
	err := x.write(ctx, func(tx state.Tx) error {
		if decode[Placement](tx.Get(placementsBucket, name(user, key))) != before {
			return ErrMoved
		}
		place(tx, user, key, after)
		return nil
	})
	switch {
	case errors.Is(err, ErrMoved):
		return errors.Join(err, x.store.Barrier(ctx)) // so that who looks again sees why
	case err != nil:
		return fmt.Errorf("record where the session of %s is: %w", user, err)
	}
	return nil
}

func place(tx state.Tx, user, key string, p Placement) {
	if p == (Placement{}) {
		tx.Delete(placementsBucket, name(user, key))
		return
	}
	tx.Put(placementsBucket, name(user, key), encode(p))
	if p.Session == "" {
		return
	}
	tx.Put(sessionsBucket, p.Session, encode(ownerOf(user, key, p)))
	homes := decode[[]string](tx.Get(homesBucket, user))
	if len(homes) > 0 && homes[len(homes)-1] == p.Node {
		return
	}
	homes = append(slices.DeleteFunc(homes, func(n string) bool { return n == p.Node }), p.Node)
	tx.Put(homesBucket, user, encode(homes[max(0, len(homes)-maxHomes):]))
}

func ownerOf(user, key string, p Placement) Owner {
	return Owner{User: user, Key: key, Node: p.Node, Image: p.Image, Class: p.Class, Encoder: p.Encoder, At: p.At}
}

// name is the key of a user's key in the index.
func name(user, key string) string { return user + "\x00" + key }

// decode reads what this package wrote; what cannot be read counts as absent, and is written anew.
func decode[T any](raw []byte) (v T) {
	if raw != nil && json.Unmarshal(raw, &v) != nil {
		var none T
		return none
	}
	return v
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // of this package's own plain types: a fault of the program
	}
	return raw
}

// batch is changes that are written together: one write to disk, or one round of the coordinators, for all
// who came while the one before was written.
type batch struct {
	changes []func(state.Tx) error
	errs    []error
	done    chan struct{}
}

// write carries out change with others. A change that returns an error must have written nothing; the others
// are not touched by it.
func (x *Index) write(ctx context.Context, change func(state.Tx) error) error {
	x.mu.Lock()
	first := x.next == nil
	if first {
		x.next = &batch{done: make(chan struct{})}
	}
	b, i := x.next, len(x.next.changes)
	b.changes = append(b.changes, change)
	x.mu.Unlock()
	if first {
		x.flush(ctx, b)
	}
	select {
	case <-b.done:
		return b.errs[i]
	case <-ctx.Done():
		return context.Cause(ctx) // it may be written all the same
	}
}

// flush writes b once its turn has come. It does not end with its caller's request: others' changes are in b.
func (x *Index) flush(ctx context.Context, b *batch) {
	x.turn <- struct{}{} // every holder is bounded by writeTimeout
	defer func() { <-x.turn }()
	x.mu.Lock()
	x.next = nil
	x.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	errs := make([]error, len(b.changes))
	err := x.store.Update(ctx, func(tx state.Tx) error {
		for i, change := range b.changes {
			errs[i] = change(tx)
		}
		return nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	b.errs = errs
	close(b.done)
}

// End marks a lost session as one that must end when its node is back, and frees its key.
func (x *Index) End(ctx context.Context, id, reason string) error {
	return x.write(ctx, func(tx state.Tx) error {
		o := decode[Owner](tx.Get(sessionsBucket, id))
		if o.User == "" {
			return ErrNotFound
		}
		o.Ended = reason
		tx.Put(sessionsBucket, id, encode(o))
		free(tx, id, o)
		return nil
	})
}

// Free frees the key of a session that has ended; forget also forgets whose it was.
func (x *Index) Free(ctx context.Context, id string, forget bool) error {
	return x.write(ctx, func(tx state.Tx) error {
		o := decode[Owner](tx.Get(sessionsBucket, id))
		free(tx, id, o)
		if forget {
			tx.Delete(sessionsBucket, id)
		}
		return nil
	})
}

func free(tx state.Tx, id string, o Owner) {
	if at := name(o.User, o.Key); decode[Placement](tx.Get(placementsBucket, at)).Session == id {
		tx.Delete(placementsBucket, at)
	}
}

// census is what the index holds, by node.
type census struct {
	owners  map[string]map[string]Owner // node → session → owner
	intents map[string][]Placed         // node → placements without a session
}

func (x *Index) census() (c census, err error) {
	err = x.store.View(func(tx state.Tx) error {
		c = census{owners: map[string]map[string]Owner{}, intents: map[string][]Placed{}}
		err := tx.Each(sessionsBucket, func(id string, value []byte) error {
			o := decode[Owner](value)
			if c.owners[o.Node] == nil {
				c.owners[o.Node] = map[string]Owner{}
			}
			c.owners[o.Node][id] = o
			return nil
		})
		if err != nil {
			return err
		}
		return tx.Each(placementsBucket, func(at string, value []byte) error {
			if p := decode[Placement](value); p.Session == "" {
				user, key, _ := strings.Cut(at, "\x00")
				c.intents[p.Node] = append(c.intents[p.Node], Placed{User: user, Key: key, Placement: p})
			}
			return nil
		})
	})
	return c, err
}

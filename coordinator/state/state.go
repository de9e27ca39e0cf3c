// Package state is what a coordinator must not forget: accounts, tokens, who belongs to the cluster, policies, forecasts and
// where sessions were placed. Session truth is not here: it stays on the nodes.
package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Reasons for which this package refuses. Errors match them by errors.Is.
var (
	ErrLocked      = errors.New("the database is in use by another process")
	ErrSchema      = errors.New("the database was written by another version")
	ErrUnavailable = errors.New("the coordinators cannot agree at this moment")
)

// The schema of the database lies in it, under this key. Fields are added to records, never renamed.
const (
	bucketMeta = "meta"
	keySchema  = "schema"
	schema     = "1"
)

// Tx is one consistent view of the state. Buckets need no making; one that was never written to is empty. A value that Get or Each
// hands out is the caller's to keep and must not be changed.
type Tx interface {
	// Get returns nil when there is no such key.
	Get(bucket, key string) []byte
	// Put and Delete are for Update alone; Get and Each see them at once.
	Put(bucket, key string, value []byte)
	Delete(bucket, key string)
	// Each visits the keys of a bucket in order until visit returns an error, which it returns.
	Each(bucket string, visit func(key string, value []byte) error) error
	// EachPrefix is Each for the keys that begin with prefix alone.
	EachPrefix(bucket, prefix string, visit func(key string, value []byte) error) error
}

// Store is the state of this coordinator. Its methods are safe for concurrent use.
type Store struct {
	db *bbolt.DB

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
}

// Open opens the database in the file path and makes it, mode 0600, when it is missing. It waits as long as patience for another
// process to let go of it, then fails with ErrLocked.
func Open(path string, patience time.Duration) (*Store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: patience})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open the coordinator's database %s: %w", path, err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), db.Update(checkSchema)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the coordinator's database %s: %w", path, err), db.Close())
	}
	return &Store{db: db, changed: make(chan struct{})}, nil
}

func checkSchema(tx *bbolt.Tx) error {
	t := &transaction{tx: tx}
	switch got := string(t.Get(bucketMeta, keySchema)); got {
	case "":
		t.Put(bucketMeta, keySchema, []byte(schema))
		return t.err
	case schema:
		return nil
	default:
		return fmt.Errorf("%w: it has schema %q, this coordinator knows %q; use the newer coordinator", ErrSchema, got, schema)
	}
}

// Close ends the use of the database.
func (s *Store) Close() error { return s.db.Close() }

// View lets read look at the state as it is here; another coordinator may have written a moment ago what has not arrived yet
// (see Barrier).
func (s *Store) View(read func(Tx) error) error {
	return s.db.View(func(tx *bbolt.Tx) error { return read(&transaction{tx: tx}) })
}

// Update changes the state, on every coordinator or on none. change may run more than once, on what another writer left, and so
// must have no effect but on tx and on variables that it sets anew each time. When it returns an error, nothing is written.
func (s *Store) Update(ctx context.Context, change func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.Update(func(tx *bbolt.Tx) error {
		t := &transaction{tx: tx}
		return errors.Join(change(t), t.err)
	})
	if err == nil {
		s.notify()
	}
	return err
}

// Barrier returns once View sees every Update that had succeeded on any coordinator before the call.
func (s *Store) Barrier(ctx context.Context) error { return ctx.Err() }

// Leader tells whether this coordinator does what one of them must do for all, such as to rotate keys. Alone it always does.
func (s *Store) Leader() bool { return true }

// Changed returns a channel that is closed at the next change, of whatever. Ask for it before reading.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Store) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

type transaction struct {
	tx  *bbolt.Tx
	err error
}

func (t *transaction) Get(bucket, key string) []byte {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return clone(b.Get([]byte(key)))
}

func (t *transaction) Put(bucket, key string, value []byte) {
	b, err := t.tx.CreateBucketIfNotExists([]byte(bucket))
	if err == nil {
		err = b.Put([]byte(key), value)
	}
	t.err = errors.Join(t.err, err)
}

func (t *transaction) Delete(bucket, key string) {
	if b := t.tx.Bucket([]byte(bucket)); b != nil {
		t.err = errors.Join(t.err, b.Delete([]byte(key)))
	}
}

func (t *transaction) Each(bucket string, visit func(key string, value []byte) error) error {
	return t.EachPrefix(bucket, "", visit)
}

func (t *transaction) EachPrefix(bucket, prefix string, visit func(key string, value []byte) error) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	c := b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := visit(string(k), clone(v)); err != nil {
			return err
		}
	}
	return nil
}

// clone keeps nil apart from empty.
func clone(v []byte) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}

// Package state is what a coordinator must not forget: accounts, tokens, who belongs to the cluster, policies, forecasts and
// where sessions were placed. Session truth is not here: it stays on the nodes.
//
// A coordinator that is alone keeps it in a bbolt file. Several keep one state together through raft (replica.go); what callers
// see is the same.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"easel/pkg/boltfile"
)

// Reasons for which this package refuses. Errors match them by errors.Is.
var (
	ErrLocked      = errors.New("the database is in use by another process")
	ErrSchema      = errors.New("the database was written by another version")
	ErrUnavailable = errors.New("the coordinators cannot agree at this moment")
	ErrReplicated  = errors.New("this coordinator is one of several, whose state only a running coordinator can change; start it and try again")
	ErrDamaged     = errors.New("the replicated log is damaged")
	ErrInvalid     = errors.New("not a valid change")
)

// The schema of the database lies in it, under this key. Fields are added to records, never renamed.
const (
	bucketMeta = "meta"
	keySchema  = "schema"
	schema     = "1"
)

// Tx is one consistent view of the state. Buckets need no making; one that was never written to is empty. A value that Get or Each
// hands out is the caller's to keep and must not be changed, nor one that Put was given.
type Tx interface {
	// Get returns nil when there is no such key.
	Get(bucket, key string) []byte
	// Put and Delete are for Update alone; Get and Each see them at once.
	Put(bucket, key string, value []byte)
	Delete(bucket, key string)
	// Each visits the keys of a bucket in order until visit returns an error, which it returns. What visit itself writes is not
	// visited. Where there are several coordinators, an Update with Each runs again when anything in the bucket changed meanwhile.
	Each(bucket string, visit func(key string, value []byte) error) error
	// EachPrefix is Each for the keys that begin with prefix alone.
	EachPrefix(bucket, prefix string, visit func(key string, value []byte) error) error
}

// Store is the state of this coordinator. Its methods are safe for concurrent use.
type Store struct {
	db      *bbolt.DB
	cfg     Config
	alone   *alone
	replica atomic.Pointer[replica] // nil while this coordinator is alone
	growing sync.Mutex              // held by who makes the replica, and to close
	changed *signal
	latency prometheus.Histogram // of changes
}

// Open opens the database in the file path and makes it, mode 0600, when it is missing. It waits as long as patience for another
// process to let go of it, then fails with ErrLocked. It is for a coordinator that is alone: see Start.
func Open(path string, patience time.Duration) (*Store, error) {
	replicated, err := exists(raftDir(path))
	if err != nil {
		return nil, err
	}
	if replicated {
		return nil, fmt.Errorf("open the coordinator's database %s: %w", path, ErrReplicated)
	}
	db, err := openDatabase(path, &bbolt.Options{Timeout: patience})
	if err != nil {
		return nil, err
	}
	s := newStore()
	s.db = db
	s.alone = newAlone(db, s.changed.send)
	return s, nil
}

func newStore() *Store { return &Store{changed: newSignal(), latency: newLatency()} }

// mapSize is how much of a database is mapped from the start: a file that outgrows its map waits for every View to end.
const mapSize = 256 << 20

func openDatabase(path string, o *bbolt.Options) (*bbolt.DB, error) {
	o.InitialMmapSize, o.FreelistType = mapSize, bbolt.FreelistMapType
	db, err := boltfile.Open(path, o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = ErrLocked
	case errors.Is(err, boltfile.ErrDamaged):
		err = fmt.Errorf("%w; put back a copy of it that is whole, with the coordinator stopped", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the coordinator's database %s: %w", path, err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), db.Update(checkSchema)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the coordinator's database %s: %w", path, err), db.Close())
	}
	return db, nil
}

func checkSchema(tx *bbolt.Tx) error {
	switch got := string(lookup(tx, bucketMeta, keySchema)); got {
	case "":
		return store(tx, bucketMeta, keySchema, []byte(schema))
	case schema:
		return nil
	default:
		return fmt.Errorf("%w: it has schema %q, this coordinator knows %q; use the newer coordinator", ErrSchema, got, schema)
	}
}

// raftDir is where a coordinator that is one of several keeps the log, beside its database.
func raftDir(path string) string { return filepath.Join(filepath.Dir(path), "raft") }

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Close ends the use of the database. A coordinator that leads hands over first.
func (s *Store) Close() error {
	s.growing.Lock()
	defer s.growing.Unlock()
	s.alone.end(errClosed)
	if r := s.replica.Load(); r != nil {
		return errors.Join(r.close(), s.db.Close())
	}
	return s.db.Close()
}

// View lets read look at the state as it is here; another coordinator may have written a moment ago what has not arrived yet
// (see Barrier).
func (s *Store) View(read func(Tx) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		a := newAttempt(tx, false)
		if err := read(a); err != nil {
			return err
		}
		if len(a.writes) > 0 {
			return fmt.Errorf("write to the state while viewing it: %w: use Update", ErrInvalid)
		}
		return nil
	})
}

// Update changes the state, on every coordinator or on none. change may run more than once, on what another writer left, and so
// must have no effect but on tx and on variables that it sets anew each time. When it returns an error, nothing is written.
//
// While the coordinators have no leader, or none that a majority hears, Update waits; after ctx or some seconds it fails with
// ErrUnavailable.
func (s *Store) Update(ctx context.Context, change func(Tx) error) error {
	begun := time.Now()
	err := errGrown
	if s.replica.Load() == nil {
		err = s.alone.update(ctx, change)
	}
	if errors.Is(err, errGrown) {
		err = s.replica.Load().update(ctx, change)
	}
	if err == nil {
		s.latency.Observe(time.Since(begun).Seconds())
	}
	return err
}

// Barrier returns once View sees every Update that had succeeded on any coordinator before the call.
func (s *Store) Barrier(ctx context.Context) error {
	if r := s.replica.Load(); r != nil {
		return r.barrier(ctx)
	}
	return ctx.Err()
}

// Leader tells whether this coordinator does what one of them must do for all, such as to rotate keys. Alone it always does.
// One that has just been cut off may think so for half a second more, and its Updates fail then.
func (s *Store) Leader() bool {
	r := s.replica.Load()
	return r == nil || r.leads()
}

// Changed returns a channel that is closed at the next change, of whatever, who leads included. Ask for it before reading.
func (s *Store) Changed() <-chan struct{} { return s.changed.wait() }

package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// schema is the version of the database's layout that this code writes. Older ones are brought up on
// opening; newer ones are refused. Fields that were added since (intent, warmth, warmed, digest) did not change it: an older noded takes
// a warm session's record for one that it cannot read, and so removes that session whole.
const schema = 1

var (
	bucketMeta     = []byte("session-meta")
	bucketSessions = []byte("sessions")
	bucketBroken   = []byte("sessions-broken") // records that could not be read, kept for a person to look at
	keySchema      = []byte("schema")
	keyOrder       = []byte("order")            // the node's duty
	keyBootOrder   = []byte("order-until-boot") // stands above it until the host starts anew
)

// Store keeps records in a bbolt database that others may share; each has buckets of its own.
type Store struct {
	db     *bbolt.DB
	log    *slog.Logger
	reader reader
	fault  atomic.Pointer[error] // of the last write; nil when it succeeded
}

// Fault is why the last write failed; nil when it did not. The disk may be full.
func (s *Store) Fault() error {
	if err := s.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// errOurs marks an error of the caller's own in a transaction: it tells nothing of the disk.
type errOurs struct{ error }

func (e errOurs) Unwrap() error { return e.error }

// update is a transaction that writes. What decide returns goes back as it is; a fault of the disk is remembered until a
// write succeeds.
func (s *Store) update(decide func(tx *bbolt.Tx) error) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if err := decide(tx); err != nil {
			return errOurs{err}
		}
		return nil
	})
	var ours errOurs
	switch {
	case err == nil:
		s.fault.Store(nil)
	case errors.As(err, &ours):
		return ours.error
	default:
		s.fault.Store(&err)
		return fmt.Errorf("write to %s: %w", s.db.Path(), err)
	}
	return nil
}

// NewStore prepares the session buckets of db.
func NewStore(db *bbolt.DB, log *slog.Logger) (*Store, error) {
	if upToDate(db) { // a full disk must not keep the daemon from its sessions
		return &Store{db: db, log: log}, nil
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketSessions, bucketBroken} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if written := meta.Get(keySchema); written != nil {
			version, err := strconv.Atoi(string(written))
			if err != nil || version < 1 {
				return fmt.Errorf("its schema version reads %q", written)
			}
			if version > schema {
				return fmt.Errorf("a newer noded wrote it (schema %d, this one knows %d): install that version again", version, schema)
			}
		}
		return meta.Put(keySchema, []byte(strconv.Itoa(schema)))
	})
	if err != nil {
		return nil, fmt.Errorf("open session store %s: %w", db.Path(), err)
	}
	return &Store{db: db, log: log}, nil
}

// upToDate tells whether the database has all that NewStore would write.
func upToDate(db *bbolt.DB) bool {
	is := false
	_ = db.View(func(tx *bbolt.Tx) error { // it returns no error
		is = tx.Bucket(bucketMeta) != nil && tx.Bucket(bucketSessions) != nil && tx.Bucket(bucketBroken) != nil &&
			string(tx.Bucket(bucketMeta).Get(keySchema)) == strconv.Itoa(schema)
		return nil
	})
	return is
}

// Get returns a record; ErrNotFound when there is none.
func (s *Store) Get(id string) (Record, error) {
	var r Record
	err := s.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketSessions).Get([]byte(id))
		if data == nil {
			return fmt.Errorf("session %s: %w", id, ErrNotFound)
		}
		var err error
		r, err = s.reader.decode(id, data)
		return err
	})
	return r, err
}

// List returns every record that can be read, oldest first. Those that cannot are left out: Mend deals
// with them at start.
func (s *Store) List() ([]Record, error) {
	var all []Record
	err := s.db.View(func(tx *bbolt.Tx) error {
		all = s.records(tx)
		return nil
	})
	return all, err
}

func (s *Store) records(tx *bbolt.Tx) []Record {
	var all []Record
	c := tx.Bucket(bucketSessions).Cursor()
	for id, data := c.First(); id != nil; id, data = c.Next() {
		if r, err := s.reader.decode(string(id), data); err == nil {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return a.Created.Compare(b.Created) })
	return all
}

// Change writes the records that decide makes of all others, in one transaction: two concurrent callers see each other. When decide returns
// none, or an error, nothing is written.
func (s *Store) Change(decide func(all []Record) ([]Record, error)) error {
	err := s.update(func(tx *bbolt.Tx) error {
		changed, err := decide(s.records(tx))
		if err != nil {
			return err
		}
		if len(changed) == 0 {
			return errUnchanged // an empty transaction would be written to the disk like any other
		}
		for _, r := range changed {
			if err := put(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

var errUnchanged = errors.New("nothing changes")

// Update changes a record in one transaction and returns what it became. When change fails, nothing is written.
func (s *Store) Update(id string, change func(*Record) error) (Record, error) {
	var r Record
	err := s.update(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketSessions).Get([]byte(id))
		if data == nil {
			return fmt.Errorf("session %s: %w", id, ErrNotFound)
		}
		var err error
		if r, err = s.reader.decode(id, data); err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		return put(tx, r)
	})
	return r, err
}

func put(tx *bbolt.Tx, r Record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record of session %s: %w", r.ID, err)
	}
	if old := tx.Bucket(bucketSessions).Get([]byte(r.ID)); bytes.Equal(old, data) {
		return nil
	}
	return tx.Bucket(bucketSessions).Put([]byte(r.ID), data)
}

// Mend replaces each record that cannot be read by a failed one that holds everything a session could
// hold, so that whatever there is of it is taken away; the rest go on. The old bytes are kept aside.
func (s *Store) Mend(now time.Time) error {
	bad := map[string]error{}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSessions).ForEach(func(id, data []byte) error {
			if _, err := decodeRecord(string(id), data); err != nil {
				bad[string(id)] = err
			}
			return nil
		})
	})
	if err != nil || len(bad) == 0 {
		return err
	}
	return s.update(func(tx *bbolt.Tx) error {
		sessions, broken := tx.Bucket(bucketSessions), tx.Bucket(bucketBroken)
		for id, cause := range bad {
			s.log.Error("a session's record cannot be read: it fails, the others go on", "session", id, "error", cause)
			if err := broken.Put([]byte(id), slices.Clone(sessions.Get([]byte(id)))); err != nil {
				return err
			}
			if err := sessions.Delete([]byte(id)); err != nil {
				return err
			}
			if !ValidID(id) {
				continue // no session ever had this id: there is nothing of it to take away
			}
			r := Record{ID: id, State: Failed, Wanted: WantEnded, Created: now, Reason: "the node could not read its record of this session", Steps: map[string]Phase{}}
			r.Times = []StateTime{{State: Failed, At: now}}
			for _, step := range steps {
				r.Steps[step.name] = Begun
			}
			if err := put(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetOrder keeps the node's duty. One that ends with the boot leaves the other as it is; any other replaces both.
func (s *Store) SetOrder(o Order) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode the node's duty: %w", err)
	}
	return s.update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if o.Boot != "" {
			return meta.Put(keyBootOrder, data)
		}
		if err := meta.Delete(keyBootOrder); err != nil {
			return err
		}
		return meta.Put(keyOrder, data)
	})
}

// Order is the duty in force during a boot of the host; Serving when none was ever given.
func (s *Store) Order(boot string) (Order, error) {
	o := Order{Duty: Serving}
	err := s.db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if data := meta.Get(keyBootOrder); data != nil {
			var until Order
			if err := json.Unmarshal(data, &until); err != nil {
				return err
			}
			if until.Boot == boot {
				o = until
				return nil
			}
		}
		if data := meta.Get(keyOrder); data != nil {
			return json.Unmarshal(data, &o)
		}
		return nil
	})
	if err == nil && o.Duty != Serving && o.Duty != Cordoned && o.Duty != Draining {
		err = fmt.Errorf("%q is none", words(string(o.Duty), 40))
	}
	if err != nil {
		return o, fmt.Errorf("read the node's duty from %s: %w", s.db.Path(), err)
	}
	return o, nil
}

// Prune forgets ended sessions: those released before the given time, and the oldest beyond the last keep.
func (s *Store) Prune(before time.Time, keep int) error {
	all, err := s.List()
	if err != nil || len(forgettable(all, before, keep)) == 0 {
		return err
	}
	return s.update(func(tx *bbolt.Tx) error {
		for _, r := range forgettable(s.records(tx), before, keep) {
			if err := tx.Bucket(bucketSessions).Delete([]byte(r.ID)); err != nil {
				return err
			}
		}
		return nil
	})
}

func forgettable(all []Record, before time.Time, keep int) (old []Record) {
	ended := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return r.holds() })
	slices.SortFunc(ended, func(a, b Record) int { return b.Released.Compare(a.Released) })
	for i, r := range ended {
		if i >= keep || !r.Released.After(before) {
			old = append(old, r)
		}
	}
	return old
}

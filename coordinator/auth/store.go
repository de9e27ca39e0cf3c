// Package auth knows who may use a coordinator: accounts with argon2id passwords, browsers that are
// signed in, API tokens and one-time sign-in links, in one bbolt file.
//
// Secrets are stored as hashes only, so that a copy of the file signs nobody in.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Reasons for which this package refuses. Errors match them by errors.Is.
var (
	ErrInvalid    = errors.New("not valid")
	ErrNoAccount  = errors.New("there is no such account")
	ErrExists     = errors.New("the account exists already")
	ErrLastAdmin  = errors.New("this is the last administrator; make another one first")
	ErrWrong      = errors.New("the user name or the password is wrong")
	ErrBusy       = errors.New("too many people are signing in at this moment; try again in some seconds")
	ErrAnonymous  = errors.New("nobody is signed in")
	ErrBadToken   = errors.New("the token or the sign-in is not valid any more; sign in again")
	ErrLink       = errors.New("this sign-in link was used already, has expired, or is incomplete")
	ErrNoToken    = errors.New("there is no such API token")
	ErrLocked     = errors.New("the database is in use by another process")
	ErrSchema     = errors.New("the database was written by another version")
	errNotCurrent = errors.New("expired")
)

const schema = "1"

var (
	bucketMeta     = []byte("meta")
	bucketAccounts = []byte("accounts") // name → accountRecord
	bucketBrowsers = []byte("browsers") // SHA-256 of the cookie's value → browserRecord
	bucketTokens   = []byte("tokens")   // SHA-256 of the token → tokenRecord
	bucketLinks    = []byte("links")    // SHA-256 of the code → linkRecord
	keySchema      = []byte("schema")
)

// Options changes how a Store works; the zero value is right outside of tests.
type Options struct {
	Params      Params           // zero means Recommended
	Parallel    int              // hashes computed at once, 0 means 2
	Now         func() time.Time // nil means time.Now
	LockTimeout time.Duration    // how long Open waits for another process, 0 means 2 s
}

// Store is the database. Its methods are safe for concurrent use.
type Store struct {
	db     *bbolt.DB
	now    func() time.Time
	hasher *hasher
	limits *limiter
}

// Open opens the database in the file path and makes it, mode 0600, when it is missing. It returns an
// ErrLocked while another process has it open.
func Open(path string, o Options) (*Store, error) {
	if o.Params == (Params{}) {
		o.Params = Recommended
	}
	if o.Parallel < 1 {
		o.Parallel = 2
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = 2 * time.Second
	}
	h, err := newHasher(o.Params, o.Parallel)
	if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: o.LockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open account database %s: %w", path, err)
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(fmt.Errorf("open account database %s: %w", path, err), db.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db, now: o.Now, hasher: h, limits: newLimiter()}, nil
}

func prepare(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketAccounts, bucketBrowsers, bucketTokens, bucketLinks} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		switch got := string(meta.Get(keySchema)); got {
		case "":
			return meta.Put(keySchema, []byte(schema))
		case schema:
			return nil
		default:
			return fmt.Errorf("%w: it has schema %q, this coordinator knows %q; use the newer coordinator", ErrSchema, got, schema)
		}
	})
}

// Close ends the use of the database.
func (s *Store) Close() error { return s.db.Close() }

// Ping tells whether the database can be read.
func (s *Store) Ping() error {
	return s.db.View(func(*bbolt.Tx) error { return nil })
}

// Sweep removes sign-ins and links that have expired.
func (s *Store) Sweep() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		now := s.now()
		for _, name := range [][]byte{bucketBrowsers, bucketLinks} {
			err := removeIf(tx.Bucket(name), func(r expiring) bool { return !now.Before(r.Expires) })
			if err != nil {
				return fmt.Errorf("remove expired sign-ins: %w", err)
			}
		}
		return nil
	})
}

// expiring is the part that browserRecord and linkRecord share.
type expiring struct {
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// removeIf deletes the records of a bucket for which drop holds; one that cannot be read goes too.
func removeIf[T any](b *bbolt.Bucket, drop func(T) bool) error {
	var gone [][]byte
	err := b.ForEach(func(k, v []byte) error {
		var r T
		if json.Unmarshal(v, &r) != nil || drop(r) {
			gone = append(gone, append([]byte(nil), k...))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range gone {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func get[T any](b *bbolt.Bucket, key []byte) (T, bool, error) {
	var r T
	raw := b.Get(key)
	if raw == nil {
		return r, false, nil
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, false, fmt.Errorf("a record of the account database is damaged: %w", err)
	}
	return r, true, nil
}

func put(b *bbolt.Bucket, key []byte, r any) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.Put(key, raw)
}

// newSecret returns 256 random bits as text that suits a URL, a header and a cookie.
func newSecret() (string, error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}

// digest is what is stored of a random secret. It has 256 bits of entropy, so a plain hash is enough.
func digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

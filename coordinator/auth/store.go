// Package auth knows who may use a coordinator: accounts with argon2id passwords, browsers that are
// signed in, API tokens and one-time sign-in links, in the coordinators' state.
//
// Secrets are stored as hashes only, so that a copy of the state signs nobody in.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"easel/coordinator/state"
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
	errNotCurrent = errors.New("expired")
)

// Buckets of the state. A secret's key is its digest.
const (
	bucketAccounts = "accounts" // name → accountRecord
	bucketBrowsers = "browsers" // cookie's value → browserRecord
	bucketTokens   = "tokens"   // token → tokenRecord
	bucketLinks    = "links"    // code → linkRecord
)

// Options changes how a Store works; the zero value is right outside of tests.
type Options struct {
	Params   Params           // zero means Recommended
	Parallel int              // hashes computed at once, 0 means 2
	Now      func() time.Time // nil means time.Now
}

// Store is who may use the coordinators. Its methods are safe for concurrent use.
type Store struct {
	db     *state.Store
	now    func() time.Time
	hasher *hasher
	limits *limiter
}

// New keeps accounts in db, which stays the caller's to close.
func New(db *state.Store, o Options) (*Store, error) {
	if o.Params == (Params{}) {
		o.Params = Recommended
	}
	if o.Parallel < 1 {
		o.Parallel = 2
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h, err := newHasher(o.Params, o.Parallel)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, now: o.Now, hasher: h, limits: newLimiter()}, nil
}

// Ping tells whether the state can be read.
func (s *Store) Ping() error {
	return s.db.View(func(state.Tx) error { return nil })
}

// Ready tells whether sign-ins can be made here.
func (s *Store) Ready() error { return s.db.Ready() }

// catchUpPatience bounds the wait for the other coordinators when something is not known here.
const catchUpPatience = 3 * time.Second

// catchUp returns once everything is known here that had been written on any coordinator before the call.
func (s *Store) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpPatience)
	defer cancel()
	if err := s.db.Barrier(ctx); err != nil {
		return fmt.Errorf("ask the other coordinators: %w", err)
	}
	return nil
}

// Sweep removes sign-ins and links that have expired. It looks first, so that a sweep with nothing to do writes nothing, and its
// change depends on the expired records alone, never on a bucket that every sign-in changes.
func (s *Store) Sweep(ctx context.Context) error {
	for _, bucket := range []string{bucketBrowsers, bucketLinks} {
		var expired []string
		err := s.db.View(func(tx state.Tx) error {
			var err error
			expired, err = keysOf(tx, bucket, s.expired)
			return err
		})
		if err == nil && len(expired) > 0 {
			err = s.db.Update(ctx, func(tx state.Tx) error {
				for _, key := range expired {
					tx.Delete(bucket, key)
				}
				return nil
			})
		}
		if err != nil {
			return fmt.Errorf("remove expired sign-ins: %w", err)
		}
	}
	return nil
}

func (s *Store) expired(r expiring) bool { return !s.now().Before(r.Expires) }

// expiring is the part that browserRecord and linkRecord share.
type expiring struct {
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// keysOf returns the keys of a bucket's records for which wanted holds, and of those that cannot be read.
func keysOf[T any](tx state.Tx, bucket string, wanted func(T) bool) ([]string, error) {
	var keys []string
	err := tx.Each(bucket, func(key string, value []byte) error {
		var r T
		if json.Unmarshal(value, &r) != nil || wanted(r) {
			keys = append(keys, key)
		}
		return nil
	})
	return keys, err
}

func get[T any](tx state.Tx, bucket, key string) (T, bool, error) {
	var r T
	raw := tx.Get(bucket, key)
	if raw == nil {
		return r, false, nil
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, false, fmt.Errorf("a record in %q is damaged: %w", bucket, err)
	}
	return r, true, nil
}

func put(tx state.Tx, bucket, key string, r any) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tx.Put(bucket, key, raw)
	return nil
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
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return string(sum[:])
}

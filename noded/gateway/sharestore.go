package gateway

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// bucketShares holds the links by which guests come to sessions: session, "/", the link's id → share as JSON. It is made with the first of them.
var bucketShares = []byte("gateway-shares")

const (
	// maxShares is how many links a session may have at once.
	maxShares   = 16
	secretBytes = 32
)

var (
	errManyShares = errors.New("the session has as many links as it may")
	errNoShare    = errors.New("there is no such link")
)

// share is a link to a session for guests. The secret itself is in the link alone.
type share struct {
	ID      string    `json:"id"`
	Session string    `json:"session"`
	Role    string    `json:"role"`
	Name    string    `json:"name"` // what the owner calls it
	Hash    []byte    `json:"hash"` // SHA-256 of the secret
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: with the session
	// Gone is a link that was revoked, and whose guests the streamer has not been told to cut yet.
	Gone bool `json:"gone,omitempty"`
}

// live tells whether somebody may be let in by it.
func (s *share) live(now time.Time) bool {
	return !s.Gone && (s.Expires.IsZero() || now.Before(s.Expires))
}

func (s *share) key() []byte { return []byte(s.Session + "/" + s.ID) }

// newSecret makes a link's secret, and what is kept of it.
func newSecret() (secret string, hash []byte) {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	secret = base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// shortID is an id that nobody guesses, of lower-case letters and digits.
func shortID() string { return strings.ToLower(rand.Text()[:16]) }

// addShare keeps a new link.
func (m *Memory) addShare(s share) error {
	return m.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketShares)
		if err != nil {
			return err
		}
		if len(sharesIn(b, s.Session)) >= maxShares {
			return errManyShares
		}
		return putShare(b, s)
	})
}

func putShare(b *bbolt.Bucket, s share) error {
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return b.Put(s.key(), value)
}

// sharesIn reads a session's links, those that are gone too; of all sessions if it is "". One that cannot be read lets nobody in.
func sharesIn(b *bbolt.Bucket, session string) []share {
	var all []share
	var prefix []byte
	if session != "" {
		prefix = []byte(session + "/")
	}
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		var s share
		if json.Unmarshal(v, &s) == nil && bytes.Equal(s.key(), k) {
			all = append(all, s)
		}
	}
	return all
}

// shares reads a session's links; of all sessions if it is "".
func (m *Memory) shares(session string) (all []share, err error) {
	err = m.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketShares); b != nil {
			all = sharesIn(b, session)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the links to sessions: %w", err)
	}
	return all, nil
}

// liveShare finds a link by its id.
func (m *Memory) liveShare(session, id string, now time.Time) (share, error) {
	all, err := m.shares(session)
	for _, s := range all {
		if s.ID == id && s.live(now) {
			return s, nil
		}
	}
	return share{}, errors.Join(errNoShare, err)
}

// shareBySecret finds a link by its secret; it takes as long for a wrong one.
func (m *Memory) shareBySecret(session, secret string, now time.Time) (share, error) {
	all, err := m.shares(session)
	sum := sha256.Sum256([]byte(secret))
	found, ok := share{}, false
	for _, s := range all {
		if subtle.ConstantTimeCompare(s.Hash, sum[:]) == 1 && s.live(now) {
			found, ok = s, true
		}
	}
	if !ok {
		return share{}, errors.Join(errNoShare, err)
	}
	return found, nil
}

// revokeShare lets nobody in by a link any more. It is forgotten by forgetShares once its guests are cut.
func (m *Memory) revokeShare(session, id string) (s share, err error) {
	err = m.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketShares)
		if b == nil {
			return errNoShare
		}
		for _, one := range sharesIn(b, session) {
			if one.ID == id && !one.Gone {
				s, one.Gone = one, true
				return putShare(b, one)
			}
		}
		return errNoShare
	})
	return s, err
}

// forgetShares forgets links for good.
func (m *Memory) forgetShares(gone []share) error {
	return m.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketShares)
		for i := range gone {
			if err := b.Delete(gone[i].key()); err != nil {
				return err
			}
		}
		return nil
	})
}

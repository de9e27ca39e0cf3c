package gateway

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

var (
	bucketGateway = []byte("gateway")
	bucketTokens  = []byte("gateway-tokens") // id → when it may be forgotten, Unix seconds, big endian
	keyCookie     = []byte("cookie-key")
)

// ErrUsed is a token that was traded for a cookie before.
var ErrUsed = errors.New("the token was used before")

// Memory is what the gateway must remember over a restart: its cookie key, and which tokens were used.
type Memory struct{ db *bbolt.DB }

// NewMemory prepares the gateway's buckets of db, and makes the cookie key the first time.
func NewMemory(db *bbolt.DB) (*Memory, error) {
	if prepared(db) { // a full disk must not keep the daemon from its sessions
		return &Memory{db: db}, nil
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(bucketTokens); err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(bucketGateway)
		if err != nil || b.Get(keyCookie) != nil {
			return err
		}
		key := make([]byte, cookieKeySize)
		_, _ = rand.Read(key) // never fails, by its contract
		return b.Put(keyCookie, key)
	})
	if err != nil {
		return nil, fmt.Errorf("open the gateway's memory in %s: %w", db.Path(), err)
	}
	return &Memory{db: db}, nil
}

// prepared tells whether the database has all that NewMemory would write.
func prepared(db *bbolt.DB) bool {
	is := false
	_ = db.View(func(tx *bbolt.Tx) error { // it returns no error
		b := tx.Bucket(bucketGateway)
		is = tx.Bucket(bucketTokens) != nil && b != nil && b.Get(keyCookie) != nil
		return nil
	})
	return is
}

// CookieKey is the node's own key, under which its cookies are made.
func (m *Memory) CookieKey() ([]byte, error) {
	var key []byte
	err := m.db.View(func(tx *bbolt.Tx) error {
		key = slices.Clone(tx.Bucket(bucketGateway).Get(keyCookie))
		return nil
	})
	if err == nil && len(key) != cookieKeySize {
		err = fmt.Errorf("it has %d bytes, want %d", len(key), cookieKeySize)
	}
	if err != nil {
		return nil, fmt.Errorf("read the cookie key from %s: %w", m.db.Path(), err)
	}
	return key, nil
}

// Use marks a token as used, until it would be refused as expired anyway; ErrUsed when it was already.
func (m *Memory) Use(id string, until, now time.Time) error {
	return m.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketTokens)
		if b.Get([]byte(id)) != nil {
			return ErrUsed
		}
		var old [][]byte
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(v) != 8 || int64(binary.BigEndian.Uint64(v)) < now.Unix() {
				old = append(old, slices.Clone(k))
			}
		}
		for _, k := range old {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return b.Put([]byte(id), binary.BigEndian.AppendUint64(nil, uint64(until.Unix())))
	})
}

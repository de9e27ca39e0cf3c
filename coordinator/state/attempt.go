package state

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	easelv1 "easel/pkg/api/easel/v1"
)

// Bounds of one key and of one change, in bytes: a change crosses the network and stays in the log.
const (
	maxKey    = 4 << 10
	maxChange = 4 << 20
)

// ownPrefix begins the names of this package's own buckets.
const ownPrefix = "\x00"

// bucketRevisions has the index of the last commit that wrote to a bucket.
const bucketRevisions = ownPrefix + "revisions"

// attempt is a Tx: it reads a transaction of the database and keeps aside what it would write, and what it has read, so that
// the change can be carried out elsewhere, later, if what it read is still so.
type attempt struct {
	tx     *bbolt.Tx
	reads  map[place][]byte // digests of values, empty for none
	scans  map[place]*easelv1.StateScan
	writes map[string]map[string]written // bucket, key
	err    error
}

// place is a key of a bucket, or a prefix of keys.
type place struct{ bucket, key string }

type written struct {
	value []byte
	gone  bool
}

// newAttempt begins one; what it reads is kept only if record is set.
func newAttempt(tx *bbolt.Tx, record bool) *attempt {
	a := &attempt{tx: tx, writes: map[string]map[string]written{}}
	if record {
		a.reads, a.scans = map[place][]byte{}, map[place]*easelv1.StateScan{}
	}
	return a
}

func (a *attempt) Get(bucket, key string) []byte {
	if w, ok := a.writes[bucket][key]; ok {
		return clone(w.value)
	}
	value := lookup(a.tx, bucket, key)
	if at := (place{bucket, key}); a.reads != nil && a.reads[at] == nil {
		a.reads[at] = digest(value)
	}
	return clone(value)
}

func (a *attempt) Put(bucket, key string, value []byte) {
	a.write(bucket, key, written{value: append([]byte{}, value...)})
}

func (a *attempt) Delete(bucket, key string) { a.write(bucket, key, written{gone: true}) }

func (a *attempt) write(bucket, key string, w written) {
	if err := checkWrite(bucket, key); err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	if a.writes[bucket] == nil {
		a.writes[bucket] = map[string]written{}
	}
	a.writes[bucket][key] = w
}

func checkWrite(bucket, key string) error {
	if bucket == "" || strings.HasPrefix(bucket, ownPrefix) || key == "" || len(bucket) > maxKey || len(key) > maxKey {
		return fmt.Errorf("%w: bucket %.40q, key %.40q: names have 1 to %d bytes, and a bucket's does not begin with a zero byte", ErrInvalid, bucket, key, maxKey)
	}
	return nil
}

func (a *attempt) Each(bucket string, visit func(key string, value []byte) error) error {
	return a.EachPrefix(bucket, "", visit)
}

func (a *attempt) EachPrefix(bucket, prefix string, visit func(key string, value []byte) error) error {
	if at := (place{bucket, prefix}); a.scans != nil && a.scans[at] == nil {
		a.scans[at] = scan(a.tx, bucket, prefix)
	}
	own := maps.Clone(a.writes[bucket])
	maps.DeleteFunc(own, func(key string, _ written) bool { return !strings.HasPrefix(key, prefix) })
	keys := slices.Sorted(maps.Keys(own))
	err := each(a.tx, bucket, prefix, func(key string, value []byte) error {
		for len(keys) > 0 && keys[0] < key {
			if err := visitOwn(own, keys[0], visit); err != nil {
				return err
			}
			keys = keys[1:]
		}
		if len(keys) > 0 && keys[0] == key {
			keys = keys[1:]
			return visitOwn(own, key, visit)
		}
		return visit(key, clone(value))
	})
	for ; err == nil && len(keys) > 0; keys = keys[1:] {
		err = visitOwn(own, keys[0], visit)
	}
	return err
}

func visitOwn(own map[string]written, key string, visit func(key string, value []byte) error) error {
	if w := own[key]; !w.gone {
		return visit(key, clone(w.value))
	}
	return nil
}

// flush writes what was kept aside to the database itself.
func (a *attempt) flush(tx *bbolt.Tx) error {
	for bucket, keys := range a.writes {
		for key, w := range keys {
			if err := carryOut(tx, bucket, key, w); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit is the attempt as the other coordinators get it, under a new ID.
func (a *attempt) commit() (*easelv1.StateCommit, error) {
	c := &easelv1.StateCommit{Id: make([]byte, 16)}
	if _, err := rand.Read(c.Id); err != nil {
		return nil, err
	}
	size := 0
	for at, sum := range a.reads {
		c.Reads = append(c.Reads, &easelv1.StateRead{Bucket: []byte(at.bucket), Key: []byte(at.key), Digest: sum})
	}
	for _, s := range a.scans {
		c.Scans = append(c.Scans, s)
	}
	for bucket, keys := range a.writes {
		for key, w := range keys {
			size += len(key) + len(w.value)
			c.Writes = append(c.Writes, &easelv1.StateWrite{Bucket: []byte(bucket), Key: []byte(key), Value: w.value, Delete: w.gone})
		}
	}
	if size > maxChange {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are taken at once", ErrInvalid, size, maxChange)
	}
	return c, nil
}

// holds tells whether what a commit read is still so.
func holds(tx *bbolt.Tx, c *easelv1.StateCommit) bool {
	for _, r := range c.GetReads() {
		if !bytes.Equal(digest(lookup(tx, string(r.GetBucket()), string(r.GetKey()))), r.GetDigest()) {
			return false
		}
	}
	for _, s := range c.GetScans() {
		now := scan(tx, string(s.GetBucket()), string(s.GetPrefix()))
		if now.Revision != s.GetRevision() || !bytes.Equal(now.Digest, s.GetDigest()) {
			return false
		}
	}
	return true
}

// scan says what there is under a prefix: exactly, or for a whole bucket, which may be large, by its revision.
func scan(tx *bbolt.Tx, bucket, prefix string) *easelv1.StateScan {
	s := &easelv1.StateScan{Bucket: []byte(bucket), Prefix: []byte(prefix)}
	if prefix == "" {
		if raw := lookup(tx, bucketRevisions, bucket); len(raw) == 8 {
			s.Revision = binary.BigEndian.Uint64(raw)
		}
		return s
	}
	sum, length := sha256.New(), [8]byte{}
	_ = each(tx, bucket, prefix, func(key string, value []byte) error {
		for _, part := range [][]byte{[]byte(key), value} {
			binary.BigEndian.PutUint64(length[:], uint64(len(part)))
			sum.Write(length[:])
			sum.Write(part)
		}
		return nil
	})
	s.Digest = sum.Sum(nil)[:digestSize]
	return s
}

// digestSize bytes of SHA-256 tell values apart; nobody gains by making two that collide.
const digestSize = 16

var digestOfNone = []byte{}

// digest of a value, of length 0 when there is none.
func digest(value []byte) []byte {
	if value == nil {
		return digestOfNone
	}
	sum := sha256.Sum256(value)
	return sum[:digestSize]
}

func lookup(tx *bbolt.Tx, bucket, key string) []byte {
	if b := tx.Bucket([]byte(bucket)); b != nil {
		return b.Get([]byte(key))
	}
	return nil
}

func each(tx *bbolt.Tx, bucket, prefix string, visit func(key string, value []byte) error) error {
	b := tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	c := b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := visit(string(k), v); err != nil {
			return err
		}
	}
	return nil
}

func carryOut(tx *bbolt.Tx, bucket, key string, w written) error {
	if !w.gone {
		return store(tx, bucket, key, w.value)
	}
	if b := tx.Bucket([]byte(bucket)); b != nil {
		return b.Delete([]byte(key))
	}
	return nil
}

func store(tx *bbolt.Tx, bucket, key string, value []byte) error {
	b, err := tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	if value == nil {
		value = []byte{} // a nil one would read as none until the end of tx
	}
	return b.Put([]byte(key), value)
}

// clone keeps nil apart from empty.
func clone(v []byte) []byte {
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}

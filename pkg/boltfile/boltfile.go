// Package boltfile opens bbolt databases, and says so when one is damaged. bbolt maps the file and believes it: what is wrong in there ends
// the process, by a panic or, where the file is shorter than it says, by a fault.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is of a file that is no database, or not a whole one.
var ErrDamaged = errors.New("the database is damaged")

// Open is bbolt.Open for a file, mode 0600, that may be damaged: it is read once from beginning to end, and what is wrong with it is an error
// that is ErrDamaged. Its list of free pages must have been written with it (bbolt's default): else bbolt looks for them in a goroutine of its
// own, whose panic nobody can catch.
func Open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	if err := checkLength(path); err != nil {
		return nil, err
	}
	err = Guard(func() error {
		db, err = bbolt.Open(path, 0o600, o)
		switch {
		case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := Guard(func() error { return db.View(walk) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Guard takes bbolt's panics in read, and faults of the mapped file, for what they are.
func Guard(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return read()
}

// walk visits every key.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walkBucket(b) })
}

func walkBucket(b *bbolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v != nil {
			return nil
		}
		return walkBucket(b.Bucket(k))
	})
}

// bbolt's file begins with two pages that each describe the whole. After a page's header comes: magic, version, page size and flags (4 bytes
// each), the root bucket (16), the list of free pages, the number of pages in use, the transaction (8 each), and a checksum of all that.
const (
	pageHeader  = 16
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

// checkLength compares the file's length with what its description says. The length is looked at last: who else uses it only makes it longer,
// and before it says so.
func checkLength(path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	size, pages, err := described(file)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if have := info.Size(); pages > 0 && (have < 2*size || uint64(have/size) < pages) {
		return fmt.Errorf("%w: it is cut off: it has %d bytes, %d pages of %d bytes are in use", ErrDamaged, have, pages, size)
	}
	return nil
}

// described is the size of a page, and how many are in use; none when nothing describes the file, for which bbolt has its own error.
func described(file io.ReaderAt) (size int64, pages uint64, err error) {
	size, pages, err = readMeta(file, 0)
	if err != nil {
		return 0, 0, err
	}
	if pages > 0 {
		_, second, err := readMeta(file, size)
		return size, max(pages, second), err
	}
	for at := int64(minPageSize); at <= maxPageSize; at *= 2 { // the first is unreadable: the second is one page, of unknown size, further
		size, pages, err := readMeta(file, at)
		if err != nil || pages > 0 && size == at {
			return size, pages, err
		}
	}
	return 0, 0, nil
}

// readMeta reads the description in the page that begins at; a damaged one has no pages.
func readMeta(file io.ReaderAt, at int64) (size int64, pages uint64, err error) {
	var raw [metaSize]byte
	if _, err := file.ReadAt(raw[:], at+pageHeader); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return 0, 0, err
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:metaSize-8]) // it never fails
	order := binary.NativeEndian
	size = int64(order.Uint32(raw[8:]))
	if order.Uint32(raw[:]) != metaMagic || order.Uint64(raw[metaSize-8:]) != sum.Sum64() || size < minPageSize || size > maxPageSize {
		return 0, 0, nil
	}
	return size, order.Uint64(raw[40:]), nil
}

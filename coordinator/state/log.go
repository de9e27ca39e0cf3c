package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"easel/pkg/boltfile"
)

var (
	bucketLog      = []byte("log")  // index, 8 bytes big endian → entry
	bucketLogFacts = []byte("meta") // of the log
	keyCommitted   = []byte("committed")
	castagnoli     = crc32.MakeTable(crc32.Castagnoli)
	errNoTail      = errors.New("it is cut off")
)

// entryHeaderSize is of checksum, term, time, type and the length of the extensions.
const entryHeaderSize = 4 + 8 + 8 + 1 + 4

// logStore is raft's log, on a bbolt file of its own. Every entry has a checksum.
type logStore struct {
	db      *bbolt.DB
	applied func() uint64 // what has been carried out is surely committed: kept with the entries, for replay
}

// openLog opens the log and reads all of it: a damaged entry, the last one included, may have been promised to the others, so
// nothing can go on without it.
func openLog(path string, patience time.Duration, applied func() uint64) (l *logStore, err error) {
	defer func() {
		if err != nil && !errors.Is(err, ErrLocked) {
			err = fmt.Errorf("open the replicated log %s: %w", path, err)
		}
	}()
	db, err := openRaftFile(path, patience)
	if err != nil {
		return nil, err
	}
	l = &logStore{db: db, applied: applied}
	if err := unlessDamaged(l.check); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

// openRaftFile opens a bbolt file that is durable at every write.
func openRaftFile(path string, patience time.Duration) (db *bbolt.DB, err error) {
	err = unlessDamaged(func() error {
		db, err = boltfile.Open(path, &bbolt.Options{Timeout: patience, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapSize})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, logErr := tx.CreateBucketIfNotExists(bucketLog)
		_, factsErr := tx.CreateBucketIfNotExists(bucketLogFacts)
		return errors.Join(logErr, factsErr)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// unlessDamaged says of a damaged file that it is the log's.
func unlessDamaged(read func() error) error {
	err := boltfile.Guard(read)
	if errors.Is(err, boltfile.ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

func (l *logStore) check() error {
	return l.db.View(func(tx *bbolt.Tx) error {
		var last uint64
		return tx.Bucket(bucketLog).ForEach(func(k, v []byte) error {
			var entry raft.Log
			if len(k) != 8 {
				return fmt.Errorf("%w: a key has %d bytes", ErrDamaged, len(k))
			}
			index := binary.BigEndian.Uint64(k)
			if last != 0 && index != last+1 {
				return fmt.Errorf("%w: entry %d follows %d", ErrDamaged, index, last)
			}
			last = index
			return decodeEntry(index, v, &entry)
		})
	})
}

// IsMonotonic says that entries leave no gap.
func (l *logStore) IsMonotonic() bool { return true }

// FirstIndex is raft's.
func (l *logStore) FirstIndex() (uint64, error) {
	return l.end((*bbolt.Cursor).First)
}

// LastIndex is raft's.
func (l *logStore) LastIndex() (uint64, error) {
	return l.end((*bbolt.Cursor).Last)
}

func (l *logStore) end(seek func(*bbolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		if k, _ := seek(tx.Bucket(bucketLog).Cursor()); k != nil {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// GetLog is raft's.
func (l *logStore) GetLog(index uint64, to *raft.Log) error {
	return l.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketLog).Get(indexKey(index))
		if raw == nil {
			return raft.ErrLogNotFound
		}
		return decodeEntry(index, raw, to)
	})
}

// StoreLog is raft's.
func (l *logStore) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs is raft's. When it returns, the entries are on the disk.
func (l *logStore) StoreLogs(entries []*raft.Log) error {
	err := l.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		b.FillPercent = 0.95 // keys only grow
		for _, e := range entries {
			if err := b.Put(indexKey(e.Index), encodeEntry(e)); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketLogFacts).Put(keyCommitted, indexKey(l.applied()))
	})
	if err != nil {
		return fmt.Errorf("write to the replicated log: %w", err)
	}
	return nil
}

// DeleteRange is raft's.
func (l *logStore) DeleteRange(first, last uint64) error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for k, _ := c.Seek(indexKey(first)); k != nil && binary.BigEndian.Uint64(k) <= last; k, _ = c.Seek(indexKey(first)) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// committed is how far the log was surely committed when it was last written.
func (l *logStore) committed() (index uint64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		if raw := tx.Bucket(bucketLogFacts).Get(keyCommitted); len(raw) == 8 {
			index = binary.BigEndian.Uint64(raw)
		}
		return nil
	})
	return index, err
}

// keepCommitted writes how far the log is committed; see StoreLogs.
func (l *logStore) keepCommitted() error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketLogFacts).Put(keyCommitted, indexKey(l.applied()))
	})
}

// lastForMachine returns the index of the last entry up to index that the machine gets, or 0 when the log has none.
func lastForMachine(logs raft.LogStore, index uint64) (uint64, error) {
	for ; index > 0; index-- {
		var entry raft.Log
		err := logs.GetLog(index, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			return index, nil
		}
	}
	return 0, nil
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

func encodeEntry(e *raft.Log) []byte {
	raw := make([]byte, 4, entryHeaderSize+len(e.Extensions)+len(e.Data))
	raw = binary.BigEndian.AppendUint64(raw, e.Term)
	raw = binary.BigEndian.AppendUint64(raw, uint64(e.AppendedAt.UnixNano()))
	raw = append(raw, byte(e.Type))
	raw = binary.BigEndian.AppendUint32(raw, uint32(len(e.Extensions)))
	raw = append(append(raw, e.Extensions...), e.Data...)
	binary.BigEndian.PutUint32(raw, entrySum(e.Index, raw[4:]))
	return raw
}

func decodeEntry(index uint64, raw []byte, to *raft.Log) error {
	if len(raw) < entryHeaderSize {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, errNoTail)
	}
	if binary.BigEndian.Uint32(raw) != entrySum(index, raw[4:]) {
		return fmt.Errorf("%w: entry %d has another checksum", ErrDamaged, index)
	}
	rest := raw[entryHeaderSize:]
	extensions := int(binary.BigEndian.Uint32(raw[21:]))
	if extensions > len(rest) {
		return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, errNoTail)
	}
	*to = raft.Log{
		Index: index, Term: binary.BigEndian.Uint64(raw[4:]), AppendedAt: time.Unix(0, int64(binary.BigEndian.Uint64(raw[12:]))),
		Type: raft.LogType(raw[20]), Data: append([]byte{}, rest[extensions:]...),
	}
	if extensions > 0 {
		to.Extensions = append([]byte{}, rest[:extensions]...)
	}
	return nil
}

func entrySum(index uint64, rest []byte) uint32 {
	return crc32.Update(crc32.Checksum(indexKey(index), castagnoli), castagnoli, rest)
}

// voteStore is what raft must not forget about its votes. It has a file of its own, whose blocks exist from the start: when the
// disk is full, raft can still note that it votes for another coordinator.
type voteStore struct{ db *bbolt.DB }

func openVotes(path string, patience time.Duration) (*voteStore, error) {
	db, err := openRaftFile(path, patience)
	if err == nil {
		if err = reserve(path); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open raft's votes %s: %w", path, err)
	}
	return &voteStore{db}, nil
}

// votesSize is as much as bbolt gives so small a database.
const votesSize = 32 << 10

func reserve(path string) error {
	file, err := os.OpenFile(filepath.Clean(path), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, votesSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // a file system without: then a full disk may end a coordinator that must vote
	}
	return errors.Join(err, file.Close())
}

// Set is raft's.
func (v *voteStore) Set(key, value []byte) error {
	err := v.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketLogFacts).Put(key, value) })
	if err != nil {
		return fmt.Errorf("write raft's votes: %w", err)
	}
	return nil
}

// Get is raft's.
func (v *voteStore) Get(key []byte) (value []byte, err error) {
	err = v.db.View(func(tx *bbolt.Tx) error {
		value = append([]byte{}, tx.Bucket(bucketLogFacts).Get(key)...)
		return nil
	})
	return value, err
}

// SetUint64 is raft's.
func (v *voteStore) SetUint64(key []byte, value uint64) error { return v.Set(key, indexKey(value)) }

// GetUint64 is raft's.
func (v *voteStore) GetUint64(key []byte) (uint64, error) {
	raw, err := v.Get(key)
	if err != nil || len(raw) == 0 {
		return 0, err
	}
	if len(raw) != 8 {
		return 0, fmt.Errorf("%w: raft's %s has %d bytes", ErrDamaged, key, len(raw))
	}
	return binary.BigEndian.Uint64(raw), nil
}

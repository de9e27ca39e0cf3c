package state

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// What lies in raft's folder beside log.db, votes.db and the snapshots: this server's ID, "NAME#INCARNATION". A coordinator that
// lost its folder gets another one, so that raft does not take it for the one that promised to keep entries and votes.
const fileID = "id"

func newID(name string) raft.ServerID {
	return raft.ServerID(name + "#" + strings.ToLower(rand.Text()[:12]))
}

// nameOf is the coordinator's name in a server's ID.
func nameOf(id raft.ServerID) string {
	name, _, _ := strings.Cut(string(id), "#")
	return name
}

// Follow prepares a coordinator that joins others, whose database is to be in path: it has no state of its own and gets theirs.
// It may be repeated.
func Follow(path, name string) error {
	dir := raftDir(path)
	if there, err := exists(filepath.Join(dir, fileID)); there || err != nil {
		return err
	}
	if err := CheckUnused(path); err != nil {
		return fmt.Errorf("join other coordinators: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("join other coordinators: %w", err)
	}
	if err := makeRaftDir(dir, newID(name)); err != nil {
		return fmt.Errorf("join other coordinators: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// CheckUnused refuses a database that holds a state, which a coordinator that joins others would leave behind.
func CheckUnused(path string) error {
	if there, err := exists(path); err != nil || !there {
		return err
	}
	db, err := openDatabase(path, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if key, _ := b.Cursor().First(); key != nil && string(name) != bucketMeta {
				return fmt.Errorf("%s holds a state of this coordinator's own (%q): join with an empty state_dir", path, name)
			}
			return nil
		})
	})
	return errors.Join(err, db.Close())
}

func makeRaftDir(dir string, id raft.ServerID) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, fileID+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(string(id))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), filepath.Join(dir, fileID)); err != nil {
		return err
	}
	return syncDir(dir)
}

func readID(dir, name string) (raft.ServerID, error) {
	raw, err := os.ReadFile(filepath.Join(dir, fileID))
	if err != nil {
		return "", fmt.Errorf("read this coordinator's raft ID: %w", err)
	}
	id := raft.ServerID(raw)
	if nameOf(id) != name {
		return "", fmt.Errorf("the state in %s is of the coordinator %q, and this one is %q: use its own state_dir and name", dir, nameOf(id), name)
	}
	return id, nil
}

// found makes raft's folder of a coordinator that was alone: what is in the database is the first snapshot, and the coordinator
// the first member. It takes effect with the rename; before it the database counts, after it the folder.
func found(cfg Config, db *bbolt.DB) error {
	dir := raftDir(cfg.Path)
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil { // of an attempt that was killed
		return err
	}
	id := newID(cfg.Name)
	if err := makeRaftDir(fresh, id); err != nil {
		return err
	}
	if err := db.Update(newFounding); err != nil {
		return err
	}
	if err := firstSnapshot(cfg, db, fresh, id); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// A founding is random and part of the state. Logs of two foundings must never meet: their entries are numbered alike.
const (
	bucketOwn     = ownPrefix + "raft"
	keyFounding   = "founding"
	foundingBytes = 16
)

func newFounding(tx *bbolt.Tx) error {
	id := make([]byte, foundingBytes)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	return store(tx, bucketOwn, keyFounding, id)
}

// foundingOf is of the state in the database; zeroes when it has none yet.
func foundingOf(db *bbolt.DB) []byte {
	id := make([]byte, foundingBytes)
	_ = db.View(func(tx *bbolt.Tx) error { // closed: nobody asks any more
		copy(id, lookup(tx, bucketOwn, keyFounding))
		return nil
	})
	return id
}

// sameFounding tells whether two states may meet.
func sameFounding(a, b []byte) bool {
	none := make([]byte, foundingBytes)
	return bytes.Equal(a, b) || bytes.Equal(a, none) || bytes.Equal(b, none)
}

func firstSnapshot(cfg Config, db *bbolt.DB, dir string, id raft.ServerID) error {
	const index, term = 1, 1
	files, err := openRaftFiles(dir, time.Second, cfg.Log, func() uint64 { return index })
	if err != nil {
		return err
	}
	members := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: id, Address: raft.ServerAddress(cfg.Address)}}}
	_, carrier := raft.NewInmemTransport(raft.ServerAddress(cfg.Address)) // says how addresses are written
	err = files.votes.SetUint64([]byte("CurrentTerm"), term)
	if err == nil {
		var sink raft.SnapshotSink
		if sink, err = files.snapshots.Create(1, index, term, members, index, carrier); err == nil {
			m := newMachine(db, cfg.Log, func() {})
			m.applied = index
			var snap raft.FSMSnapshot
			if snap, err = m.Snapshot(); err == nil {
				err = snap.Persist(sink)
				snap.Release()
			}
		}
	}
	return errors.Join(err, carrier.Close(), files.close())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	easelv1 "easel/pkg/api/easel/v1"
)

// machine is what raft's committed entries are carried out on: the database, and the outcomes of the latest commits. All of it
// follows from the log alone, so it is equal on every coordinator.
//
// The database is written without a wait for the disk, because log and snapshots are durable: it is made anew from them at every
// start (see replay), and is never trusted after the process that wrote it has ended.
type machine struct {
	db     *bbolt.DB
	log    *slog.Logger
	notify func()
	moved  *signal       // when applied has grown
	closed chan struct{} // ends the retries of a write that fails

	mu       sync.Mutex
	applied  uint64 // index of the last entry carried out
	outcomes *outcomes
	failing  error // why the database cannot be written now
}

func newMachine(db *bbolt.DB, log *slog.Logger, notify func()) *machine {
	return &machine{db: db, log: log, notify: notify, moved: newSignal(), closed: make(chan struct{}), outcomes: newOutcomes()}
}

// retryWrite is how long the machine waits before it writes again what could not be written.
const retryWrite = 200 * time.Millisecond

var errStopped = errors.New("the coordinator stopped before the change was carried out here")

// ApplyBatch carries entries out, in one transaction of the database. Its results are outcomes or errors.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	for {
		err := m.apply(logs, results)
		if err == nil {
			return results
		}
		// Entries cannot be skipped: the others carry them out. A full disk may get room again.
		m.fail(err)
		select {
		case <-time.After(retryWrite):
		case <-m.closed:
			for i := range results {
				results[i] = errStopped
			}
			return results
		}
	}
}

// Apply is ApplyBatch for one entry.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

func (m *machine) apply(logs []*raft.Log, results []any) error {
	last := logs[len(logs)-1].Index
	begun := m.index()
	if last <= begun {
		return nil // replayed at the start
	}
	fresh := newOutcomes()
	err := m.db.Update(func(tx *bbolt.Tx) error {
		for i, l := range logs {
			if l.Type != raft.LogCommand || l.Index <= begun {
				continue
			}
			out, err := m.carryOut(tx, l, fresh)
			if err != nil {
				return err
			}
			results[i] = out
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.outcomes.join(fresh)
	m.applied, m.failing = last, nil
	m.mu.Unlock()
	m.moved.send()
	m.notify()
	return nil
}

// carryOut returns the outcome of an entry, or an error when the database failed. It depends on nothing but the entries so far.
func (m *machine) carryOut(tx *bbolt.Tx, l *raft.Log, fresh *outcomes) (any, error) {
	var c easelv1.StateCommit
	if err := proto.Unmarshal(l.Data, &c); err != nil {
		return fmt.Errorf("%w: entry %d cannot be read: %w", ErrInvalid, l.Index, err), nil
	}
	if err := checkCommit(&c); err != nil {
		return err, nil
	}
	id := commitID(c.GetId())
	if out, ok := m.outcome(id); ok {
		return out, nil
	}
	if out, ok := fresh.of(id); ok {
		return out, nil
	}
	out := outcome{id: id, index: l.Index, conflict: !holds(tx, &c)}
	fresh.add(out)
	if out.conflict {
		return out, nil
	}
	return out, writeCommit(tx, &c, l.Index)
}

func writeCommit(tx *bbolt.Tx, c *easelv1.StateCommit, index uint64) error {
	touched := map[string]bool{}
	for _, w := range c.GetWrites() {
		touched[string(w.GetBucket())] = true
		if err := carryOut(tx, string(w.GetBucket()), string(w.GetKey()), written{value: w.GetValue(), gone: w.GetDelete()}); err != nil {
			return err
		}
	}
	for bucket := range touched {
		if err := store(tx, bucketRevisions, bucket, binary.BigEndian.AppendUint64(nil, index)); err != nil {
			return err
		}
	}
	return nil
}

// checkCommit refuses what the database would.
func checkCommit(c *easelv1.StateCommit) error {
	if len(c.GetId()) != len(commitID{}) {
		return fmt.Errorf("%w: the ID has %d bytes", ErrInvalid, len(c.GetId()))
	}
	size := 0
	for _, w := range c.GetWrites() {
		if err := checkWrite(string(w.GetBucket()), string(w.GetKey())); err != nil {
			return err
		}
		size += len(w.GetKey()) + len(w.GetValue())
	}
	if size > maxChange {
		return fmt.Errorf("%w: it has %d bytes, at most %d are taken at once", ErrInvalid, size, maxChange)
	}
	return nil
}

func (m *machine) fail(err error) {
	m.mu.Lock()
	first := m.failing == nil
	m.failing = err
	m.mu.Unlock()
	if first {
		m.log.Error("the coordinator's database cannot be written; this is tried again until it works", "error", err)
	}
}

// health is nil, or why the database cannot be written.
func (m *machine) health() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failing
}

func (m *machine) index() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

func (m *machine) outcome(id commitID) (outcome, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outcomes.of(id)
}

// wait returns once the entries up to index are carried out here.
func (m *machine) wait(ctx context.Context, index uint64) error {
	for {
		moved := m.moved.wait()
		if m.index() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-m.closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Snapshot holds the state as it is now.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	tx, err := m.db.Begin(false)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &snapshot{tx: tx, head: &easelv1.StateDump{Format: dumpFormat, Applied: m.applied, Outcomes: m.outcomes.list()}}, nil
}

// Restore replaces the state by a snapshot's.
func (m *machine) Restore(from io.ReadCloser) error {
	head, err := load(m.db, from)
	if err != nil {
		return fmt.Errorf("load a snapshot of the state: %w", err)
	}
	m.mu.Lock()
	m.outcomes = newOutcomes()
	for _, o := range head.GetOutcomes() {
		m.outcomes.add(outcome{id: commitID(o.GetId()), index: o.GetIndex(), conflict: o.GetConflict()})
	}
	m.applied = head.GetApplied()
	m.mu.Unlock()
	m.moved.send()
	m.notify()
	return nil
}

// snapshot is a view of the database that raft writes to a file while entries go on being carried out.
type snapshot struct {
	tx   *bbolt.Tx
	head *easelv1.StateDump
}

func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := dump(s.tx, s.head, sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (s *snapshot) Release() { _ = s.tx.Rollback() } // a view has nothing to lose

package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"golang.org/x/time/rate"
)

// timing is what tests shorten.
type timing struct {
	heartbeat, lease  time.Duration // without a word for so long: an election; the leader's end
	patience          time.Duration // how long a change waits for the coordinators to agree
	attend            time.Duration // how often one that is not settled says that it is there
	snapshotEvery     time.Duration
	snapshotThreshold uint64 // entries
	trailing          uint64 // entries kept for a follower that lags
}

var usualTiming = timing{
	heartbeat: time.Second, lease: 500 * time.Millisecond, patience: 10 * time.Second, attend: time.Second,
	snapshotEvery: 30 * time.Second, snapshotThreshold: 4096, trailing: 8192,
}

// replica is the state of a coordinator that is one of several. A change runs where it is asked for, on the state as it is there;
// what it read and would write goes through raft's log, and is carried out everywhere, in the log's order, if what it read is
// still so. Otherwise it runs again.
type replica struct {
	cfg     Config
	log     *slog.Logger
	raft    *raft.Raft
	machine *machine
	logs    raft.LogStore // with a cache of the latest
	files   *raftFiles
	stream  *stream
	carrier *carrier
	id      raft.ServerID
	notify  func()

	leaderMoved *signal       // when another leads, or none
	leadTerm    atomic.Uint64 // the last term in which this one led and knew all of before
	barriers    flights
	bounds      *rate.Limiter // of barriers
	asks        atomic.Uint64 // barriers that the leader was asked for
	membership  sync.Mutex    // held to change who belongs
	attended    attendance

	ctx   context.Context // ends when the replica closes
	stop  context.CancelFunc
	loops sync.WaitGroup

	closing sync.RWMutex
	closed  bool
	asked   sync.WaitGroup // what raft was asked to do
}

// raftFiles is what a replica keeps in its folder.
type raftFiles struct {
	logs      *logStore
	votes     *voteStore
	snapshots raft.SnapshotStore
}

func openRaftFiles(dir string, patience time.Duration, log *slog.Logger, applied func() uint64) (*raftFiles, error) {
	logs, err := openLog(filepath.Join(dir, "log.db"), patience, applied)
	if err != nil {
		return nil, err
	}
	votes, err := openVotes(filepath.Join(dir, "votes.db"), patience)
	if err != nil {
		return nil, errors.Join(err, logs.db.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, raftLogger(log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the snapshots of the state: %w", err), votes.db.Close(), logs.db.Close())
	}
	return &raftFiles{logs: logs, votes: votes, snapshots: snapshots}, nil
}

func (f *raftFiles) close() error { return errors.Join(f.logs.db.Close(), f.votes.db.Close()) }

// openReplica takes up what the folder beside cfg.Path holds. database opens, or makes, the database, which stays the caller's to
// close; it is called once the folder is this process's own.
func openReplica(cfg Config, notify func(), database func() (*bbolt.DB, error)) (r *replica, err error) {
	r = &replica{cfg: cfg, log: cfg.Log, notify: notify, leaderMoved: newSignal(), bounds: rate.NewLimiter(barriersPerSecond, barriersAtOnce)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if r.id, err = readID(raftDir(cfg.Path), cfg.Name); err != nil {
		return nil, err
	}
	applied := func() uint64 { return r.machine.index() }
	if r.files, err = openRaftFiles(raftDir(cfg.Path), cfg.Patience, cfg.Log, applied); err != nil {
		return nil, r.advise(err)
	}
	db, err := database()
	if err != nil {
		return nil, errors.Join(err, r.files.close())
	}
	r.machine = newMachine(db, cfg.Log, notify)
	if err := replay(r.machine, r.files); err != nil {
		return nil, errors.Join(r.advise(err), r.files.close())
	}
	if err := r.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), r.files.close())
	}
	return r, nil
}

// advise says what helps when the folder is damaged.
func (r *replica) advise(err error) error {
	if !errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w; the other coordinators have the state: remove this one there (coordinator member remove), empty %s and join again",
		err, filepath.Dir(r.cfg.Path))
}

// replay makes the database anew from the latest snapshot and the entries that were surely committed. What was committed besides,
// raft hands over when a leader says so.
func replay(m *machine, f *raftFiles) error {
	last, err := f.logs.LastIndex()
	if err != nil {
		return err
	}
	committed, err := f.logs.committed()
	if err != nil {
		return err
	}
	return replayTo(m, f, min(committed, last))
}

func replayTo(m *machine, f *raftFiles, to uint64) error {
	taken, err := f.snapshots.List()
	if err != nil {
		return fmt.Errorf("list the snapshots of the state: %w", err)
	}
	begun := uint64(0)
	if len(taken) > 0 {
		_, from, err := f.snapshots.Open(taken[0].ID)
		if err != nil {
			return fmt.Errorf("%w: its latest snapshot: %w", ErrDamaged, err)
		}
		if err := errors.Join(m.Restore(from), from.Close()); err != nil {
			return err
		}
		begun = taken[0].Index
	}
	return carryOutAll(m, f.logs, begun+1, to)
}

func carryOutAll(m *machine, logs raft.LogStore, from, to uint64) error {
	const together = 256
	var batch []*raft.Log
	for index := from; index <= to; index++ {
		entry := new(raft.Log)
		if err := logs.GetLog(index, entry); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrDamaged, index, err)
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			batch = append(batch, entry)
		}
		if len(batch) == together || (index == to && len(batch) > 0) {
			if err := m.apply(batch, make([]any, len(batch))); err != nil {
				return fmt.Errorf("carry out the replicated log: %w", err)
			}
			batch = nil
		}
	}
	return nil
}

func (r *replica) start() error {
	logger := raftLogger(r.log)
	r.stream = newStream(r.cfg, func() []byte { return foundingOf(r.machine.db) })
	r.carrier = newCarrier(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: r.stream, MaxPool: 3, Timeout: 3 * time.Second, Logger: logger, // one that is back after a cut is heard again so soon
	}))
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = r.id, logger
	t := r.cfg.timing
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = t.heartbeat, t.heartbeat, t.lease
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = t.snapshotEvery, t.snapshotThreshold, t.trailing
	conf.NoSnapshotRestoreOnStart, conf.NoLegacyTelemetry = true, true // see replay
	cached, err := raft.NewLogCache(512, r.files.logs)
	if err != nil {
		return errors.Join(err, r.carrier.Close())
	}
	r.logs = cached
	r.raft, err = raft.NewRaft(conf, r.machine, r.logs, r.files.votes, r.files.snapshots, r.carrier)
	if err != nil {
		return errors.Join(err, r.carrier.Close())
	}
	go r.carrier.run(r.stream.ctx, r.mayVote) // until raft has ended: see close
	r.loops.Go(r.followLeader)
	r.loops.Go(r.attend)
	return nil
}

// followLeader notes who leads, until the replica closes.
func (r *replica) followLeader() {
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	r.raft.RegisterObserver(observer)
	defer r.raft.DeregisterObserver(observer)
	look := time.NewTicker(r.cfg.timing.heartbeat) // an observation may be lost
	defer look.Stop()
	for {
		select {
		case <-seen:
		case <-look.C:
		case <-r.ctx.Done():
			return
		}
		r.takeLead()
		r.leaderMoved.send()
	}
}

// takeLead has a new leader carry out everything of the terms before, so that what it tells is complete.
func (r *replica) takeLead() {
	term := r.raft.CurrentTerm()
	if r.raft.State() != raft.Leader || r.leadTerm.Load() == term {
		return
	}
	err := r.await(r.ctx, func() raft.Future { return r.raft.Barrier(r.cfg.timing.patience) })
	if err != nil || r.raft.CurrentTerm() != term {
		return // it leads no more, or again
	}
	r.leadTerm.Store(term)
	r.log.Info("this coordinator leads", "term", term)
	r.notify()
}

// leads tells whether this one leads, and knows everything that was committed before it did.
func (r *replica) leads() bool {
	return r.raft.State() == raft.Leader && r.leadTerm.Load() == r.raft.CurrentTerm()
}

// spawn runs f in a goroutine that close waits for, while raft still answers.
func (r *replica) spawn(f func()) error {
	r.closing.RLock()
	defer r.closing.RUnlock()
	if r.closed {
		return errClosed
	}
	r.asked.Go(f)
	return nil
}

// await asks raft for something and waits for its end, or ctx's.
func (r *replica) await(ctx context.Context, ask func() raft.Future) error {
	done := make(chan error, 1)
	if err := r.spawn(func() { done <- ask().Error() }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *replica) handOver() {
	if r.raft.State() != raft.Leader || r.voters() < 2 {
		return
	}
	if err := r.raft.LeadershipTransfer().Error(); err != nil {
		r.log.Warn("could not hand the lead to another coordinator; they will elect one", "error", err)
	}
}

// close hands the lead over, so that the others need no election, and ends. What raft was asked before comes to its end, which
// raft itself would forget.
func (r *replica) close() error {
	r.closing.Lock()
	r.closed = true
	r.closing.Unlock()
	r.stop()
	r.handOver()
	close(r.machine.closed)
	r.loops.Wait()
	r.asked.Wait()
	err := errors.Join(r.raft.Shutdown().Error(), r.carrier.Close())
	r.carrier.CloseStreams()
	<-r.carrier.ended
	r.cfg.Network.Client().CloseIdleConnections()
	return errors.Join(err, r.files.logs.keepCommitted(), r.files.close())
}

package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
)

// Network is how coordinators reach each other: encrypted, and known to be coordinators of this cluster on both sides.
type Network interface {
	// Dial opens a connection for raft (Protocol) to the coordinator at addr.
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// Client speaks HTTP with any coordinator.
	Client() *http.Client
	// Peer is the name of the coordinator that made the request of this context, or "".
	Peer(ctx context.Context) string
}

// Config is a coordinator that may be one of several.
type Config struct {
	Path     string        // of the database
	Patience time.Duration // how long to wait for another process to let go of it
	Name     string        // of this coordinator in the cluster
	Address  string        // host:port at which the others reach its cluster address
	Network  Network
	Seeds    func() []string // host:port of coordinators to ask who leads
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: no metrics
	// Heartbeat is how long the others wait for a word of the leader before they elect another; 0 means one second.
	Heartbeat time.Duration

	timing timing
}

// Start opens the state of a coordinator: of its own while it is alone, with the others once it is one of several. The caller
// serves Handler and hands raft's connections to ServeRaft.
func Start(cfg Config) (*Store, error) {
	if cfg.timing == (timing{}) {
		cfg.timing = usualTiming
		if h := cfg.Heartbeat; h > 0 {
			cfg.timing.heartbeat, cfg.timing.lease, cfg.timing.attend = h, h/2, h
		}
	}
	s, err := open(cfg)
	if err != nil {
		return nil, err
	}
	s.cfg = cfg
	if cfg.Registry != nil {
		s.register(cfg.Registry)
	}
	return s, nil
}

func open(cfg Config) (*Store, error) {
	replicated, err := exists(raftDir(cfg.Path))
	if err != nil {
		return nil, err
	}
	if !replicated {
		return Open(cfg.Path, cfg.Patience)
	}
	s := newStore()
	fresh := cfg.Path + ".new"
	r, err := openReplica(cfg, s.changed.send, func() (db *bbolt.DB, err error) {
		if err = os.RemoveAll(fresh); err == nil {
			s.db, err = openDatabase(fresh, &bbolt.Options{Timeout: cfg.Patience, NoSync: true})
		}
		return s.db, err
	})
	if err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, err
	}
	s.alone = newAlone(s.db, s.changed.send)
	s.alone.end(errGrown)
	s.replica.Store(r)
	// The one of before is kept until here, should the folder be damaged.
	if err := os.Rename(fresh, cfg.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("replace the coordinator's database: %w", err), s.Close())
	}
	return s, nil
}

// grow makes a coordinator that is alone the first of several. No change is lost or made twice: what is under way ends before, what
// waits goes through raft.
func (s *Store) grow() error {
	s.growing.Lock()
	defer s.growing.Unlock()
	if s.replica.Load() != nil {
		return nil
	}
	s.alone.turn <- struct{}{}
	defer func() { <-s.alone.turn }()
	if err := found(s.cfg, s.db); err != nil {
		return fmt.Errorf("become the first of several coordinators: %w", err)
	}
	s.db.NoSync = true // the folder counts now
	r, err := openReplica(s.cfg, s.changed.send, func() (*bbolt.DB, error) { return s.db, nil })
	if err != nil {
		err = fmt.Errorf("go on as the first of several coordinators: %w; restart this coordinator", err)
		s.alone.endInTurn(err)
		return err
	}
	s.replica.Store(r)
	s.alone.endInTurn(errGrown)
	s.cfg.Log.Info("this coordinator is the first of several")
	return nil
}

// Resign hands the lead to another coordinator, if there is one: the first thing that one does that is to end.
func (s *Store) Resign() {
	if r := s.replica.Load(); r != nil {
		r.handOver()
	}
}

// EndStreams ends the connections that raft was given and takes no more, so that their server can end. The state here stands still
// from then on.
func (s *Store) EndStreams() {
	if r := s.replica.Load(); r != nil {
		r.stream.endHanded()
	}
}

// ServeRaft takes a connection that another coordinator opened for raft, and returns when it is closed.
func (s *Store) ServeRaft(conn net.Conn) {
	if r := s.replica.Load(); r != nil {
		r.stream.serve(conn)
		return
	}
	_ = conn.Close() // nobody should want to; its end says enough
}

package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/bbolt"
)

var (
	// errGrown means that the coordinator is not alone any more.
	errGrown   = errors.New("the coordinator is one of several now")
	errClosed  = errors.New("the coordinator's database is closed")
	errNothing = errors.New("nothing to write")
)

// maxTogether bounds how many changes share one write to the disk.
const maxTogether = 128

// alone writes to the database of a coordinator that is alone. Changes that come while the disk is busy go to it together.
type alone struct {
	db     *bbolt.DB
	notify func()
	turn   chan struct{} // holds one token while somebody writes

	mu    sync.Mutex
	queue []*update
	ended error // why no more are taken
}

type update struct {
	change   func(Tx) error
	done     chan struct{}
	err      error
	panicked any
}

func newAlone(db *bbolt.DB, notify func()) *alone {
	return &alone{db: db, notify: notify, turn: make(chan struct{}, 1)}
}

func (a *alone) update(ctx context.Context, change func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u := &update{change: change, done: make(chan struct{})}
	a.mu.Lock()
	if a.ended != nil {
		defer a.mu.Unlock()
		return a.ended
	}
	a.queue = append(a.queue, u)
	a.mu.Unlock()
	select {
	case a.turn <- struct{}{}:
		for !u.isDone() {
			a.writeNext()
		}
		<-a.turn
	case <-u.done:
	case <-ctx.Done():
		if a.withdraw(u) {
			return ctx.Err()
		}
	}
	<-u.done // bounded by the disk
	if u.panicked != nil {
		panic(u.panicked)
	}
	return u.err
}

// withdraw tells whether u was still waiting; then it will not be carried out.
func (a *alone) withdraw(u *update) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := len(a.queue)
	a.queue = slices.DeleteFunc(a.queue, func(q *update) bool { return q == u })
	return len(a.queue) < before
}

// writeNext carries out what waits, of whomever. Who calls it has the turn.
func (a *alone) writeNext() {
	a.mu.Lock()
	n := min(len(a.queue), maxTogether)
	batch := a.queue[:n:n]
	a.queue = a.queue[n:]
	a.mu.Unlock()
	if n > 0 {
		a.write(batch)
	}
}

func (a *alone) write(batch []*update) {
	wrote := false
	err := a.db.Update(func(tx *bbolt.Tx) error {
		for _, u := range batch {
			t := newAttempt(tx, false)
			if u.err = u.run(t); u.err != nil || u.panicked != nil || len(t.writes) == 0 {
				continue
			}
			wrote = true
			if err := t.flush(tx); err != nil {
				return err
			}
		}
		if !wrote {
			return errNothing // a commit would write to the disk
		}
		return nil
	})
	for _, u := range batch {
		if err != nil && !errors.Is(err, errNothing) && u.err == nil {
			u.err = fmt.Errorf("write to the coordinator's database: %w", err)
		}
		close(u.done)
	}
	if err == nil {
		a.notify()
	}
}

func (u *update) isDone() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// run keeps a panic for the goroutine whose change it is.
func (u *update) run(t *attempt) error {
	defer func() { u.panicked = recover() }()
	return errors.Join(u.change(t), t.err)
}

// end waits for the write under way, then has everything else fail with err.
func (a *alone) end(err error) {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	a.endInTurn(err)
}

// endInTurn is end for who has the turn.
func (a *alone) endInTurn(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = err
	for _, u := range a.queue {
		u.err = err
		close(u.done)
	}
	a.queue = nil
}

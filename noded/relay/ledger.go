package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ledger knows every allocation that is open, by session.
type ledger struct {
	relay  *Relay
	bucket *bucket // of the whole relay

	mu       sync.Mutex
	ctx      context.Context // the watchers'; nil before Run and after its end
	accounts map[string]*account
	total    int
	none     *sync.Cond // told when an allocation goes
}

// account is what one session has of the relay: its allocations and its share of the bandwidth. It lasts
// from the first allocation's opening to the last one's end.
type account struct {
	session string
	bucket  *bucket
	cancel  context.CancelFunc
	open    map[*allocation]struct{} // guarded by the ledger
}

var (
	errQuota  = errors.New("the session, or the relay, has all the allocations that it may")
	errEnding = errors.New("the relay ends")
)

func newLedger(r *Relay) *ledger {
	l := &ledger{relay: r, bucket: newBucket(r.Bandwidth, time.Now()), accounts: map[string]*account{}}
	l.none = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ctx = ctx
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// configure changes the quotas. Allocations that are open stay, though they be more than may be now.
func (l *ledger) configure(q Quotas) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.relay.Quotas = q
	l.bucket.setRate(q.Bandwidth)
	for _, a := range l.accounts {
		a.bucket.setRate(q.SessionBandwidth)
	}
}

// room tells whether a session may open one more allocation.
func (l *ledger) room(session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.roomLocked(session)
}

func (l *ledger) roomLocked(session string) bool {
	a := l.accounts[session]
	return l.total < l.relay.Allocations && (a == nil || len(a.open) < l.relay.SessionAllocations || idlest(a) != nil)
}

// abandoned is how long nothing has crossed an allocation that may be taken from its client: ICE checks a way
// that is in use every few seconds.
const abandoned = 30 * time.Second

// idlest is the allocation of a session that makes room for another, nil when there is none or no need.
func (l *ledger) idlest(session string) *allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own := l.accounts[session]; own != nil && len(own.open) >= l.relay.SessionAllocations {
		return idlest(own)
	}
	return nil
}

func idlest(own *account) (found *allocation) {
	least := time.Now().Add(-abandoned).UnixNano()
	for a := range own.open {
		if used := a.used.Load(); used < least {
			least, found = used, a
		}
	}
	return found
}

// enter puts an allocation into its session's account, and has the session watched from its first. A page
// that was closed does not always give its allocations back; where the session has all that it may, one that
// nothing crosses any more makes room.
func (l *ledger) enter(a *allocation) error {
	if idle := l.idlest(a.session); idle != nil {
		_ = idle.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		return errEnding
	}
	if !l.roomLocked(a.session) {
		return errQuota
	}
	own := l.accounts[a.session]
	if own == nil {
		ctx, cancel := context.WithCancel(l.ctx)
		own = &account{session: a.session, bucket: newBucket(l.relay.SessionBandwidth, time.Now()), cancel: cancel, open: map[*allocation]struct{}{}}
		l.accounts[a.session] = own
		l.relay.all.Go(func() { l.watch(ctx, own) })
	}
	a.account = own
	own.open[a] = struct{}{}
	l.total++
	return nil
}

// leave takes it out.
func (l *ledger) leave(a *allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(a.account.open, a)
	l.total--
	if len(a.account.open) == 0 {
		a.account.cancel()
		if l.accounts[a.session] == a.account {
			delete(l.accounts, a.session)
		}
	}
	l.none.Broadcast()
}

// watch closes a session's allocations when the session ends.
func (l *ledger) watch(ctx context.Context, own *account) {
	defer own.cancel()
	state, err := l.relay.living(ctx, own.session)
	for err == nil && ctx.Err() == nil {
		s, e := l.relay.Sessions.Await(ctx, own.session, state)
		if err = e; err == nil && s.State.Ended() {
			err = errSessionOver
		}
		state = s.State
	}
	if ctx.Err() != nil {
		return // they are closed, or the relay's end closes them
	}
	l.relay.Log.Info("a session's way through the relay is closed", "session", own.session, "reason", err)
	l.closeAll(func(a *account) bool { return a == own })
}

// end closes every allocation and waits until they are gone; no further one is opened.
func (l *ledger) end() {
	l.mu.Lock()
	l.ctx = nil
	l.mu.Unlock()
	l.closeAll(func(*account) bool { return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.total > 0 { // each is closed: its Close only has to come here
		l.none.Wait()
	}
}

func (l *ledger) closeAll(which func(*account) bool) {
	var doomed []*allocation
	l.mu.Lock()
	for _, own := range l.accounts {
		if which(own) {
			for a := range own.open {
				doomed = append(doomed, a)
			}
		}
	}
	l.mu.Unlock()
	for _, a := range doomed {
		a.server.carrier.hangUp()
		_ = a.Close()
	}
}

// take gives as many bytes as an allocation may relay now.
func (l *ledger) take(a *allocation, bytes int) int {
	now := time.Now()
	a.used.Store(now.UnixNano())
	return l.bucket.take(a.account.bucket.take(bytes, now), now)
}

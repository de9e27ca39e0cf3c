package stream

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

const (
	// companyRate bounds how often people are told who is there.
	companyRate = 50 * time.Millisecond
	// maxWishes is how many wishes for the hand may wait.
	maxWishes = 16
	// maxRevoked is how many links are remembered to be gone: noded lets nobody in by them either.
	maxRevoked = 256
)

// person is somebody who is there, as the others are told.
type person struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
	Path string `json:"path"`
}

// peopleMessage tells a viewer who is there, who of them it is itself, and who has the hand.
type peopleMessage struct {
	T      string   `json:"t"`
	You    string   `json:"you"`
	Hand   string   `json:"hand"`
	People []person `json:"people"`
}

// wish is that the hand goes to somebody.
type wish struct {
	by contract.Viewer
	to string
}

// company is who watches, on whatever screen, and who of them has the hand: what others do with pointer and keys is dropped. The owner has it
// until they give it away, takes it back at any moment, and has it again when who has it leaves. It is safe for several goroutines.
type company struct {
	peers  func() []*peer
	board  *board
	log    *slog.Logger
	wishes chan wish
	wake   chan struct{}

	mu      sync.Mutex
	holder  string // "" while the hand goes over
	people  []person
	revoked []string // links that are gone, the oldest first
}

func newCompany(peers func() []*peer, b *board, log *slog.Logger) *company {
	return &company{peers: peers, board: b, log: log, wishes: make(chan wish, maxWishes), wake: make(chan struct{}, 1), holder: contract.OwnerID}
}

// has tells whether somebody has the hand.
func (c *company) has(who contract.Viewer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holder == who.ID && who.Role != contract.RoleView
}

// ask takes up that somebody wants the hand to go to somebody, or says why it does not.
func (c *company) ask(by contract.Viewer, to string) error {
	if by.Guest() && (to != contract.OwnerID || !c.has(by)) {
		return errors.New("the hand is the owner's to give")
	}
	select {
	case c.wishes <- wish{by, to}:
		return nil
	default:
		return errors.New("the hand was asked for too often")
	}
}

// run follows who comes and goes, until ctx ends.
func (c *company) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-c.wishes:
			c.grant(ctx, w)
		case <-c.wake:
		}
		c.look(ctx)
		c.tell()
		if !pause(ctx, companyRate) {
			return
		}
	}
}

// grant gives the hand to who may have it.
func (c *company) grant(ctx context.Context, w wish) {
	if by := w.by; by.Guest() && !c.has(by) {
		return // it has gone on meanwhile
	}
	if w.to == contract.OwnerID {
		c.handOver(ctx, contract.Owner, w.by.ID)
		return
	}
	for _, p := range c.peers() {
		if p.who.ID == w.to && p.who.Role == contract.RoleTakePart && p.connected.Load() {
			c.handOver(ctx, p.who, w.by.ID)
			return
		}
	}
	c.log.Info("the hand was to go to nobody who may have it", "to", w.to)
}

// look gives the hand back to the owner when who has it is gone.
func (c *company) look(ctx context.Context) {
	c.mu.Lock()
	holder := c.holder
	c.mu.Unlock()
	if holder == contract.OwnerID || slices.ContainsFunc(c.peers(), func(p *peer) bool { return p.who.ID == holder }) {
		return
	}
	c.handOver(ctx, contract.Owner, "who had it left")
}

// handOver moves the hand: first everything that was held down is let go, then the next one's input counts.
func (c *company) handOver(ctx context.Context, to contract.Viewer, by string) {
	c.mu.Lock()
	from := c.holder
	if from == to.ID {
		c.mu.Unlock()
		return
	}
	c.holder = ""
	c.mu.Unlock()
	c.settle(ctx, from)
	c.mu.Lock()
	c.holder = to.ID
	c.mu.Unlock()
	c.settle(ctx, to.ID)
	c.log.Info("the hand goes over", "to", to.ID, "name", to.Name, "from", from, "by", by)
	c.board.update(func(h *contract.Health) {
		if h.Hand = to.ID; !to.Guest() {
			h.Hand = ""
		}
	})
}

// settle has the hands of somebody's windows look at whether they may do anything, and waits until those that may not hold nothing down.
func (c *company) settle(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	for _, p := range c.peers() {
		if p.who.ID == id {
			p.hand.Settle(ctx, p.handDone)
			p.worker.clipboard.Look(ctx, p.clip)
		}
	}
}

// tell tells everybody who is there when that is news.
func (c *company) tell() {
	var people []person
	for _, p := range c.peers() {
		known := slices.ContainsFunc(people, func(one person) bool { return one.ID == p.who.ID })
		if p.connected.Load() && !known {
			people = append(people, person{p.who.ID, p.who.Name, p.who.Role, p.path()})
		}
	}
	c.mu.Lock()
	c.people = people
	c.mu.Unlock()
	for _, p := range c.peers() {
		c.greet(p)
	}
}

// greet tells one viewer who is there, unless it knows.
func (c *company) greet(p *peer) {
	c.mu.Lock()
	m := peopleMessage{T: "people", You: p.who.ID, Hand: c.holder, People: c.people}
	c.mu.Unlock()
	if p.openControl() == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Hand == p.company.Hand && slices.Equal(m.People, p.company.People) {
		return
	}
	p.company = m
	p.sendControl(m)
}

// revoke ends every guest who came by one of the links, and lets nobody in by them any more.
func (c *company) revoke(shares []string) {
	c.mu.Lock()
	for _, s := range shares {
		if !slices.Contains(c.revoked, s) {
			c.revoked = append(c.revoked, s)
		}
	}
	c.revoked = c.revoked[max(0, len(c.revoked)-maxRevoked):]
	c.mu.Unlock()
	for _, p := range c.peers() {
		c.admit(p)
	}
}

// admit ends a peer whose link is gone. It is asked once the peer is among the others, so that none slips in while its link goes.
func (c *company) admit(p *peer) bool {
	c.mu.Lock()
	gone := p.who.Guest() && slices.Contains(c.revoked, p.who.Share())
	c.mu.Unlock()
	if gone {
		p.end(byeMessage{T: "bye", Reason: "the session is no longer shared by this link"})
	}
	return !gone
}

package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/raft"

	easelv1 "easel/pkg/api/easel/v1"
	"easel/pkg/api/easel/v1/easelv1connect"
)

// What a coordinator is among several.
const (
	Leads  = "leader"
	Votes  = "voter"
	Copies = "copy" // has the state, but no vote, because an even number of votes survives no more than the odd one below
	Alone  = "alone"
)

// Member is one coordinator.
type Member struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Standing string `json:"standing"`
}

// Members returns the coordinators that share the state, as this one knows them; of one that is alone, itself.
func (s *Store) Members() []Member {
	r := s.replica.Load()
	if r == nil {
		return []Member{{Name: s.cfg.Name, Address: s.cfg.Address, Standing: Alone}}
	}
	_, leader := r.raft.LeaderWithID()
	var all []Member
	for _, server := range r.servers() {
		m := Member{Name: nameOf(server.ID), Address: string(server.Address), Standing: Votes}
		switch {
		case server.ID == leader:
			m.Standing = Leads
		case server.Suffrage != raft.Voter:
			m.Standing = Copies
		}
		all = append(all, m)
	}
	return all
}

// Ready is nil when changes can be made through this coordinator; else it says what keeps them.
func (s *Store) Ready() error {
	r := s.replica.Load()
	if r == nil {
		return nil
	}
	_, leader := r.raft.LeaderWithID()
	if leader == "" || !r.mayVote() || r.machine.health() != nil {
		return r.unavailable(errors.New("the leader has not counted it in yet"))
	}
	return nil
}

// Remove takes a coordinator out of those that share the state, for good; it has no way back but to join with an empty folder.
// One that is not there is no error.
func (s *Store) Remove(ctx context.Context, name string) error {
	r := s.replica.Load()
	if r == nil {
		return nil
	}
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		moved := r.leaderMoved.wait()
		err := r.removeOnce(ctx, name)
		if err == nil {
			return nil
		}
		if !r.pause(ctx, moved, pause) {
			return fmt.Errorf("remove coordinator %q: %w", name, r.unavailable(err))
		}
	}
}

func (r *replica) removeOnce(ctx context.Context, name string) error {
	if r.raft.State() == raft.Leader {
		return r.remove(name)
	}
	return r.askLeader(ctx, func(ctx context.Context, leader easelv1connect.StateServiceClient) error {
		_, err := leader.Remove(ctx, connect.NewRequest(&easelv1.StateRemoveRequest{Name: name}))
		return err
	})
}

// servers is raft's latest configuration.
func (r *replica) servers() []raft.Server {
	future := r.raft.GetConfiguration() // answers at once
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func (r *replica) voters() int {
	n := 0
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

// askLeader has ask question who leads. It gives up when that one leads no more, for a machine that lost its power does not say that
// it will not answer; what is asked must bear to be asked again.
func (r *replica) askLeader(ctx context.Context, ask func(context.Context, easelv1connect.StateServiceClient) error) error {
	addr, id := r.raft.LeaderWithID()
	if addr == "" || id == r.id {
		return errNoLeader
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := r.spawn(func() {
		defer cancel()
		for {
			moved := r.leaderMoved.wait()
			if _, now := r.raft.LeaderWithID(); now != id {
				return
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return ask(ctx, r.client(string(addr)))
}

func (r *replica) client(addr string) easelv1connect.StateServiceClient {
	return easelv1connect.NewStateServiceClient(r.cfg.Network.Client(), "https://"+addr, connect.WithReadMaxBytes(maxMessage))
}

// attendance is when coordinators said last that they are there, and how far they were. The leader keeps it.
type attendance struct {
	mu   sync.Mutex
	last map[raft.ServerID]attended
}

type attended struct {
	at      time.Time
	applied uint64
}

func (a *attendance) note(id raft.ServerID, applied uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil {
		a.last = map[raft.ServerID]attended{}
	}
	a.last[id] = attended{time.Now(), applied}
}

// near tells whether a coordinator was there within d and had all but slack of the entries up to index.
func (a *attendance) near(id raft.ServerID, d time.Duration, index, slack uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.last[id]
	return ok && time.Since(last.at) <= d && last.applied+slack >= index
}

// attend says that this coordinator is there, until it is a voter at its address; that may be forever, of one that makes an even
// number.
func (r *replica) attend() {
	every := time.NewTicker(r.cfg.timing.attend)
	defer every.Stop()
	failed := ""
	for {
		err := r.attendOnce()
		if text := fmt.Sprint(err); err != nil && text != failed && r.ctx.Err() == nil {
			r.log.Warn("this coordinator is not among the others yet, and tries on", "error", err)
			failed = text
		}
		if err == nil {
			failed = ""
		}
		select {
		case <-every.C:
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *replica) attendOnce() error {
	for _, s := range r.servers() {
		if s.ID == r.id && s.Suffrage == raft.Voter && string(s.Address) == r.cfg.Address {
			return nil
		}
	}
	req := &easelv1.StateAttendRequest{
		Id: string(r.id), Address: r.cfg.Address, Applied: r.machine.index(), Founding: foundingOf(r.machine.db), Counted: r.mayVote(),
	}
	if r.leads() {
		return r.welcome(req)
	}
	addrs := r.cfg.Seeds()
	if addr, _ := r.raft.LeaderWithID(); addr != "" {
		addrs = []string{string(addr)}
	}
	var failed error
	for _, addr := range addrs {
		if addr == r.cfg.Address {
			continue
		}
		err := r.attendAt(addr, req)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("coordinator at %s: %w", addr, err))
	}
	return failed
}

// attendAt goes on to the leader when addr says who it is.
func (r *replica) attendAt(addr string, req *easelv1.StateAttendRequest) error {
	ctx, cancel := r.bounded(r.ctx)
	defer cancel()
	_, err := r.client(addr).Attend(ctx, connect.NewRequest(req))
	if leader := leaderIn(err); leader.GetAddress() != "" && leader.GetAddress() != addr {
		_, err = r.client(leader.GetAddress()).Attend(ctx, connect.NewRequest(req))
	}
	return err
}

// leaderIn is who leads, from the refusal of one that does not.
func leaderIn(err error) *easelv1.StateNotLeading {
	var refusal *connect.Error
	if !errors.As(err, &refusal) {
		return nil
	}
	for _, detail := range refusal.Details() {
		if msg, err := detail.Value(); err == nil {
			if leader, ok := msg.(*easelv1.StateNotLeading); ok {
				return leader
			}
		}
	}
	return nil
}

var errOtherFounding = fmt.Errorf("%w: it has the state of another founding: empty its state_dir and join it again", ErrInvalid)

// welcome makes who attends a member, at the address that it says, and gives votes that are due. The leader does it.
func (r *replica) welcome(req *easelv1.StateAttendRequest) error {
	id, addr := raft.ServerID(req.GetId()), raft.ServerAddress(req.GetAddress())
	if !strings.Contains(string(id), "#") || addr == "" {
		return fmt.Errorf("%w: a coordinator that attends as %q at %q", ErrInvalid, id, addr)
	}
	if len(req.GetFounding()) != foundingBytes || !sameFounding(req.GetFounding(), foundingOf(r.machine.db)) {
		return errOtherFounding
	}
	r.membership.Lock()
	defer r.membership.Unlock()
	if req.GetCounted() { // else it could not vote if it had to
		r.attended.note(id, req.GetApplied())
	}
	known := raft.Server{Suffrage: raft.Nonvoter}
	for _, s := range r.servers() {
		switch {
		case s.ID == id:
			known = s
		case nameOf(s.ID) == nameOf(id): // the one of before lost its state
			if err := r.change(func() raft.Future { return r.raft.RemoveServer(s.ID, 0, r.cfg.timing.patience) }); err != nil {
				return err
			}
			r.log.Info("a coordinator came back without its state", "name", nameOf(id))
		}
	}
	if known.ID == "" || known.Address != addr {
		add := r.raft.AddNonvoter
		if known.Suffrage == raft.Voter {
			add = r.raft.AddVoter
		}
		if err := r.change(func() raft.Future { return add(id, addr, 0, r.cfg.timing.patience) }); err != nil {
			return err
		}
		r.log.Info("a coordinator is there", "name", nameOf(id), "address", addr)
	}
	return r.balance()
}

// remove is the leader's. A leader that is to go hands over first, and the next one removes it.
func (r *replica) remove(name string) error {
	r.membership.Lock()
	defer r.membership.Unlock()
	if nameOf(r.id) == name {
		if len(r.servers()) == 1 {
			return fmt.Errorf("%w: it is the last coordinator", ErrInvalid)
		}
		if err := r.change(r.raft.LeadershipTransfer); err != nil {
			return err
		}
		return errNotLeading
	}
	for _, s := range r.servers() {
		if nameOf(s.ID) == name {
			if err := r.change(func() raft.Future { return r.raft.RemoveServer(s.ID, 0, r.cfg.timing.patience) }); err != nil {
				return err
			}
			r.log.Info("a coordinator is removed", "name", name)
		}
	}
	return r.balance()
}

// change waits for a change of who belongs.
func (r *replica) change(ask func() raft.Future) error {
	ctx, cancel := r.bounded(r.ctx)
	defer cancel()
	return r.await(ctx, ask)
}

// slack is how many entries one may lack that gets a vote: it has them in a moment.
const slack = 256

// balance gives votes to an odd number of coordinators: of two, four or six, one only has a copy.
func (r *replica) balance() error {
	servers, voters := r.servers(), r.voters()
	want := len(servers) - 1 + len(servers)%2
	var ready []raft.Server
	for _, s := range servers {
		if s.Suffrage != raft.Voter && r.attended.near(s.ID, 5*r.cfg.timing.attend, r.machine.index(), slack) {
			ready = append(ready, s)
		}
	}
	if voters+len(ready) < want {
		return nil // they attend again
	}
	for ; voters < want; voters++ {
		next := ready[0]
		ready = ready[1:]
		if err := r.change(func() raft.Future { return r.raft.AddVoter(next.ID, next.Address, 0, r.cfg.timing.patience) }); err != nil {
			return err
		}
		r.log.Info("a coordinator has a vote now", "name", nameOf(next.ID))
	}
	for i := len(servers) - 1; i >= 0 && voters > want; i-- {
		if s := servers[i]; s.Suffrage == raft.Voter && s.ID != r.id {
			if err := r.change(func() raft.Future { return r.raft.DemoteVoter(s.ID, 0, r.cfg.timing.patience) }); err != nil {
				return err
			}
			voters--
		}
	}
	return nil
}

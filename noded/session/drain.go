package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"easel/noded/stream/contract"
)

// Duty is what the node does for new sessions.
type Duty string

// The duties. A drained node stays so until it is told otherwise.
const (
	Serving  Duty = "serving"
	Cordoned Duty = "cordoned" // takes no new sessions; those that it has go on
	Draining Duty = "draining" // as cordoned, and its sessions end at the deadline
)

// Order is the duty that the node was given. It outlives restarts of the daemon.
type Order struct {
	Duty     Duty      `json:"duty"`
	Deadline time.Time `json:"deadline,omitzero"` // of Draining: when the sessions end
	Reason   string    `json:"reason,omitempty"`  // shown to artists
	// Boot, when not empty, is the boot of the host that the order ends with.
	Boot string `json:"boot,omitempty"`

	slice bool // it is for the holders of one GPU slice, not for the node
}

// maxDrain bounds how far off a deadline may be.
const maxDrain = 30 * 24 * time.Hour

// check makes an order complete, or says what is wrong with it.
func (o Order) check(now time.Time) (Order, error) {
	o.Reason = words(o.Reason, maxWords)
	switch o.Duty {
	case Serving, Cordoned:
		o.Deadline = time.Time{}
	case Draining:
		if o.Deadline.Before(now) { // the zero time too
			o.Deadline = now
		}
		if o.Deadline.After(now.Add(maxDrain)) {
			return o, fmt.Errorf("deadline %s: %w: it is more than %d days off", o.Deadline.Format(time.RFC3339), ErrInvalid, maxDrain/(24*time.Hour))
		}
	default:
		return o, fmt.Errorf("duty %q: %w: want serving, cordoned or draining", words(string(o.Duty), 40), ErrInvalid)
	}
	return o, nil
}

// refusal is why a node with this order takes no session; nil when it does.
func (o Order) refusal() *Refusal {
	because := ""
	if o.Reason != "" {
		because = " (" + o.Reason + ")"
	}
	switch o.Duty {
	case Cordoned:
		return &Refusal{"cordoned", "this node takes no further sessions: it is cordoned" + because + "; \"noded uncordon\" ends that"}
	case Draining:
		return &Refusal{"draining", "this node takes no further sessions: it is being drained" + because + "; \"noded uncordon\" ends that"}
	}
	return nil
}

// notice is what artists are told because of the order; the zero Notice when nothing.
func (o Order) notice() contract.Notice {
	if o.Duty != Draining {
		return contract.Notice{}
	}
	why := "its host is being emptied"
	if o.Reason != "" {
		why = o.Reason
	}
	return contract.Notice{Text: "Save your work: this session is going to end (" + why + ").", Until: o.Deadline.UTC()}
}

// duty is what the node does for new sessions and why. It is safe for several goroutines.
type duty struct {
	mu       sync.Mutex
	order    Order
	isolated bool
	ending   bool
}

func (d *duty) get() (o Order, isolated, ending bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order, d.isolated, d.ending
}

func (d *duty) set(change func(*duty)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// refusal is why the node takes no session, whatever room it has.
func (d *duty) refusal() *Refusal {
	o, isolated, ending := d.get()
	switch {
	case ending:
		return &Refusal{"ending", "this node takes no further sessions: its daemon is ending; try another node, or later"}
	case o.refusal() != nil:
		return o.refusal()
	case isolated:
		return &Refusal{"isolated", "this node takes no further sessions: it sees no coordinator; its network, or cluster.join, may be at fault"}
	}
	return nil
}

// SetDuty gives the node an order, which outlives restarts of the daemon and, unless untilBoot, of the host. It returns
// how many sessions the node has now, warm ones not counted.
func (m *Manager) SetDuty(o Order, untilBoot bool) (sessions int, err error) {
	if o, err = o.check(time.Now()); err != nil {
		return 0, fmt.Errorf("set the node's duty: %w", err)
	}
	if untilBoot {
		o.Boot = m.boot
	}
	m.ordering.Lock() // the record and what is in force must not part
	defer m.ordering.Unlock()
	if err := m.store.SetOrder(o); err != nil {
		return 0, fmt.Errorf("set the node's duty to %s: %w", o.Duty, err)
	}
	m.duty.set(func(d *duty) { d.order = o })
	m.log.Info("the node has a new duty", "duty", o.Duty, "deadline", o.Deadline, "reason", o.Reason)
	m.bell.ring()
	all, err := m.store.List()
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		if r.User != "" && !r.State.Ended() {
			sessions++
		}
	}
	return sessions, nil
}

// Order is the duty in force.
func (m *Manager) Order() Order {
	o, _, _ := m.duty.get()
	return o
}

// SetIsolated tells the node whether it sees no coordinator: then it keeps what it has and takes nothing new.
func (m *Manager) SetIsolated(is bool) {
	m.duty.set(func(d *duty) { d.isolated = is })
	m.bell.ring()
}

// measureDuty brings the duty's gauges up to date.
func (m *Manager) measureDuty() {
	o, isolated, _ := m.duty.get()
	for _, one := range []Duty{Serving, Cordoned, Draining} {
		m.metrics.duty.WithLabelValues(string(one)).Set(oneIf(o.Duty == one))
	}
	m.metrics.isolated.Set(oneIf(isolated))
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Bounds of carrying out an order.
const (
	tellAgain  = time.Second
	orderPause = 100 * time.Millisecond // changes come in bursts
)

// carryOut does what the order asks: it tells artists, ends warm sessions, and at the deadline all others, until
// ctx ends. It also tells streamers of a changed policy.
func (m *Manager) carryOut(ctx context.Context) {
	heard := crier{}
	if all, err := m.store.List(); err == nil {
		for _, r := range all {
			heard[r.ID] = nil
		}
	}
	for {
		changed := m.bell.heard()
		timer := time.NewTimer(m.carryOutOnce(ctx, heard))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		if !waitOr(ctx, orderPause) {
			return
		}
	}
}

// carryOutOnce returns when to look again if nothing changes before.
func (m *Manager) carryOutOnce(ctx context.Context, heard crier) time.Duration {
	next, now := time.Hour, time.Now()
	all, err := m.store.List()
	if err != nil {
		m.log.Error("cannot carry out the node's duty", "error", err)
		return tellAgain
	}
	node := m.Order()
	living := map[string]bool{}
	var tell []untold
	policy := m.settings().Policy
	for _, r := range all {
		if r.State.Ended() {
			continue
		}
		living[r.ID] = true
		o := m.vacancies.of(r, node)
		if o.Duty == Draining && (!o.Deadline.After(now) || r.User == "") {
			if err := m.endFor(ctx, r, o); err != nil {
				next = tellAgain
			}
			continue
		}
		if o.Duty == Draining {
			next = min(next, o.Deadline.Sub(now))
		}
		if r.Steps["streamer"] != Done {
			continue
		}
		if notice, rules := heard.knows(r, o.notice(), policy); !notice || !rules {
			tell = append(tell, untold{r, o.notice(), !notice, policy, !rules})
		}
	}
	for id := range heard {
		if !living[id] {
			delete(heard, id)
		}
	}
	if !m.tell(ctx, tell, heard) {
		next = min(next, tellAgain)
	}
	return next
}

func (m *Manager) endFor(ctx context.Context, r Record, o Order) error {
	reason := "its node was drained"
	if o.slice {
		reason = "its GPU slice was taken away"
	}
	if o.Reason != "" {
		reason += ": " + o.Reason
	}
	var err error
	if r.pooled() {
		err = m.Retire(ctx, r.ID, reason) // somebody may claim it at this moment: then it has the deadline of all others
	} else {
		_, err = m.Stop(ctx, r.ID, reason)
	}
	if err != nil && ctx.Err() == nil {
		m.log.Error("a session of a drained node does not end; trying again", "session", r.ID, "error", err)
	}
	return err
}

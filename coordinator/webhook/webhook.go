package webhook

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"easel/coordinator/events"
	"easel/coordinator/state"
	"easel/pkg/cluster"
)

// bucket holds, for each hook, the last call that a receiver took: the next leader goes on from there.
const bucket = "webhooks"

// View is what the gossip knows of the nodes.
type View interface {
	Nodes() []cluster.Node
	Changed() <-chan struct{}
}

// State is the coordinators' memory.
type State interface {
	View(read func(state.Tx) error) error
	Update(ctx context.Context, change func(state.Tx) error) error
	Leader() bool
}

// Options is what a Caller is made of.
type Options struct {
	Name     string // this coordinator's
	Nodes    View
	State    State
	Events   *events.Log
	Registry prometheus.Registerer
	Log      *slog.Logger
	Trust    *tls.Config // of receivers' certificates; nil means the host's
}

// Caller watches the cluster's room and calls the hooks. Of all coordinators only the leader does.
type Caller struct {
	Options
	calls *prometheus.CounterVec
	every time.Duration // how often the room is looked at
	pause time.Duration // before the second attempt

	mu      sync.Mutex
	judges  []*judge
	changed chan struct{} // the hooks were changed
}

// New returns a Caller that does nothing until Run.
func New(o Options, hooks []Hook) *Caller {
	c := &Caller{
		Options: o, changed: make(chan struct{}, 1), every: lookEvery, pause: firstPause,
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "easel_webhook_calls_total", Help: "Calls of webhooks that were decided on, by kind and by how they ended."}, []string{"kind", "result"}),
	}
	o.Registry.MustRegister(c.calls)
	c.SetHooks(hooks)
	return c
}

// SetHooks replaces the hooks; one that stays as it was goes on as it was.
func (c *Caller) SetHooks(hooks []Hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var judges []*judge
	for _, h := range hooks {
		j := &judge{hook: h}
		for _, old := range c.judges {
			if old.hook == h {
				j = old
			}
		}
		judges = append(judges, j)
	}
	c.judges = judges
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// lookEvery is how often the room is looked at, and keepTimeout bounds keeping that a call was taken.
const (
	lookEvery   = time.Second
	keepTimeout = 5 * time.Second
)

// Run watches and calls until ctx ends.
func (c *Caller) Run(ctx context.Context) error {
	under := deliveries{last: map[string]context.CancelFunc{}}
	defer under.wait()
	look := time.NewTicker(c.every)
	defer look.Stop()
	leading := false
	for {
		if is := c.State.Leader(); is != leading {
			leading = is
			c.reset(is)
		}
		if leading {
			c.look(ctx, &under)
		}
		select {
		case <-look.C:
		case <-c.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// reset forgets what was seen before, and what was done when another coordinator does it from now on.
func (c *Caller) reset(leading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.judges {
		*j = judge{hook: j.hook}
		if leading {
			j.last, j.lastCalled = c.recall(j.hook)
		}
	}
}

func (c *Caller) look(ctx context.Context, under *deliveries) {
	nodes, now := c.Nodes.Nodes(), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.judges {
		figures, each := figuresOf(nodes, j.hook.Class)
		told := j.look(figures, now)
		if told == nil {
			continue
		}
		m := Message{
			ID: rand.Text(), Kind: told.kind, At: now.UTC().Truncate(time.Millisecond), From: c.Name, Reason: told.reason,
			Class: j.hook.Class, Figures: figures, Nodes: each,
		}
		c.Log.Info("a webhook is called", "url", j.hook.URL, "kind", m.Kind, "reason", m.Reason)
		under.start(ctx, j.hook, func(ctx context.Context) { c.deliver(ctx, j.hook, m) })
	}
}

// deliver sends a message until the receiver takes it, refuses it, or nothing helps.
func (c *Caller) deliver(ctx context.Context, h Hook, m Message) {
	client, pause := clientFor(h, c.Trust), c.pause
	for try := 1; ; try++ {
		err := attempt(ctx, client, h, m, time.Now())
		switch {
		case err == nil:
			c.done(ctx, h, m)
			return
		case ctx.Err() != nil: // the daemon ends, or a newer call takes this one's place
			c.calls.WithLabelValues(m.Kind, "overtaken").Inc()
			return
		case errors.Is(err, errRefused) || try == maxAttempts || !c.State.Leader():
			c.calls.WithLabelValues(m.Kind, "failed").Inc()
			c.Log.Error("a webhook was not taken", "url", h.URL, "kind", m.Kind, "attempts", try, "error", err)
			c.Events.Add(events.Webhook, h.URL, fmt.Sprintf("%s was not taken, after %d attempts: %v", m.Kind, try, err), true)
			return
		}
		c.Log.Warn("a webhook was not taken yet; trying again", "url", h.URL, "kind", m.Kind, "attempt", try, "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, longestPause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// called is what the state keeps of a hook.
type called struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

func (c *Caller) done(ctx context.Context, h Hook, m Message) {
	c.calls.WithLabelValues(m.Kind, "taken").Inc()
	c.Events.Add(events.Webhook, h.URL, m.Kind+" was taken: "+m.Reason, false)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout) // the receiver knows, so must the next leader
	defer cancel()
	value, err := json.Marshal(called{Kind: m.Kind, At: m.At})
	if err == nil {
		err = c.State.Update(ctx, func(tx state.Tx) error {
			tx.Put(bucket, h.key(), value)
			return nil
		})
	}
	if err != nil {
		c.Log.Warn("that a webhook was called is not kept: the next leader may call it again", "url", h.URL, "error", err)
	}
}

// recall is the last call that the hook's receiver took; one from a clock that was ahead counts as of now.
func (c *Caller) recall(h Hook) (kind string, at time.Time) {
	var last called
	err := c.State.View(func(tx state.Tx) error {
		value := tx.Get(bucket, h.key())
		if value == nil {
			return nil
		}
		return json.Unmarshal(value, &last)
	})
	if err != nil {
		c.Log.Warn("what a webhook was told last cannot be read: it may be told again", "url", h.URL, "error", err)
		return "", time.Time{}
	}
	if now := time.Now(); last.At.After(now) {
		last.At = now
	}
	return last.Kind, last.At
}

// deliveries is the calls under way, one a hook: a newer one ends the one before it.
type deliveries struct {
	group sync.WaitGroup
	last  map[string]context.CancelFunc
}

func (d *deliveries) start(ctx context.Context, h Hook, deliver func(context.Context)) {
	if cancel := d.last[h.key()]; cancel != nil {
		cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	d.last[h.key()] = cancel
	d.group.Go(func() {
		defer cancel()
		deliver(ctx)
	})
}

// wait ends what is under way.
func (d *deliveries) wait() {
	for _, cancel := range d.last {
		cancel()
	}
	d.group.Wait()
}

package session

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"easel/noded/gpu"
	"easel/noded/gpu/allocate"
	"easel/noded/proof"
	"easel/noded/stream/contract"
	"easel/pkg/failpoint"
)

// How long ended sessions are remembered.
const (
	rememberFor = 24 * time.Hour
	rememberMax = 200
)

// Options is what a Manager is made of.
type Options struct {
	Name, Version string // for Status
	RunDir        string
	Cgroup        string // that sessions' cgroups lie below, "/easel"
	Image         string // default reference
	Boot          string // names the host's boot, see Order
	Admission     Admission
	Grace         time.Duration // a session that nobody sees lives so long
	StartTimeout  time.Duration
	Media         []string // addresses of the streamers' UDP ports
	RelayPorts    []uint16 // first and last of the relay's, nil for none
	Driver        string   // folder of the graphics driver's libraries, "" leaves it to the loader
	LogLevel      string   // of the streamers
	Policy        contract.Policy

	Store      *Store
	Containers Containers
	Workers    Workers
	Homes      Homes
	GPUs       GPUs // nil on a node that has none
	Encoders   Encoders
	Streamers  Streamers
	Host       Host
	Points     *failpoint.Set
	Metrics    *Metrics
	Log        *slog.Logger
}

// Manager owns every session of the node: it admits them, starts a keeper for each, and answers about them.
type Manager struct {
	parts
	name, version string
	places        places
	inForce       atomic.Pointer[settings]
	host          Host
	boot          string
	duty          duty
	vacancies     vacancies
	ordering      sync.Mutex // held by SetDuty
	settled       atomic.Bool
	bell          bell

	reserving sync.Mutex // held by admit

	mu      sync.Mutex
	ctx     context.Context // the keepers'; nil before Run and after its end
	keepers map[string]*keeper
	owned   sync.WaitGroup
}

// New returns a manager that does nothing until Run.
func New(o Options) *Manager {
	m := &Manager{
		name: o.Name, version: o.Version, places: places{o.RunDir, o.Cgroup}, host: o.Host, boot: o.Boot,
		keepers: map[string]*keeper{},
	}
	m.inForce.Store(o.settings())
	m.parts = parts{
		store: o.Store, containers: o.Containers, workers: o.Workers, homes: o.Homes, gpus: o.GPUs, encoders: o.Encoders, streamers: o.Streamers,
		points: o.Points, log: o.Log, metrics: o.Metrics, media: o.Media, relayPorts: o.RelayPorts, driver: o.Driver,
		changed: m.bell.ring, heard: m.bell.heard, policy: func() contract.Policy { return m.settings().Policy },
	}
	order, err := m.store.Order(o.Boot)
	if err != nil {
		o.Log.Error("the node takes no sessions: what it was told to do cannot be read; \"noded uncordon\" sets it anew", "error", err)
		order = Order{Duty: Cordoned, Reason: "what it was told to do cannot be read"}
	}
	m.duty.order = order
	return m
}

// Run takes up every session that is recorded, removes what nobody owns, and keeps the sessions until ctx
// ends. It leaves them running: the next Run takes them up again.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.store.Mend(time.Now()); err != nil {
		return fmt.Errorf("mend the session store: %w", err)
	}
	m.mu.Lock()
	m.ctx = ctx // before the list is read, or a session reserved meanwhile would have no keeper
	m.mu.Unlock()
	all, err := m.store.List()
	if err != nil {
		return fmt.Errorf("read the session store: %w", err)
	}
	for _, r := range all {
		if r.holds() {
			m.log.Info("taking up a session", "session", r.ID, "state", r.State)
			m.keepIt(r.ID)
		}
	}
	m.owned.Go(func() { m.carryOut(ctx) })
	m.tend(ctx)
	m.duty.set(func(d *duty) { d.ending = true })
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.owned.Wait()
	return nil
}

// Settled tells whether the sessions of before were taken up and leaks looked for.
func (m *Manager) Settled() bool { return m.settled.Load() }

// keepIt starts the keeper of a session.
func (m *Manager) keepIt(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.keepers[id] != nil {
		return
	}
	ctx := m.ctx
	living, end := context.WithCancelCause(ctx)
	k := &keeper{parts: m.parts, id: id, paths: m.places.of(id), began: time.Now(), end: end, claimed: make(chan struct{}, 1)}
	now := m.settings()
	k.grace, k.startLimit, k.logLevel = now.Grace, now.StartTimeout, now.LogLevel
	k.log = m.log.With("session", id)
	m.keepers[id] = k
	m.owned.Go(func() {
		defer end(nil)
		k.run(ctx, living)
		m.mu.Lock()
		delete(m.keepers, id)
		m.mu.Unlock()
		m.bell.ring()
	})
}

func (m *Manager) keeperOf(id string) *keeper {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keepers[id]
}

// Get returns a session with its processes; ErrNotFound when the node knows none of that id.
func (m *Manager) Get(id string) (Session, error) {
	r, err := m.store.Get(id)
	if err != nil {
		return Session{}, err
	}
	s := m.session(r)
	s.Pids = m.pidsOf(s)
	return s, nil
}

func (m *Manager) session(r Record) Session {
	s := Session{Record: r, Paths: m.places.of(r.ID)}
	if !r.State.Ended() {
		s.Notice = m.vacancies.of(r, m.Order()).notice()
	}
	if k := m.keeperOf(r.ID); k != nil {
		if h := k.health.Load(); h != nil {
			s.Health = *h
			s.Health.Degraded = append(slices.Clone(h.Degraded), shortfalls(*h)...)
		}
		if note := k.notes.Load(); note != nil {
			s.Health.Degraded = append(s.Health.Degraded, *note)
		}
		if why := k.heldBack.Load(); why != nil {
			s.Health.Degraded = append(s.Health.Degraded, *why)
		}
		if what := k.refuses.Load(); what != nil {
			s.Health.Degraded = append(s.Health.Degraded, *what)
		}
	}
	s.Health.Degraded = append(s.Health.Degraded, m.sliceTroubles(r)...)
	return s
}

// pidsOf finds a session's processes as the host counts them. A container that lies about its pids can
// name none but its own.
func (m *Manager) pidsOf(s Session) Pids {
	var p Pids
	if !s.holds() || s.State.Ended() {
		return p
	}
	if m.workers.WorkerAlive(s.Worker) {
		p.Streamer = s.Worker.PID
	}
	host, err := m.containers.Processes(s.ID, s.Paths.Cgroup)
	if err != nil {
		return p
	}
	p.Init, p.X, p.GIMP = host[1], host[s.Health.XPID], host[s.Health.GIMP.PID]
	return p
}

// List returns the sessions of a user, or of all when user is "", oldest first; those that have ended only
// when ended is set. Warm sessions have no user and are not among them.
func (m *Manager) List(user string, ended bool) ([]Session, error) {
	all, err := m.store.List()
	if err != nil {
		return nil, err
	}
	var sessions []Session
	for _, r := range all {
		if !r.pooled() && (user == "" || r.User == user) && (ended || r.State != Stopped && r.State != Failed) {
			sessions = append(sessions, m.session(r))
		}
	}
	return sessions, nil
}

// Stop asks for a session's end and returns at once. Stopping one that has ended changes nothing.
func (m *Manager) Stop(ctx context.Context, id, reason string) (Session, error) {
	if reason = words(reason, maxWords); reason == "" {
		reason = "it was ended on request"
	}
	r, err := m.store.Get(id)
	if err != nil {
		return Session{}, fmt.Errorf("stop a session: %w", err)
	}
	if r.State.Ended() {
		return m.session(r), nil
	}
	points := pointsOfTransition(string(Stopping))
	if err := m.points.Hit(ctx, points[0]); err != nil {
		return Session{}, fmt.Errorf("stop session %s: %w", id, err)
	}
	r, err = m.store.Update(id, func(r *Record) error {
		if r.State.Ended() {
			return nil
		}
		r.Wanted = WantEnded
		return r.enter(Stopping, reason, time.Now())
	})
	if err != nil {
		return Session{}, fmt.Errorf("stop session %s: %w", id, err)
	}
	if k := m.keeperOf(id); k != nil {
		k.end(errEnding)
	}
	m.bell.ring()
	if err := m.points.Hit(ctx, points[1]); err != nil {
		return Session{}, fmt.Errorf("stop session %s: %w", id, err)
	}
	return m.session(r), nil
}

// Await returns the session once its state differs from unlike, or as it is when ctx ends.
func (m *Manager) Await(ctx context.Context, id string, unlike State) (Session, error) {
	for {
		heard := m.bell.heard()
		r, err := m.store.Get(id)
		if err != nil {
			return Session{}, err
		}
		if r.State != unlike {
			return m.session(r), nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return m.session(r), nil
		}
	}
}

// Changed returns a channel that closes at the next change of any session.
func (m *Manager) Changed() <-chan struct{} { return m.bell.heard() }

// Status is what the node can give.
type Status struct {
	Name, Version string
	Capacity      int
	Used          int  // by users; a warm session gives way to one of a user
	Draining      bool // it takes no sessions, for whatever reason
	Order         Order
	Isolated      bool   // it sees no coordinator
	Full          string // why there is no room; "" when there is
	Degraded      []string
	Images        []string
	Rooms         []allocate.Room // of the GPU classes that the node has; a warm session gives way here too
	Slices        []allocate.Room // the same, with what warm sessions hold
	Cards         []gpu.Card
	Encoders      []proof.Proof
}

// Status tells what the node can give now.
func (m *Manager) Status(ctx context.Context) (Status, error) {
	all, err := m.store.List()
	if err != nil {
		return Status{}, err
	}
	held := holding(all)
	s := Status{Name: m.name, Version: m.version, Capacity: m.settings().admission.Max, Draining: m.duty.refusal() != nil}
	s.Order, s.Isolated, _ = m.duty.get()
	if err := m.store.Fault(); err != nil {
		text := fmt.Sprintf("the node's database cannot be written (is the disk full?): %v", err)
		s.Degraded = append(s.Degraded, text)
		s.Full = text
	}
	if s.Isolated {
		s.Degraded = append(s.Degraded, "no coordinator is in sight: the sessions go on, new ones are refused; look at the network and at cluster.join")
	}
	s.Degraded = append(s.Degraded, m.cardTroubles()...)
	s.Degraded, s.Encoders = append(s.Degraded, m.encoders.Troubles()...), m.encoders.Proofs()
	var used []Record
	for _, r := range held {
		switch {
		case r.lingers(): // it takes no room, only its slice
			used = append(used, r)
			if why := m.lingering(r); why != "" {
				s.Degraded = append(s.Degraded, why)
			}
		case !r.pooled() || r.State.Ended(): // one that ends has its place until it is gone
			used = append(used, r)
			s.Used++
		}
	}
	node := m.node(used)
	s.Rooms, s.Slices, s.Cards = node.Rooms(), m.node(held).Rooms(), node.Cards
	if _, refusal := m.makeRoom(held, Record{Class: gpu.None}, EncoderAny); refusal != nil {
		s.Full = refusal.Detail
	}
	switch _, ok, err := m.lookForImage(ctx, m.settings().Image); {
	case err != nil:
		text := fmt.Sprintf("containerd does not answer: %v", err)
		s.Degraded = append(s.Degraded, text)
		if s.Full == "" {
			s.Full = text
		}
	case !ok:
		s.Degraded = append(s.Degraded, fmt.Sprintf("image %s is not here: make it with \"noded image build\"", m.settings().Image))
	default:
		s.Images = append(s.Images, m.settings().Image)
	}
	return s, nil
}

// GIMP tells how the artist's program is.
func (s *Session) GIMP() contract.GIMP {
	g := s.Health.GIMP
	if s.Health.Seq == 0 { // no streamer has spoken yet
		g.Restarts = int(s.GIMPRestarts)
	}
	return g
}

// bell tells any number of waiters that something changed.
type bell struct {
	mu    sync.Mutex
	rings chan struct{}
}

func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rings == nil {
		b.rings = make(chan struct{})
	}
	return b.rings
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rings != nil {
		close(b.rings)
		b.rings = nil
	}
}

package placement

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"

	"easel/pkg/cluster"
)

// view is the nodes as they were at one moment, laid out for decisions: it never changes once made, apart
// from the ledgers, so any number of decisions read it without a lock.
type view struct {
	made   time.Time
	seats  []seat
	byName map[string]int32
	names  map[string]int32 // numbers for images, classes, regions and zones
	texts  []string         // by number
	sites  []vector         // where seats are; many nodes share one
}

// seat is what decisions need of one node.
type seat struct {
	index       int32 // in view.seats
	region      int32
	zone        int32
	total, used int32
	cpus        int32
	busy        float32
	draining    bool
	suspect     bool
	full        bool
	encoder     bool  // a card of it has an encoder engine
	gpus        int32 // free places of classes with a GPU
	site        int32 // in view.sites, anything when it is not known
	mark        uint64
	images      []int32
	rooms       []room
	warms       []warmth
	ledger      *ledger
	node        *cluster.Node
}

type room struct {
	class, total, used int32
	encoders           int32 // of the free ones
	tally              *tally
}

type warmth struct {
	image, class int32
	ready        bool
	count        int32
}

// anything is the number of what was not asked for.
const anything int32 = -1

// ledger is what this coordinator has reserved on a node since the node's last record, in all and by class. It outlives views.
type ledger struct {
	tally
	seq     uint64            // of the record
	classes map[string]*tally // looked into while a view is made
}

type tally struct {
	pending atomic.Int32            // asked, not answered
	granted atomic.Int32            // since the record
	refused atomic.Pointer[refusal] // since the record, nil for none
}

// refusal is a node's last one. It counts for a while only: a node with nothing new to tell sends no record.
type refusal struct {
	why     string
	at      time.Time
	encoder string // Hardware when it is about the encoder alone
}

const refusalCounts = 5 * time.Second

func (t *tally) held() int32 { return t.pending.Load() + t.granted.Load() }

func (t *tally) forget() {
	t.granted.Store(0)
	t.refused.Store(nil)
}

// of is the tally of a class.
func (l *ledger) of(class string) *tally {
	t := l.classes[class]
	if t == nil {
		t = &tally{}
		l.classes[class] = t
	}
	return t
}

// renew forgets what a new record knows, and the classes that it does not tell of.
func (l *ledger) renew(c *cluster.Capacity) {
	l.seq = c.Seq
	l.forget()
	for class, t := range l.classes {
		t.forget()
		if t.pending.Load() == 0 && !slices.ContainsFunc(c.Classes, func(r cluster.Room) bool { return r.Class == class }) {
			delete(l.classes, class)
		}
	}
}

// newView lays nodes out. ledgers are those of the view before, and become those of this one.
func newView(nodes []cluster.Node, ledgers map[string]*ledger, now time.Time) *view {
	v := &view{made: now, seats: make([]seat, len(nodes)), byName: make(map[string]int32, len(nodes)), names: map[string]int32{}}
	sites := map[[2]float32]int32{}
	for i := range nodes {
		n := &nodes[i]
		v.byName[n.Meta.Name] = int32(i)
		l := ledgers[n.Meta.Name]
		if l == nil {
			l = &ledger{classes: map[string]*tally{}}
			ledgers[n.Meta.Name] = l
		}
		if n.Capacity.Seq != l.seq {
			l.renew(&n.Capacity)
		}
		v.seats[i] = v.seat(int32(i), n, l)
		v.seats[i].site = v.siteOf(n.Meta.Place, sites)
	}
	for name := range ledgers {
		if _, ok := v.byName[name]; !ok {
			delete(ledgers, name)
		}
	}
	return v
}

func (v *view) seat(index int32, n *cluster.Node, l *ledger) seat {
	c := &n.Capacity
	s := seat{
		index: index, region: v.number(n.Meta.Place.Region), zone: v.zone(n.Meta.Place),
		total: int32(c.Total), used: int32(c.Used), cpus: int32(c.Load.CPUs), busy: min(max(c.Load.CPU, 0), 1),
		draining: c.Draining, suspect: n.Suspect, full: c.Full != "", mark: mark(n.Meta.Name), ledger: l, node: n,
	}
	s.images = make([]int32, 0, len(c.Images))
	for _, image := range c.Images {
		s.images = append(s.images, v.number(image))
	}
	rooms := c.Classes
	if len(rooms) == 0 { // it has no GPU
		rooms = []cluster.Room{{Class: ClassNone, Total: c.Total, Used: c.Used}}
	}
	s.rooms = make([]room, 0, len(rooms))
	for _, r := range rooms {
		class := cmp.Or(r.Class, ClassNone)
		one := room{v.number(class), int32(r.Total), int32(r.Used), int32(r.Encoders), l.of(class)}
		s.rooms = append(s.rooms, one)
		if class != ClassNone {
			s.gpus += max(0, one.total-one.used)
			s.encoder = s.encoder || one.encoders > 0
		}
	}
	for _, g := range c.GPUs {
		s.encoder = s.encoder || g.Encoder && g.Unhealthy < g.Count
	}
	s.warms = make([]warmth, 0, len(c.Warm))
	for _, w := range c.Warm {
		s.warms = append(s.warms, warmth{v.number(w.Image), v.number(cmp.Or(w.Class, ClassNone)), w.Kind == "ready", int32(w.Count)})
	}
	return s
}

// siteOf numbers a place by its coordinates; sites are those that have a number.
func (v *view) siteOf(p cluster.Place, sites map[[2]float32]int32) int32 {
	if p.Latitude == 0 && p.Longitude == 0 {
		return anything
	}
	at := [2]float32{p.Latitude, p.Longitude}
	site, ok := sites[at]
	if !ok {
		site = int32(len(v.sites))
		sites[at] = site
		v.sites = append(v.sites, pointAt(float64(p.Latitude), float64(p.Longitude)))
	}
	return site
}

// number gives a text of the nodes its number; "" is anything.
func (v *view) number(text string) int32 {
	if text == "" {
		return anything
	}
	n, ok := v.names[text]
	if !ok {
		n = int32(len(v.names))
		v.names[text] = n
		v.texts = append(v.texts, text)
	}
	return n
}

// zone numbers a zone within its region: two regions may have one of the same name.
func (v *view) zone(p cluster.Place) int32 {
	if p.Zone == "" {
		return anything
	}
	return v.number(p.Region + "\x00" + p.Zone)
}

// find is number for what somebody asks for: a text that no node knows has a number that none has.
func (v *view) find(text string) int32 {
	if text == "" {
		return anything
	}
	if n, ok := v.names[text]; ok {
		return n
	}
	return int32(len(v.names))
}

// free is how many sessions in a room of it the node can take by its last record and the ledger; with hardware those that a card's encoder is
// there for. Which of the free places a node gave is not known before its next record, so each is taken to have had an encoder.
func (s *seat) free(r *room, hardware bool) int32 {
	free := s.total - s.used - s.ledger.held()
	if r == nil {
		return free
	}
	places := r.total - r.used
	if hardware {
		places = min(places, r.encoders)
	}
	return min(free, places-r.tally.held())
}

func (s *seat) roomOf(class int32) *room {
	for i := range s.rooms {
		if s.rooms[i].class == class {
			return &s.rooms[i]
		}
	}
	return nil
}

// warm returns how many warm sessions of each kind would do for q.
func (s *seat) warm(q *query) (ready, desktop int32) {
	for _, w := range s.warms {
		if w.image != q.image && w.image != anything && q.image != anything || w.class != q.class {
			continue
		}
		if w.ready {
			ready += w.count
		} else {
			desktop += w.count
		}
	}
	return ready, desktop
}

// warmFor is what is left of the warm ones after the ledger.
func (s *seat) warmFor(q *query) int32 {
	if len(s.warms) == 0 {
		return 0
	}
	ready, desktop := s.warm(q)
	if q.room == nil {
		return ready + desktop
	}
	return ready + desktop - q.room.tally.held()
}

// mark is a number for a name that every coordinator gives it.
func mark(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // it cannot fail
	return mix(h.Sum64())
}

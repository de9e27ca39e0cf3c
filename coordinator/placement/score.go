package placement

import "fmt"

// score tells from 0 to 1 how well a node suits; a node's total is the sum of its scores, each times its
// weight. value is asked for every node of every decision and so allocates nothing.
type score struct {
	name   string
	weight func(*Weights) float64
	value  func(*query, *seat) float64
	why    func(*query, *seat) string
}

var scores = []score{
	{"distance", func(w *Weights) float64 { return w.Distance }, nearness, whyNearness},
	{"home", func(w *Weights) float64 { return w.Home }, homeThere, whyHome},
	{"warm", func(w *Weights) float64 { return w.Warm }, warmThere, whyWarm},
	{"load", func(w *Weights) float64 { return w.Load }, idleness, whyIdle},
	{"room", func(w *Weights) float64 { return w.Room }, roominess, whyRoominess},
	{"fit", func(w *Weights) float64 { return w.Fit }, fitness, whyFit},
	{"even", func(w *Weights) float64 { return w.Even }, evenness, whyEven},
}

// farthest is the round trip, in ms, from which on it does not matter how much farther a node is.
const farthest = 250

// nearness is linear: a millisecond costs the same wherever it is added, so weights can be thought of in
// milliseconds.
func nearness(q *query, s *seat) float64 {
	return 1 - float64(min(q.distance[s.index], farthest))/farthest
}

func whyNearness(q *query, s *seat) string {
	return fmt.Sprintf("%.1f ms, %s", q.distance[s.index], q.sources[s.index].words())
}

func homeThere(q *query, s *seat) float64 {
	for _, h := range q.homes {
		if h == s.index {
			return 1
		}
	}
	return 0
}

func whyHome(q *query, s *seat) string {
	switch {
	case homeThere(q, s) > 0:
		return "the home is there"
	case len(q.Homes) == 0:
		return "there is no home yet"
	}
	return "the home is elsewhere"
}

// warmThere likes a session that waits with GIMP up best; where the artist's own profile must be read first,
// one that waits without is as good as it gets.
func warmThere(q *query, s *seat) float64 {
	ready, desktop := s.warm(q)
	switch {
	case homeThere(q, s) > 0 && desktop > 0, ready > 0 && homeThere(q, s) == 0:
		return 1
	case desktop > 0:
		return 0.7
	}
	return 0
}

func whyWarm(q *query, s *seat) string {
	ready, desktop := s.warm(q)
	return fmt.Sprintf("%d ready, %d desktop", ready, desktop)
}

// idleness is of the processors; of a node that does not tell, the slots speak.
func idleness(q *query, s *seat) float64 {
	if s.cpus > 0 {
		return 1 - float64(s.busy)
	}
	return freeShare(q, s)
}

func whyIdle(_ *query, s *seat) string {
	if s.cpus > 0 {
		return fmt.Sprintf("%.0f %% of %d processors busy", 100*s.busy, s.cpus)
	}
	return "it does not tell its load; free slots count"
}

func freeShare(q *query, s *seat) float64 {
	total := s.total
	if q.room != nil {
		total = min(total, q.room.total)
	}
	if total <= 0 {
		return 0
	}
	return float64(min(max(0, q.free), total)) / float64(total)
}

func roominess(q *query, s *seat) float64 {
	if q.pack {
		return 1 - freeShare(q, s)
	}
	return freeShare(q, s)
}

func whyRoominess(q *query, s *seat) string {
	strategy := Spread
	if q.pack {
		strategy = Pack
	}
	return fmt.Sprintf("%d of %d free, %s", max(0, q.free), s.total, strategy)
}

// fitness likes a place that has no more than is asked for. Who needs no GPU leaves the slots beside free ones to who does, a little while there
// are twice as many, and the more the fewer there are; who takes any encoder has a card's rather than none.
func fitness(q *query, s *seat) float64 {
	switch {
	case q.gpu && (q.hardware || q.room == nil || q.room.encoders > q.room.tally.held()):
		return 1
	case q.gpu:
		return 0.5
	case s.gpus <= 0:
		return 1
	case q.free <= s.gpus:
		return 0
	}
	return 0.8 * min(1, float64(q.free-s.gpus)/float64(s.gpus))
}

func whyFit(q *query, s *seat) string {
	switch {
	case q.gpu && fitness(q, s) < 1:
		return "no encoder of a card is free, so the picture would be encoded by the CPU"
	case q.gpu:
		return "as asked for"
	case s.gpus <= 0:
		return "it has no GPU to leave to others"
	}
	return fmt.Sprintf("%d of its %d free slots are needed by who wants a GPU", min(s.gpus, max(0, q.free)), max(0, q.free))
}

// evenness sends the same user and key to the same node from every coordinator (rendezvous hashing), and
// different ones to different nodes, where the other scores are about equal: two coordinators agree, and a
// crowd that comes at once does not run to one node.
func evenness(q *query, s *seat) float64 {
	return float64(mix(q.mark^s.mark)>>11) / (1 << 53)
}

func whyEven(_ *query, _ *seat) string { return "by user and key, where all else is about equal" }

// mix spreads every bit of x over the whole (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Package congestion decides how much may go out to one viewer, by the viewer's transport-wide feedback: pure arithmetic on times that it is given.
package congestion

import (
	"log/slog"
	"math"
	"sync"
	"time"
)

// Bounds of the rate, in kilobits a second.
const (
	MinKbps = 200
	// MaxWayKbps is the most that a way is taken to carry: nobody needs to know more.
	MaxWayKbps = 120_000
	// MaxKbps is the most that video of the usual quality takes, wantedKbps what the search for more goes up to.
	MaxKbps     = 20000
	wantedKbps  = 25000
	maxPaceKbps = 300_000
	// minPaceKbps has a small frame go out at once however low the rate is.
	minPaceKbps = 1500
	// paceFactor is how much quicker than the rate a frame goes out: its last packet counts. longPace is that of one that takes long.
	paceFactor, longPace = 2.5, 1.25
	// Frames a second: at low rates fewer, so that each shows something.
	MaxFPS, MinFPS = 60, 8
)

// How the rate follows the way.
const (
	cutTo         = 0.85 // of the rate, where nothing tells what the way carries
	cutMost       = 0.12 // of what is sent, at once
	holdAfterCut  = 500 * time.Millisecond
	calmAfterCut  = 1500 * time.Millisecond
	growthASecond = 1.3
	nearGrowth    = 1.05 // where the last cut was
	nearCut       = 0.85 // of the rate before the last cut
	nearTime      = 20 * time.Second
	leastMedia    = 0.5 // of the rate is left to the picture, whatever is lost
	ackedGrowth   = 1.5 // above what arrives, the rate does not grow
	busyShare     = 0.6 // of the rate, from which on the way counts as used
	littleShare   = 0.3 // up to which a loss cannot be ours
	trainTrust    = 0.9 // of what a train found
	// A standing queue shows no trend.
	queueLimit   = 120 * time.Millisecond // one-way delay above the least seen
	queueReports = 4                      // that many reports in a row
	// A way that has got far narrower is known before its delay is a trend: by a queue of steepQueue, and no more than steepShare of the rate arriving.
	steepQueue   = 60 * time.Millisecond
	steepShare   = 0.5
	drainMost    = 500 * time.Millisecond // that a viewer's word holds the picture back
	baselineSpan = 10 * time.Second
	// Loss that is not by our own rate is borne with.
	lossLimit   = 0.10
	lossPackets = 30 // from so many on a share means something
	lossWindow  = 1500 * time.Millisecond
	muchTime    = 2 * time.Second
	ownMost     = 0.25 // a way that loses more carries no picture at any rate: what is lost is our own doing
	lossHelped  = 0.6  // of the loss before a cut: more than that is left, and it did not help
)

// Plan is what a viewer's way allows.
type Plan struct {
	Kbps int  // video and tiles together, with what is sent again or against loss
	FPS  int  // most frames a second
	Hold bool // the viewer is silent: nothing more until it is heard
	// Found tells that the way has been measured: until then the rate is a modest guess, of which a frame may take Frame at once.
	Found bool
	Frame time.Duration
}

// Pace is the least time between two frames, where best is that of a way with room for all of them.
func (p Plan) Pace(best time.Duration) time.Duration {
	if p.FPS >= MaxFPS {
		return best
	}
	return time.Second / time.Duration(p.FPS)
}

// Arrival is one packet that the viewer has, told on two clocks that need not agree.
type Arrival struct {
	Sent, At time.Duration
	Size     int
}

// Control decides how much may go out to one viewer, by the viewer's transport-wide feedback: cut where a queue grows, by the trend of the delay or by
// loss that a lower rate helps against; raised where what is sent arrives, and else by what trains of packets and probes find. A screen sends little most
// of the time: what arrives bounds the growth, never the rate that a way has shown to carry. It is safe for several goroutines.
type Control struct {
	log *slog.Logger

	mu       sync.Mutex
	deaf     bool          // the viewer tells of no arrivals
	found    bool          // the way is measured
	frame    time.Duration // until then: how much of the rate a frame may take
	early    int           // bytes that left until then
	heardAt  time.Time     // first
	blank    bool          // what was sent so far did not tell
	kbps     float64
	trend    trendline
	train    train
	stretch  stretch
	acked    Meter
	gone     Meter // what was sent
	extra    Meter // of it, again or against loss
	loss     lossMeter
	least    least // one-way, on clocks that do not agree
	queue    time.Duration
	queued   int
	back     lag // of the viewer's reports
	rtt      time.Duration
	cutAt    time.Time
	cutFrom  float64
	filledAt time.Time // the last cut that left less room than what was sent used
	drained  time.Time // when the queue that was there at the last cut is gone
	grownAt  time.Time
	probes   probes
	silent   bool
	lost     uint64
	told     uint64
	feedback uint64
}

// New begins with what the narrowest ways carry, until the first packets have told what this one does.
func New(log *slog.Logger) *Control {
	return &Control{log: log, kbps: StartKbps, frame: startFrame}
}

// Hears tells whether the viewer gives feedback on arrivals.
func (r *Control) Hears(does bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deaf = !does; r.deaf { // it will not be found out: as most ways are
		r.found, r.kbps = true, MaxKbps
	}
}

// Kbps is the rate for video of the usual quality.
func (r *Control) Kbps() int { return min(r.Plan().Kbps, MaxKbps) }

// Plan is what the way allows now.
func (r *Control) Plan() Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	kbps := int(max(r.kbps-r.extra.Kbps(time.Now()), r.kbps*leastMedia))
	return Plan{Kbps: kbps, FPS: min(max(kbps/50, MinFPS), MaxFPS), Hold: r.silent, Found: r.found, Frame: r.frame}
}

// PaceKbps is how fast packets may follow each other.
func (r *Control) PaceKbps() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.found {
		return r.startPace()
	}
	return int(min(max(r.kbps*paceFactor, minPaceKbps), maxPaceKbps))
}

// LongPaceKbps is how fast packets of a frame may follow each other that takes long in any case: faster it would only fill the queues on its way.
func (r *Control) LongPaceKbps() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.found {
		return r.startPace()
	}
	return int(min(r.kbps*longPace, maxPaceKbps))
}

// TookTiles notes bytes of tiles that a viewer has confirmed: they use the way too.
func (r *Control) TookTiles(bytes int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked.Add(bytes, now)
}

// Left notes a packet that goes out, and whether it is one more than the picture would take on a way without loss.
func (r *Control) Left(bytes int, more bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone.Add(bytes, now)
	if !r.found {
		r.early += bytes
	}
	if more {
		r.extra.Add(bytes, now)
	}
}

// Took takes in one feedback: what arrived, in the order in which it left, and how many packets have newly turned out to be lost. idle tells that nothing
// more is on its way.
func (r *Control) Took(arrived []Arrival, lost int, rtt time.Duration, idle bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feedback++
	r.lost += uint64(lost)
	r.told += uint64(lost + len(arrived))
	if rtt > 0 {
		r.rtt = rtt
		if n := len(arrived) - 1; n >= 0 {
			r.back.add(rtt-(arrived[n].At-arrived[n].Sent), now)
		}
	}
	if now.After(r.drained.Add(r.rtt)) { // before, what a queue lost that the last cut was for is told of
		r.loss.add(len(arrived), lost, now)
	}
	for _, a := range arrived {
		r.trend.packet(a.Sent, a.At)
		if p, ok := r.train.packet(a.Sent, a.At, a.Size, r.short()); ok {
			r.passed(p, now)
		}
		r.acked.Add(a.Size, now)
	}
	r.begin(idle, now)
	if idle {
		if p, ok := r.train.end(r.short()); ok {
			r.passed(p, now)
		}
		r.train = train{}
	}
	r.stretch.add(arrived)
	r.waits(arrived, now)
	r.decide(now)
}

// waits follows the queue: how much longer than at best packets are on their way.
func (r *Control) waits(arrived []Arrival, now time.Time) {
	if len(arrived) == 0 {
		return
	}
	took := arrived[0].At - arrived[0].Sent
	for _, a := range arrived {
		took = min(took, a.At-a.Sent)
	}
	r.queue = took - r.least.of(took, now)
	if r.queue <= queueLimit {
		r.queued = 0
	} else {
		r.queued++
	}
}

// Restart forgets what was measured on the viewer's clock, which is another now, or on another way.
func (r *Control) Restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

func (r *Control) forget() {
	r.trend.reset()
	r.train, r.stretch, r.least, r.queue, r.queued, r.back = train{}, stretch{}, least{}, 0, 0, lag{}
}

// Anew begins as with a new viewer: what is sent goes another way from now on, of which nothing is known.
func (r *Control) Anew(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deaf {
		return
	}
	r.forget()
	r.found, r.early, r.heardAt, r.blank = false, 0, time.Time{}, false
	r.kbps, r.frame = StartKbps, startFrame
	r.cutAt, r.drained, r.silent = time.Time{}, time.Time{}, false
	r.probes, r.loss = probes{}, lossMeter{at: now}
}

// passed takes in what a train found.
func (r *Control) passed(p pass, now time.Time) {
	found := min(p.kbps*trainTrust, MaxWayKbps)
	if !r.found {
		r.find(found, p.limited, now)
		return
	}
	if found <= r.kbps || now.Sub(r.cutAt) < calmAfterCut || r.trend.state == usageOver {
		return
	}
	r.log.Debug("rate raised", "from", int(r.kbps), "to", int(found), "why", "train")
	r.kbps = found
	r.probes.helped(now)
}

func (r *Control) decide(now time.Time) {
	switch {
	case r.trend.state == usageOver:
		r.crowded("delay", now)
	case r.queued >= queueReports && r.trend.state != usageUnder:
		r.crowded("queue", now)
	case r.queue > steepQueue && r.arrives() < r.kbps*steepShare:
		r.crowded("narrow", now)
	case r.lossy(now):
	case r.trend.state == usageNormal:
		r.grow(now)
	default:
		r.grownAt = now
	}
}

// crowded cuts to what the way carries, while a queue is there: to what arrives of more that is sent, or by a guess. As soon as the former turns out to be
// far below the rate it is cut again, for until then all that is sent beyond it is late or lost.
func (r *Control) crowded(why string, now time.Time) {
	rest, to := holdAfterCut+r.rtt, r.kbps*cutTo
	if arrives := r.arrives() * trainTrust; arrives < to {
		rest, to = r.rtt, arrives
	}
	if now.Sub(r.cutAt) < rest {
		return
	}
	r.cut(to, why, now)
	if now.After(r.drained) { // else nothing has been added since
		r.drained = now.Add(min(r.queue, drainMost))
	}
}

// arrives is how fast what is sent arrives while it takes longer to than it took to leave: all there is, where that does not show.
func (r *Control) arrives() float64 {
	if kbps, ok := r.stretch.kbps(); ok {
		return kbps
	}
	return math.Inf(1)
}

// Drains is how long the queue that was there when the rate was cut last is there still: what is sent before waits behind it, or is lost.
func (r *Control) Drains(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.drained.Sub(now), 0)
}

// cut lowers the rate.
func (r *Control) cut(to float64, why string, now time.Time) {
	to = max(to, min(r.kbps, r.gone.Kbps(now))*cutMost)
	r.log.Debug("rate cut", "from", int(r.kbps), "to", int(to), "why", why)
	r.cutFrom, r.kbps, r.found = r.kbps, max(to, MinKbps), true
	r.cutAt, r.grownAt, r.queued = now, now, 0
	if r.gone.Kbps(now) > r.kbps*busyShare {
		r.filledAt = now
	}
	r.stretch = stretch{}
	r.probes.cut(now)
}

// lossy cuts for loss that is of our own making, to less than arrived: what is lost then is lost by the way at any rate, and such a cut is taken back.
// Loss where little is sent is the way's too, unless there is so much of it for so long that it can only be our own: bursts overflow a narrow way's queue.
func (r *Control) lossy(now time.Time) bool {
	if before, after, ok := r.loss.settled(r.gone.Kbps(now), now); ok && after > before*lossHelped && after <= ownMost {
		r.log.Debug("rate restored", "from", int(r.kbps), "to", int(r.loss.from), "why", "loss is the way's own", "loss", after)
		r.loss.own = after
		r.kbps = max(r.kbps, r.loss.from)
	}
	share, ok := r.loss.share(now)
	if !ok || share <= ownMost {
		r.loss.much = time.Time{}
	} else if r.loss.much.IsZero() {
		r.loss.much = now
	}
	if !ok || share <= r.loss.own+lossLimit {
		return false
	}
	used, from := r.acked.Kbps(now), r.kbps
	lasts := share > ownMost && now.Sub(r.loss.much) > muchTime
	if !lasts && r.gone.Kbps(now) < r.kbps*littleShare && now.Sub(r.cutAt) > lossWindow {
		r.loss.own = min(share, ownMost)
		return false
	}
	if now.Sub(r.cutAt) >= holdAfterCut+r.rtt {
		r.cut(min(used*cutTo, r.kbps*(1-share/2)), "loss", now)
		r.loss.try(share, from, used, now)
	}
	return true
}

// grow raises the rate where it is used.
func (r *Control) grow(now time.Time) {
	since := min(now.Sub(r.grownAt), time.Second)
	r.grownAt = now
	used := r.acked.Kbps(now)
	if !r.found || now.Sub(r.cutAt) < calmAfterCut || since <= 0 || used < r.kbps*busyShare {
		return
	}
	by := growthASecond
	if r.kbps > r.cutFrom*nearCut && now.Sub(r.cutAt) < nearTime {
		by = nearGrowth
	}
	most := max(min(used*ackedGrowth+100, MaxWayKbps), r.kbps)
	r.kbps = min(r.kbps*(1+(by-1)*since.Seconds()), most)
}

// Hush notes that the viewer says nothing more; whoever asks next is told to hold. It gives whether that is new.
func (r *Control) Hush() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.silent
	r.silent = true
	return !was
}

// Wakes notes that the viewer is heard again, and gives whether it was silent. What the way carried before may not be so any more.
func (r *Control) Wakes(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.silent {
		return false
	}
	r.silent = false
	r.forget()
	r.kbps = max(r.kbps/2, MinKbps)
	r.grownAt = now
	r.probes = probes{}
	r.loss.clear(now)
	return true
}

// Patience is how long the viewer may say nothing of what was sent before it counts as out of touch.
func (r *Control) Patience() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(800*time.Millisecond, 3*r.rtt+300*time.Millisecond)
}

// Trip is the round trip by the viewer's feedback.
func (r *Control) Trip() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rtt
}

// Report takes in the loss of a receiver report, from a viewer that tells of no arrivals.
func (r *Control) Report(fraction float64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.deaf {
		return
	}
	r.loss.add(int(100*(1-fraction)), int(100*fraction), now)
	if !r.lossy(now) && fraction < lossLimit/5 && now.Sub(r.cutAt) > calmAfterCut {
		r.kbps = min(r.kbps*nearGrowth, MaxKbps)
	}
}

// Way is what is known of the way.
type Way struct {
	Loss   float64       // of the packets, of late
	Queue  time.Duration // that packets wait on their way
	Target float64       // kbps that may be sent
	Acked  float64       // kbps that arrived of late
}

// Way is what is known of the way now.
func (r *Control) Way(now time.Time) Way {
	r.mu.Lock()
	defer r.mu.Unlock()
	share, _ := r.loss.share(now)
	return Way{Loss: share, Queue: r.queue, Target: r.kbps, Acked: r.acked.Kbps(now)}
}

// OnWay is how long bytes take at a rate.
func OnWay(bytes float64, kbps int) time.Duration {
	return time.Duration(bytes * 8 / 1000 / float64(max(kbps, 1)) * float64(time.Second))
}

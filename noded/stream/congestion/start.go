package congestion

import "time"

// How a connection begins: nothing is known of the way but that it is there. The first frame is small enough for a narrow one, and leaves as fast as a
// wide one carries: how fast it arrives tells which it is. Until that is known no more goes out than a narrow one carries.
const (
	// StartKbps is the rate until the way is measured, startFrame how much of it a frame may take at once then, 15 kB. Near ways are hardly ever narrow:
	// there it is 60 kB, for a sharper picture.
	StartKbps                  = 1000
	startFrame, startFrameNear = 120 * time.Millisecond, 480 * time.Millisecond
	nearTrip                   = 8 * time.Millisecond
	// startPaceKbps is how fast that much leaves, and StartBurst how long the pacer may have slept and still catch up: what leaves all at once tells
	// nothing. What is more, as no quantiser makes some frames small, follows at the rate.
	startPaceKbps = 24_000
	StartBurst    = time.Millisecond
	// startShort is how short a train may be: the first frame is one of 13 packets.
	startShort = 2500 * time.Microsecond
	// startProbe is what is sent, in bytes, where the first frame was too small to tell.
	startProbe = 22_000
	// startBlank is how long after the first report a probe goes out although more is on its way.
	startBlank = 200 * time.Millisecond
	// startTime is how long after the first report the guess becomes the rate, where nothing told.
	startTime = 1500 * time.Millisecond
	// startCalm is how long after a way was found to be limited it is probed for more, and longer where a probe would be a queue of startQueue.
	startCalm  = time.Second
	startQueue = 50 * time.Millisecond
)

// Begins tells the round trip of a way before anything was sent: 0 where that is not known.
func (r *Control) Begins(trip time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if trip > 0 && trip < nearTrip {
		r.frame = startFrameNear
	}
}

// startPace is how fast packets leave while the way is not known.
func (r *Control) startPace() int {
	if OnWay(float64(r.early), StartKbps) < r.frame {
		return startPaceKbps
	}
	return StartKbps
}

// Found tells whether the way has been measured.
func (r *Control) Found() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// begin takes in a report on a way that is not known yet: a part of a train tells enough. idle tells that nothing more is on its way.
func (r *Control) begin(idle bool, now time.Time) {
	if r.found {
		return
	}
	if r.heardAt.IsZero() {
		r.heardAt = now
	}
	if p, ok := r.train.end(r.short()); ok {
		r.passed(p, now)
		r.train = train{}
	} else if r.blank = r.blank || idle || now.Sub(r.heardAt) > startBlank; now.Sub(r.heardAt) > startTime {
		r.find(r.kbps, false, now)
	}
}

// short is how short a train may be to tell something.
func (r *Control) short() time.Duration {
	if r.found {
		return trainShort
	}
	return startShort
}

// find takes a first measurement for the rate, higher or lower than the guess.
func (r *Control) find(kbps float64, limited bool, now time.Time) {
	r.log.Debug("rate found", "kbps", int(kbps), "limited", limited)
	r.found, r.kbps, r.grownAt = true, max(kbps, MinKbps), now
	if r.probes.next = now.Add(probeSoon); !limited {
		return
	}
	r.cutFrom, r.cutAt = kbps, now.Add(-calmAfterCut) // it grows as it does after a cut
	if r.probes.next = now.Add(startCalm); OnWay(leastProbe, int(kbps)) > startQueue {
		r.probes.next = now.Add(probeFirst)
	}
}

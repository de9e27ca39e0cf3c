package congestion

import "time"

// Probes are trains of packets that the viewer has already, sent when too little goes out by itself to learn whether the way carries more.
const (
	probeFactor   = 2.0 // times the rate
	probeTime     = 16 * time.Millisecond
	leastProbe    = 11_800 // bytes: ten packets
	maxProbeBytes = 100 << 10
	probeSoon     = 250 * time.Millisecond // after one that helped
	probeFirst    = 2 * time.Second        // after a cut
	probeTrust    = 3 * time.Second        // a cut within this time says that they found too much
	probeRest     = 5 * time.Second        // at most between two that did not help: a way may be wide again
	probeTries    = 4                      // in a row that may fail while the screen is still
)

// probes plans when to probe. The zero value may begin at once.
type probes struct {
	next   time.Time
	raised time.Time // by the last one that helped
	rest   time.Duration
	runs   int // in a row that did not help
}

// helped notes that more gets through than was known.
func (p *probes) helped(now time.Time) {
	p.next, p.raised, p.rest, p.runs = now.Add(probeSoon), now, p.rest/2, 0
}

// begun notes one that goes out. The next one takes the longer the more in a row did not help.
func (p *probes) begun(now time.Time) {
	p.rest = min(max(p.rest*2, time.Second), probeRest)
	p.next = now.Add(p.rest)
	p.runs++
}

// cut holds probes back after a cut, and the longer where it was they that found too much.
func (p *probes) cut(now time.Time) {
	if now.Sub(p.raised) < probeTrust {
		p.rest = min(max(p.rest*2, probeFirst), probeRest)
	} else {
		p.rest = 0
	}
	p.next = now.Add(max(p.rest, probeFirst))
}

// Probe is a train to be sent.
type Probe struct {
	Kbps, Bytes int
}

// ProbeAt is when to probe next; zero for never.
func (r *Control) ProbeAt(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deaf || r.silent || r.kbps >= wantedKbps || r.probes.runs >= probeTries {
		return time.Time{}
	}
	if !r.found && !r.blank { // the first frame may tell
		return time.Time{}
	}
	if calm := r.cutAt.Add(calmAfterCut); calm.After(r.probes.next) {
		return calm
	}
	return r.probes.next
}

// Probe begins one if it is due.
func (r *Control) Probe(now time.Time) (Probe, bool) {
	at := r.ProbeAt(now)
	if at.IsZero() || now.Before(at) {
		return Probe{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kbps := min(max(r.kbps*probeFactor, minPaceKbps), wantedKbps*1.2)
	bytes := min(max(kbps*1000/8*probeTime.Seconds(), leastProbe), maxProbeBytes)
	if !r.found {
		kbps, bytes = startPaceKbps, startProbe
	}
	r.probes.begun(now)
	return Probe{Kbps: int(kbps), Bytes: int(bytes)}, true
}

// Moves notes that the picture moves: it is worth knowing what the way carries.
func (r *Control) Moves() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probes.runs = 0
}

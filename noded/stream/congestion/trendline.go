package congestion

import (
	"math"
	"time"
)

// The delay-based estimator of Google congestion control (draft-ietf-rmcat-gcc-02, with the trendline filter of libwebrtc, which took the place of
// the draft's Kalman filter): packets that left together form a group; by how much longer than the one before a group was on its way tells whether
// a queue grows.
const (
	groupSpan    = 5 * time.Millisecond
	trendGroups  = 20
	trendSmooth  = 0.9
	trendGain    = 4.0
	trendDeltas  = 60.0 // so many groups make a trend count in full
	overuseTime  = 10.0 // ms that the trend must be above the threshold
	firstLimit   = 12.5 // ms, the threshold, which follows the way's own unrest
	leastLimit   = 6.0
	mostLimit    = 600.0
	limitUp      = 0.0087
	limitDown    = 0.039
	limitOutlier = 15.0
	// oddLapse is how much two groups' times may differ from one clock to the other before they count as another clock's.
	oddLapse = 3 * time.Second
)

// usage is what the trend says of the way.
type usage int

const (
	usageNormal usage = iota
	usageOver         // a queue grows
	usageUnder        // one drains
)

// group is packets that left together: when on our clock, and when the last arrived on the viewer's.
type group struct {
	first, sent, arrived time.Duration
	begun                bool
}

// trendline follows the delay of one way. The zero value is ready.
type trendline struct {
	now, before group
	deltas      float64
	sum, smooth float64 // ms
	times       [trendGroups]float64
	delays      [trendGroups]float64
	n           int
	start       time.Duration
	limit       float64
	limitAt     time.Duration
	over        float64 // ms above the limit
	overs       int
	last        float64
	state       usage
}

// reset forgets everything: the viewer's clock is another.
func (t *trendline) reset() { *t = trendline{} }

// packet takes in a packet that arrived, in the order in which they left.
func (t *trendline) packet(sent, arrived time.Duration) {
	switch {
	case !t.now.begun:
		t.now = group{sent, sent, arrived, true}
	case sent < t.now.first: // an older one, late
	case sent-t.now.first <= groupSpan:
		t.now.sent, t.now.arrived = max(t.now.sent, sent), max(t.now.arrived, arrived)
	default:
		if t.before.begun {
			t.group()
		}
		t.before, t.now = t.now, group{sent, sent, arrived, true}
	}
}

// group takes in that a group is complete.
func (t *trendline) group() {
	sent, arrived := t.now.sent-t.before.sent, t.now.arrived-t.before.arrived
	if d := arrived - sent; d > oddLapse || d < -oddLapse {
		t.reset()
		return
	}
	if t.limit == 0 {
		t.limit, t.start = firstLimit, t.now.arrived
	}
	t.deltas = min(t.deltas+1, trendDeltas)
	t.sum += millis(arrived - sent)
	t.smooth = trendSmooth*t.smooth + (1-trendSmooth)*t.sum
	i := t.n % trendGroups
	t.times[i], t.delays[i] = millis(t.now.arrived-t.start), t.smooth
	if t.n++; t.n < trendGroups {
		return
	}
	t.judge(t.slope(), millis(sent))
}

// slope is by how much the delay grows over time, by least squares.
func (t *trendline) slope() float64 {
	var x, y float64
	for i := range trendGroups {
		x += t.times[i]
		y += t.delays[i]
	}
	x, y = x/trendGroups, y/trendGroups
	var above, below float64
	for i := range trendGroups {
		above += (t.times[i] - x) * (t.delays[i] - y)
		below += (t.times[i] - x) * (t.times[i] - x)
	}
	if below == 0 {
		return 0
	}
	return above / below
}

func (t *trendline) judge(slope, lapse float64) {
	trend := t.deltas * slope * trendGain
	switch {
	case trend > t.limit:
		if t.overs++; t.overs == 1 {
			t.over = lapse / 2
		} else {
			t.over += lapse
		}
		if t.over > overuseTime && t.overs > 1 && slope >= t.last {
			t.over, t.overs, t.state = 0, 0, usageOver
		}
	case trend < -t.limit:
		t.over, t.overs, t.state = 0, 0, usageUnder
	default:
		t.over, t.overs, t.state = 0, 0, usageNormal
	}
	t.last = slope
	t.adapt(trend)
}

// adapt has the limit follow the trend: a way that is restless by nature is not in overuse, and one that shares a queue with others holds its own.
func (t *trendline) adapt(trend float64) {
	lapse := min(millis(t.now.arrived-t.limitAt), 100)
	t.limitAt = t.now.arrived
	off := math.Abs(trend) - t.limit
	if off > limitOutlier || lapse <= 0 {
		return
	}
	k := limitUp
	if off < 0 {
		k = limitDown
	}
	t.limit = min(max(t.limit+k*off*lapse, leastLimit), mostLimit)
}

func millis(d time.Duration) float64 { return d.Seconds() * 1000 }

package warmth

import (
	"time"
)

// slot is the grain of the history: a class that begins at nine is there within one.
const (
	slot        = 5 * time.Minute
	slotsOfDay  = int(24 * time.Hour / slot)
	daysOfWeek  = 7
	weeksKept   = 6
	daysKept    = weeksKept*daysOfWeek + 1
	secondsSlot = int64(slot / time.Second)
)

// day is what was asked of the cluster on one day (UTC), for one image and class.
type day struct {
	Slots   map[int]int    `json:"slots,omitempty"`   // sessions that began, by slot of the day
	Regions map[string]int `json:"regions,omitempty"` // by region of the node that they began on
	Ready   int            `json:"ready,omitempty"`   // those that began from a ready one, so by who had no profile
	Desktop int            `json:"desktop,omitempty"`
}

func (d *day) add(other day) {
	if d.Slots == nil {
		d.Slots = map[int]int{}
	}
	if d.Regions == nil {
		d.Regions = map[string]int{}
	}
	for s, n := range other.Slots {
		d.Slots[s] += n
	}
	for r, n := range other.Regions {
		d.Regions[r] += n
	}
	d.Ready += other.Ready
	d.Desktop += other.Desktop
}

// sane tells whether a record can be one of ours.
func (d day) sane() bool {
	for s, n := range d.Slots {
		if s < 0 || s >= slotsOfDay || n < 0 || n > maxArrivals {
			return false
		}
	}
	return d.Ready >= 0 && d.Desktop >= 0
}

const maxArrivals = 1_000_000

// history is the days of one image and class, by number since 1970.
type history map[int64]day

func dayOf(at time.Time) int64 { return floor(at.Unix(), 86400) }

// slotOf numbers the slots since 1970.
func slotOf(at time.Time) int64 { return floor(at.Unix(), secondsSlot) }

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// series is the sessions that began in each slot, one after the other.
type series struct {
	begin  int64 // number of the first slot in counts
	counts []float64

	levelAt  int64 // slot of the last level that was taken, for one time zone
	levelWas float64
}

// series is the history up to a time.
func (h history) series(until time.Time) series {
	s := series{begin: (dayOf(until) - daysKept) * int64(slotsOfDay)}
	first := slotOf(until) + 1
	for d, one := range h {
		for at := range one.Slots {
			first = min(first, d*int64(slotsOfDay)+int64(at))
		}
	}
	s.begin = max(s.begin, first) // that nothing came before anything was counted says nothing
	for d, one := range h {
		for at, n := range one.Slots {
			s.add(d*int64(slotsOfDay)+int64(at), n)
		}
	}
	return s
}

func (s *series) add(at int64, n int) {
	if at < s.begin {
		return
	}
	for int64(len(s.counts)) <= at-s.begin {
		s.counts = append(s.counts, 0)
	}
	s.counts[at-s.begin] += float64(n)
}

func (s *series) count(at int64) float64 {
	if i := at - s.begin; i >= 0 && i < int64(len(s.counts)) {
		return s.counts[i]
	}
	return 0
}

// readyShare is the part of the sessions that users without a profile began. Only those that began warm tell.
func (h history) readyShare() float64 {
	ready, desktop := 0, 0
	for _, d := range h {
		ready += d.Ready
		desktop += d.Desktop
	}
	return (float64(ready) + 1) / (float64(ready+desktop) + 4)
}

// regions is the part of the sessions that each region's nodes had.
func (h history) regions() map[string]float64 {
	total, parts := 0.0, map[string]float64{}
	for _, d := range h {
		for r, n := range d.Regions {
			parts[r] += float64(n)
			total += float64(n)
		}
	}
	for r := range parts {
		parts[r] /= total
	}
	return parts
}

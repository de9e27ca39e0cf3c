package warmth

import (
	"math"
	"time"
)

// The forecast is a seasonal mean by weekday and time of day, moved by the level of the last hours, and from that the number that is enough
// with a given risk if arrivals are independent of one another (Poisson). More would need more history than a studio has.
const (
	lead        = slot // what is missing is known, begun and up again within
	recentSlots = 36   // that the level is taken from: three hours
	fade        = 0.75 // of a week's weight against the week after it
	dayWeight   = 0.35 // of what yesterday and the days before say, against last week
	fineWeight  = 0.65 // of the slots right around a time of the week, against its whole hour
	steadiness  = 4    // sessions more or less that say nothing about the level
	mostLevel   = 2.5
	leastLevel  = 0.5
	echo        = 0.5 // of what came within the last lead, expected again within the next: a rush that was never seen before
)

// forecast is the number of warm sessions that meets what will be asked for, all but a risk of miss.
func (h *series) forecast(now time.Time, zone *time.Location, miss float64) int {
	expected := h.expected(now, now.Add(lead), zone, h.around) * h.level(now, zone)
	rush := 0.0
	for s := slotOf(now.Add(-lead)); s <= slotOf(now); s++ {
		rush += h.count(s)
	}
	return enough(max(expected, echo*rush), miss)
}

// expected is the seasonal mean between two times, of what look sees in a slot.
func (h *series) expected(from, to time.Time, zone *time.Location, look func(int64) float64) float64 {
	sum := 0.0
	for at := from.Truncate(slot); at.Before(to); at = at.Add(slot) {
		within := min(1, to.Sub(at).Seconds()/slot.Seconds()) - max(0, from.Sub(at).Seconds()/slot.Seconds())
		sum += within * h.seasonal(at, zone, look)
	}
	return sum
}

// seasonal is the mean of a slot over the weeks before, by the local clock, which daylight saving moves.
func (h *series) seasonal(at time.Time, zone *time.Location, look func(int64) float64) float64 {
	local := at.In(zone)
	sum, weight := 0.0, 0.0
	take := func(daysAgo int, w float64) {
		then := slotOf(local.AddDate(0, 0, -daysAgo))
		if then < h.begin {
			return
		}
		sum += w * look(then)
		weight += w
	}
	w := 1.0
	for week := 1; week <= weeksKept; week++ {
		take(week*daysOfWeek, w)
		w *= fade
	}
	weekend := isWeekend(local)
	for days := 1; days < daysOfWeek; days++ {
		if isWeekend(local.AddDate(0, 0, -days)) == weekend {
			take(days, dayWeight/daysOfWeek)
		}
	}
	if weight == 0 {
		return 0
	}
	return sum / weight
}

func isWeekend(t time.Time) bool { return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday }

// around is a slot as it and its neighbours have it: the same people come some minutes earlier or later.
func (h *series) around(s int64) float64 {
	fine := 0.5*h.count(s) + 0.25*h.count(s-1) + 0.25*h.count(s+1)
	const half = int64(time.Hour / slot / 2)
	hour := 0.0
	for i := s - half; i <= s+half; i++ {
		hour += h.count(i)
	}
	return fineWeight*fine + (1-fineWeight)*hour/float64(2*half+1)
}

// level is how much more or less than expected came of late.
func (h *series) level(now time.Time, zone *time.Location) float64 {
	last := slotOf(now)
	if last == h.levelAt {
		return h.levelWas // only slots that are over count
	}
	came := 0.0
	for s := last - recentSlots; s < last; s++ {
		came += h.count(s)
	}
	begin := time.Unix((last-recentSlots)*secondsSlot, 0)
	due := h.expected(begin, time.Unix(last*secondsSlot, 0), zone, h.count) // not smoothed: a class that is due soon is not missing yet
	h.levelAt, h.levelWas = last, min(max((came+steadiness)/(due+steadiness), leastLevel), mostLevel)
	return h.levelWas
}

// enough is the least n that a Poisson number with that mean is above with a probability of miss at most.
func enough(mean, miss float64) int {
	if !(mean > 0) {
		return 0
	}
	if mean > 1000 { // its normal limit: the terms below would be too small for a float
		return int(math.Ceil(mean + math.Sqrt(2*mean)*math.Erfinv(1-2*miss)))
	}
	term := math.Exp(-mean)
	below := term
	n := 0
	for 1-below > miss && n < maxWant {
		n++
		term *= mean / float64(n)
		below += term
	}
	return n
}

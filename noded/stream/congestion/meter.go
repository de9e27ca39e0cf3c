package congestion

import "time"

// Meter says how many kilobits a second something made of late.
type Meter struct {
	slots [10]int
	at    int64 // of slots, since the zero time
}

const meterSlot = 50 * time.Millisecond

func (m *Meter) turn(now time.Time) {
	at := now.UnixNano() / int64(meterSlot)
	for n := min(max(at-m.at, 0), int64(len(m.slots))); n > 0; n-- {
		m.slots[(at-n+1)%int64(len(m.slots))] = 0
	}
	m.at = max(at, m.at)
}

func (m *Meter) Add(bytes int, now time.Time) {
	m.turn(now)
	m.slots[m.at%int64(len(m.slots))] += bytes
}

func (m *Meter) Kbps(now time.Time) float64 {
	m.turn(now)
	sum := 0
	for _, b := range m.slots {
		sum += b
	}
	return float64(sum) * 8 / 1000 / (meterSlot.Seconds() * float64(len(m.slots)))
}

package congestion

import "time"

// lossMeter says what share of the packets was lost of late, and whether a lower rate helped against it.
type lossMeter struct {
	arrived, lost float64 // fading
	at            time.Time
	own           float64   // what the way loses at any rate
	much          time.Time // since when more is lost than that can be; zero: it is not
	// A cut because of loss, until it is known whether it helped.
	tried        time.Time
	before, from float64
	through      float64 // kbps that arrived before it
	sinceA       int
	sinceL       int
}

func (m *lossMeter) fade(now time.Time) {
	if m.at.IsZero() {
		m.at = now
	}
	keep := 1 - min(now.Sub(m.at).Seconds()/lossWindow.Seconds(), 1)
	m.arrived, m.lost, m.at = m.arrived*keep, m.lost*keep, now
}

func (m *lossMeter) add(arrived, lost int, now time.Time) {
	m.fade(now)
	m.arrived += float64(arrived)
	m.lost += float64(lost)
	if !m.tried.IsZero() && now.Sub(m.tried) > holdAfterCut { // what was on its way then does not count
		m.sinceA += arrived
		m.sinceL += lost
	}
	if share, ok := m.share(now); ok && share < m.own {
		m.own += (share - m.own) * 0.05
	}
}

// share is what was lost of late; ok is false while too little was sent to say.
func (m *lossMeter) share(now time.Time) (share float64, ok bool) {
	m.fade(now)
	all := m.arrived + m.lost
	if all < 1 {
		return 0, false
	}
	return m.lost / all, all >= lossPackets
}

// try notes a cut because of loss.
func (m *lossMeter) try(before, from, through float64, now time.Time) {
	if m.tried.IsZero() {
		m.before, m.from, m.through = before, from, through
	}
	m.tried, m.sinceA, m.sinceL = now, 0, 0
	m.arrived, m.lost = 0, 0
}

// settled tells, once, what was lost before cuts and what after them, when no more is sent than arrived before.
func (m *lossMeter) settled(sent float64, now time.Time) (before, after float64, ok bool) {
	if sent > m.through || m.tried.IsZero() || m.sinceA+m.sinceL < lossPackets || now.Sub(m.tried) < lossWindow {
		return 0, 0, false
	}
	m.tried = time.Time{}
	return m.before, float64(m.sinceL) / float64(m.sinceA+m.sinceL), true
}

func (m *lossMeter) clear(now time.Time) { *m = lossMeter{own: m.own, at: now} }

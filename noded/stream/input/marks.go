package input

import (
	"sync"
	"time"
)

// Mark is a moment in which input was handed to the X server: all of it up to a sample and a reliable message. Came is when the last of that reached the
// node.
type Mark struct {
	Sample, RSeq uint32
	Came, Given  time.Time
}

const (
	// marksKept is how many marks wait for a picture: more than come between two.
	marksKept = 64
	// causeTime is how soon after input a picture counts as caused by it: what changes later has another reason.
	causeTime = 500 * time.Millisecond
)

// marks keeps the hand's latest marks for the painter. It is safe for several goroutines.
type marks struct {
	mu    sync.Mutex
	ring  [marksKept]Mark
	n     uint64 // noted in all
	taken uint64 // up to here there was a picture
}

func (m *marks) note(k Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring[m.n%marksKept] = k
	m.n++
}

// shown tells whether a picture was made of all that was noted.
func (m *marks) shown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken == m.n
}

// take is the newest mark of before a damage, if no picture was made of it yet and it is recent enough to be its cause.
func (m *marks) take(damage time.Time) (Mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := m.n; i > m.taken && i+marksKept > m.n; i-- {
		k := m.ring[(i-1)%marksKept]
		if k.Given.After(damage) {
			continue
		}
		m.taken = i
		return k, damage.Sub(k.Given) < causeTime
	}
	return Mark{}, false
}

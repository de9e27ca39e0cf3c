package congestion

import (
	"sync"
	"time"
)

// What is less urgent than picture and hand, as files are, crosses by the same way and yields to them: it goes as fast as leaves no queue in front of
// the way, as LEDBAT does (RFC 6817), by what the viewer's reports on the picture tell of the queue.
const (
	// yieldQueue is the queue from which on it slows down, calmQueue the one below which it grows faster.
	yieldQueue, calmQueue = 30 * time.Millisecond, 15 * time.Millisecond
	yieldTo               = 0.6
	yieldRest             = 150 * time.Millisecond // beside a round trip, until a cut shows
	besideGrowth          = 1.1                    // a report
	besideStart           = 0.5                    // of the picture's rate
	besideMost            = 4                      // times what crosses: who does not use the rate gets no more
	// LeastBeside is the kilobits a second that it has in any case, besideLeast what part of the picture's rate.
	LeastBeside = 256
	besideLeast = 0.1
	// besidePause is after how long without a piece it begins anew.
	besidePause = 2 * time.Second
	// A piece takes pieceTime of the rate, within bounds; pieceLag is how much that was not used may be made up for.
	pieceTime             = 10 * time.Millisecond
	leastPiece, mostPiece = 4 << 10, 64 << 10
	pieceLag              = 20 * time.Millisecond
	// mostWait is the longest wait for the next piece, whatever crossed while nothing bounded it.
	mostWait = time.Second
	// lagReports are the reports whose least counts as the queue on the way back: each waits a while in the viewer.
	lagReports = 8
)

// MostPiece is how much of a file may cross at once where nothing bounds it.
const MostPiece = mostPiece

// Queues is what a viewer's reports tell of its way: how long packets wait on it, there and back, and how many reports there were.
type Queues struct {
	There, Back time.Duration
	Kbps        float64 // the picture's rate
	Trip        time.Duration
	Reports     uint64
}

// Queues is how long they are now.
func (r *Control) Queues() Queues {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Queues{There: r.queue, Back: r.back.queue(), Kbps: r.kbps, Trip: r.rtt, Reports: r.feedback}
}

// lag is by how much longer than at best something is on its way.
type lag struct {
	least  least
	at     time.Duration // the least
	recent [lagReports]time.Duration
	n      int
}

func (l *lag) add(took time.Duration, now time.Time) {
	l.at = l.least.of(took, now)
	l.recent[l.n%lagReports] = took
	l.n++
}

// queue is 0 until there were enough reports.
func (l *lag) queue() time.Duration {
	if l.n < lagReports {
		return 0
	}
	least := l.recent[0]
	for _, took := range l.recent {
		least = min(least, took)
	}
	return max(least-l.at, 0)
}

// Beside is how fast all that yields may cross in one direction. The zero value is ready. It is safe for several goroutines.
type Beside struct {
	mu      sync.Mutex
	kbps    float64
	used    Meter
	free    time.Time // when the next piece may go
	begun   bool
	fast    bool // no queue was seen yet
	cutAt   time.Time
	crossed time.Time
	reports uint64
}

// Heed takes in how long the queue in this direction is.
func (b *Beside) Heed(queue time.Duration, q Queues, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	least := max(q.Kbps*besideLeast, LeastBeside)
	if !b.begun || now.Sub(b.crossed) > besidePause {
		b.begun, b.fast, b.kbps, b.crossed = true, true, max(q.Kbps*besideStart, least), now
	}
	if q.Reports == b.reports {
		return
	}
	b.reports = q.Reports
	switch {
	case queue > yieldQueue:
		b.fast = false
		if now.Sub(b.cutAt) > yieldRest+q.Trip {
			b.kbps, b.cutAt = max(b.kbps*yieldTo, least), now
		}
	case queue < calmQueue:
		by := besideGrowth
		if b.fast {
			by = 2
		}
		most := max(b.used.Kbps(now)*besideMost+q.Kbps*besideStart, least)
		b.kbps = max(min(b.kbps*by, most), least)
	}
}

// Wait is how long it takes until a piece may go.
func (b *Beside) Wait(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free.Sub(now)
}

// Piece is how many bytes may go then.
func (b *Beside) Piece() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(min(max(b.kbps*1000/8*pieceTime.Seconds(), leastPiece), mostPiece))
}

// Crossed notes that so many bytes have.
func (b *Beside) Crossed(bytes int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used.Add(bytes, now)
	b.crossed = now
	if !b.begun {
		return // nothing bounds it yet
	}
	if late := now.Add(-pieceLag); b.free.Before(late) {
		b.free = late
	}
	b.free = b.free.Add(OnWay(float64(bytes), int(b.kbps)))
	if most := now.Add(mostWait); b.free.After(most) {
		b.free = most
	}
}

// Kbps is the rate now.
func (b *Beside) Kbps() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(b.kbps)
}

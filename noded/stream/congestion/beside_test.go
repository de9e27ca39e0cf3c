package congestion

import (
	"log/slog"
	"testing"
	"time"
)

// shared is a way that a picture and files share, on a clock of its own: what waits on it, and reports on that.
type shared struct {
	kbps    float64
	trip    time.Duration
	picture float64 // kbps that the picture sends
	rate    float64 // its rate
	file    Beside

	now     time.Time
	waits   float64         // bytes
	queues  []time.Duration // a tick each
	reports uint64
	crossed int
	late    time.Duration // the longest queue
	silent  bool
}

const tick = 5 * time.Millisecond

func (s *shared) queue() time.Duration { return OnWay(s.waits, int(s.kbps)) }

// run has time pass, and gives how many kbps of the files crossed and the mean queue.
func (s *shared) run(lasts time.Duration) (kbps float64, queue time.Duration) {
	s.crossed, s.late = 0, 0
	n := int(lasts / tick)
	for i := range n {
		s.now = s.now.Add(tick)
		for s.file.Wait(s.now) <= 0 {
			bytes := s.file.Piece()
			s.file.Crossed(bytes, s.now)
			s.crossed += bytes
			s.waits += float64(bytes)
		}
		s.waits += s.picture * 1000 / 8 * tick.Seconds()
		s.waits = max(s.waits-s.kbps*1000/8*tick.Seconds(), 0)
		s.waits = min(s.waits, s.kbps*1000/8*0.3) // what would wait longer is lost
		s.queues = append(s.queues, s.queue())
		s.late = max(s.late, s.queue())
		queue += s.queue() / time.Duration(n)
		if i%20 == 0 && !s.silent { // a report is half a round trip old
			s.reports++
			then := max(len(s.queues)-1-int(s.trip/2/tick), 0)
			s.file.Heed(s.queues[then], Queues{Kbps: s.rate, Trip: s.trip, Reports: s.reports}, s.now)
		}
	}
	return float64(s.crossed) * 8 / 1000 / lasts.Seconds(), queue
}

func newShared(kbps, picture float64, trip time.Duration) *shared {
	s := &shared{kbps: kbps, picture: picture, rate: min(kbps*trainTrust, MaxKbps), trip: trip, now: time.Unix(1000, 0)}
	s.file.Heed(0, Queues{Kbps: s.rate, Trip: trip}, s.now)
	return s
}

// Files get what the picture leaves, and hardly a queue stands in the picture's way.
func TestFilesTakeWhatThePictureLeaves(t *testing.T) {
	for _, kbps := range []float64{2000, 10_000, 50_000} {
		for _, trip := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			for _, share := range []float64{0, 0.3, 0.6} {
				s := newShared(kbps, kbps*share, trip)
				s.run(5 * time.Second)
				got, queue := s.run(20 * time.Second)
				t.Logf("%.0f kbps, %v, picture %.1f: files %.0f kbps, queue %v, %v at most", kbps, trip, share, got, queue, s.late)
				if rest := kbps * (1 - share); got < rest*0.6 || queue > 40*time.Millisecond || s.late > 150*time.Millisecond {
					t.Errorf("%.0f kbps, %v: beside a picture of %.0f files get %.0f kbps, and a queue of %v stands there, %v at most", kbps, trip, kbps*share, got, queue, s.late)
				}
			}
		}
	}
}

// A picture that takes all has files wait, but they never stand still; and when it is still they get the way.
func TestFilesYieldToAPictureThatTakesAll(t *testing.T) {
	s := newShared(4000, 0, 40*time.Millisecond)
	s.run(5 * time.Second)
	s.picture = 4100
	s.run(5 * time.Second)
	least := max(LeastBeside, s.rate*besideLeast)
	if got, _ := s.run(5 * time.Second); got > least*1.1 || got < least*0.9 {
		t.Errorf("files get %.0f kbps, want %.0f", got, least)
	}
	s.picture = 0
	s.run(3 * time.Second)
	if got, _ := s.run(5 * time.Second); got < 0.6*4000 {
		t.Errorf("the picture is still, and files get %.0f kbps of 4000", got)
	}
}

// On a fast way the bound is soon none worth speaking of.
func TestFilesAreFastOnAFastWay(t *testing.T) {
	s := newShared(1_000_000, 5000, 2*time.Millisecond)
	if got, _ := s.run(time.Second); got < 100_000 {
		t.Errorf("in the first second files get %.0f kbps", got)
	}
	if got, _ := s.run(5 * time.Second); got < 500_000 {
		t.Errorf("later they get %.0f kbps", got)
	}
}

// A viewer that reports no more does not have files take more.
func TestFilesDoNotGrowInTheDark(t *testing.T) {
	s := newShared(4000, 1000, 40*time.Millisecond)
	s.run(5 * time.Second)
	before := s.file.Kbps()
	s.silent = true
	s.run(5 * time.Second)
	if got := s.file.Kbps(); got != before {
		t.Errorf("the rate is %d kbps, it was %d", got, before)
	}
}

// The queue on the way back is told by how late reports come, however long each waits in the viewer.
func TestTheQueueOnTheWayBackShowsInReports(t *testing.T) {
	r, now := New(slog.New(slog.DiscardHandler)), time.Unix(1000, 0)
	const offset = 17 * time.Hour // of the viewer's clock
	report := func(i int, queue time.Duration) {
		now = now.Add(100 * time.Millisecond)
		sent := time.Duration(i) * 100 * time.Millisecond
		trip := 40*time.Millisecond + time.Duration(i*30%70)*time.Millisecond + queue
		r.Took([]Arrival{{Sent: sent, At: sent + 20*time.Millisecond + offset, Size: 1000}}, 0, trip, true, now)
	}
	for i := range 20 {
		report(i, 0)
	}
	if q := r.Queues(); q.Back > 10*time.Millisecond || q.There != 0 {
		t.Errorf("without a queue: %+v", q)
	}
	for i := range 20 {
		report(20+i, 200*time.Millisecond)
	}
	if q := r.Queues(); q.Back < 190*time.Millisecond || q.Back > 215*time.Millisecond || q.There != 0 {
		t.Errorf("with 200 ms on the way back: %+v", q)
	}
}

// A queue that stands when the least time is taken anew is a queue still; and a way that has become longer for good is forgiven.
func TestTheLeastTimeOutlivesAQueue(t *testing.T) {
	var l least
	now := time.Unix(1000, 0)
	queue := func(took time.Duration) time.Duration { return took - l.of(took, now) }
	for range 99 {
		now = now.Add(100 * time.Millisecond)
		queue(20 * time.Millisecond)
	}
	for i := range 99 {
		now = now.Add(100 * time.Millisecond)
		if q := queue(220 * time.Millisecond); q != 200*time.Millisecond {
			t.Fatalf("%d reports after it grew the queue is %v", i+1, q)
		}
	}
	now = now.Add(3 * baselineSpan)
	queue(220 * time.Millisecond)
	now = now.Add(2 * baselineSpan)
	if q := queue(220 * time.Millisecond); q != 0 {
		t.Errorf("long after it grew the queue is %v", q)
	}
}
